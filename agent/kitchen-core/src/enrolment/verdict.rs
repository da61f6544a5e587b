//! Whether an authority gives a certificate: what it is asked and what it knows come in, a grant or a refusal goes out.

use super::{EnrolRequest, Refusal, RenewRequest};
use crate::evidence::PublicKey;
use crate::time::Wall;

/// What the authority knows of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldClaim {
    pub device: String,
    pub secret_sha256: String,
    /// The board that alone may use it.
    pub serial: Option<String>,
    pub expires: Wall,
    pub state: ClaimState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimState {
    Open,
    /// Used, by the box with this board, identity key (its SHA-256) and evidence key.
    Redeemed {
        serial: String,
        key_sha256: String,
        evidence_key: String,
    },
    /// A newer claim takes its place.
    Void,
}

/// What the authority knows of the certificate that a box shows when it asks for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCertificate {
    /// The box that it was given to.
    pub serial: String,
    pub evidence_key: String,
    pub is_revoked: bool,
    /// The identity key (its SHA-256) of the certificate that followed it, if one did.
    pub next_key_sha256: Option<String>,
}

/// What the box gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A new certificate.
    Issue,
    /// The one that it was given before: it did not get the answer.
    Repeat,
}

/// Judges a first enrolment. `key_sha256` is that of the public key in the CSR, whose own signature holds.
///
/// # Errors
/// Why the box is not enrolled.
pub fn judge_claim(
    request: &EnrolRequest,
    key_sha256: &str,
    held: Option<&HeldClaim>,
    own_key: &PublicKey,
    is_revoked: bool,
    now: Wall,
) -> Result<Grant, Refusal> {
    let claim = &request.claim;
    if claim.authority.key.parse::<PublicKey>().ok() != Some(*own_key) {
        return Err(Refusal::ClaimForeign);
    }
    if !claim.is_signed_by(own_key) {
        return Err(Refusal::ClaimTampered);
    }
    let held = held.ok_or(Refusal::ClaimUnknown)?;
    if held.device != claim.device || held.secret_sha256 != claim.secret_sha256() {
        return Err(Refusal::ClaimTampered);
    }
    if is_revoked {
        return Err(Refusal::Revoked);
    }
    match &held.state {
        ClaimState::Void => return Err(Refusal::ClaimVoid),
        ClaimState::Redeemed { serial, key_sha256: key, evidence_key } => {
            let is_same = *serial == request.serial && key == key_sha256 && *evidence_key == request.evidence_key;
            return if is_same { Ok(Grant::Repeat) } else { Err(Refusal::ClaimUsed) };
        }
        ClaimState::Open => {}
    }
    if held.serial.as_ref().is_some_and(|serial| *serial != request.serial) {
        return Err(Refusal::WrongSerial);
    }
    if now >= held.expires {
        return Err(Refusal::ClaimExpired);
    }
    Ok(Grant::Issue)
}

/// Judges a renewal by a box that has shown the certificate `held`.
///
/// # Errors
/// Why it gets no new one.
pub fn judge_renewal(request: &RenewRequest, key_sha256: &str, held: &HeldCertificate) -> Result<Grant, Refusal> {
    if held.is_revoked {
        return Err(Refusal::Revoked);
    }
    if held.serial != request.serial || held.evidence_key != request.evidence_key {
        return Err(Refusal::SecondBox);
    }
    match &held.next_key_sha256 {
        None => Ok(Grant::Issue),
        Some(next) if next == key_sha256 => Ok(Grant::Repeat),
        Some(_) => Err(Refusal::SecondBox),
    }
}
