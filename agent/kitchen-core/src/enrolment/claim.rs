//! `kitchen-claim.toml`: by what a new box shows that it was meant to be enrolled, and where. For one box and one use.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{AuthorityKey, Enrolment, ExchangeError, VERSION, is_device_id, is_serial, signed};
use crate::evidence::PublicKey;
use crate::time::Wall;
use crate::wire::{Site, sha256_hex};

/// What a claim says, as TOML; `secret` must not be shown.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub v: u32,
    pub device: String,
    pub claim_id: String,
    /// 32 bytes in base64 (URL alphabet), which the authority knows by their SHA-256 alone.
    secret: String,
    pub batch: String,
    /// Only for this board; without one, the first board that comes has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// How the camera is called in the district's list.
    #[serde(default)]
    pub camera: String,
    pub issued: Wall,
    pub expires: Wall,
    #[serde(default)]
    signature: String,
    pub site: Site,
    pub authority: Authority,
}

/// Who enrols the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// `https://host[:port]`.
    pub url: String,
    /// Ed25519, base64: signs claims and answers.
    pub key: String,
    /// The certificate that vouches for `url`, PEM.
    pub ca: String,
}

impl Authority {
    /// Whether the answer is what this authority tells the box `device`.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub fn check(&self, answer: &Enrolment, device: &str) -> Result<(), ExchangeError> {
        let key: PublicKey = self.key.parse().map_err(|_| ExchangeError::Value("authority.key"))?;
        answer.check(device, &key)
    }
}

/// Why a claim can't be used. Never quotes the file, which holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("line {line} is not as a claim is written: copy the file again")]
    Text { line: usize },
    #[error("it ends too early: copy the file again")]
    Cut,
    #[error("it is of version {0}, this agent knows {VERSION}: update the agent")]
    Version(u32),
    #[error("{0} is wrong: copy the file again")]
    Value(&'static str),
    #[error("its content and its signature do not fit together: copy the file again")]
    Altered,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim({} for {}, until {})", self.claim_id, self.device, self.expires)
    }
}

/// What a claim is made of.
#[derive(Clone, Debug)]
pub struct NewClaim {
    pub device: String,
    pub claim_id: String,
    /// 32 bytes that nobody can guess.
    pub secret: [u8; 32],
    pub batch: String,
    pub serial: Option<String>,
    pub camera: String,
    pub issued: Wall,
    pub expires: Wall,
    pub site: Site,
    /// Where `key` is left out: it is the signing key's.
    pub url: String,
    pub ca: String,
}

impl Claim {
    /// A claim of this authority.
    #[must_use]
    pub fn new(new: NewClaim, key: &AuthorityKey) -> Self {
        let authority = Authority { url: new.url, key: key.public().to_string(), ca: new.ca };
        let mut claim = Self {
            v: VERSION,
            device: new.device,
            claim_id: new.claim_id,
            secret: URL_SAFE_NO_PAD.encode(new.secret),
            batch: new.batch,
            serial: new.serial,
            camera: new.camera,
            issued: new.issued,
            expires: new.expires,
            signature: String::new(),
            site: new.site,
            authority,
        };
        claim.signature = signed::sign(&claim, key);
        claim
    }

    /// Reads a claim and finds out whether it is whole: one in which a bit has flipped is none. That it is signed by the
    /// right authority, only that one knows.
    ///
    /// # Errors
    /// What is wrong with it, without its content.
    pub fn parse(text: &str) -> Result<Self, ClaimError> {
        let claim: Self = toml::from_str(text).map_err(|error| {
            if error.message().starts_with("missing field") {
                return ClaimError::Cut;
            }
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            ClaimError::Text { line: text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1 }
        })?;
        claim.check()?;
        Ok(claim)
    }

    /// Whether it is written as a claim is, and signed by the key that it names.
    ///
    /// # Errors
    /// What is wrong with it, without its content.
    pub fn check(&self) -> Result<(), ClaimError> {
        if self.v != VERSION {
            return Err(ClaimError::Version(self.v));
        }
        let url = self.authority.url.strip_prefix("https://").unwrap_or_default();
        let checks = [
            (is_device_id(&self.device), "device"),
            (self.serial.as_deref().is_none_or(is_serial), "serial"),
            (!url.is_empty() && !url.contains(['@', '?', '#']), "authority.url"),
            (self.authority.ca.contains("-----BEGIN CERTIFICATE-----"), "authority.ca"),
            (self.issued < self.expires, "expires"),
        ];
        if let Some((_, key)) = checks.iter().find(|(holds, _)| !holds) {
            return Err(ClaimError::Value(key));
        }
        let key: PublicKey = self.authority.key.parse().map_err(|_| ClaimError::Value("authority.key"))?;
        if self.is_signed_by(&key) { Ok(()) } else { Err(ClaimError::Altered) }
    }

    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        signed::is_signed(self, &self.signature, key)
    }

    /// By what the authority knows the secret.
    #[must_use]
    pub fn secret_sha256(&self) -> String {
        sha256_hex(self.secret.as_bytes())
    }

    /// The file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("a claim is made of TOML's types");
        format!(
            "# 设备登记凭证：只用一次，只用于一台设备，不要转发。\n\
             # For one box and one use. Whoever has it can enrol in its place: do not pass it on.\n{text}"
        )
    }
}
