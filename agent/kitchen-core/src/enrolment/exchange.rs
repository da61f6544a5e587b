//! What box and authority say to each other, in JSON: over HTTPS, or as files on a stick.

use serde::{Deserialize, Serialize};

use super::{Claim, VERSION, signed};
use crate::evidence::{EvidenceKey, PublicKey};
use crate::time::Wall;
use crate::wire::Site;

/// `POST /v1/enrol`, or the file that `enrol export` writes. Holds the claim's secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrolRequest {
    pub v: u32,
    pub claim: Claim,
    /// The board's.
    pub serial: String,
    /// PKCS #10 in PEM, by the box's P-256 key.
    pub csr: String,
    /// The public part of the evidence key, base64.
    pub evidence_key: String,
    /// The agent's version.
    pub agent: String,
    /// By the evidence key, over all of it.
    #[serde(default)]
    signature: String,
}

/// `POST /v1/renew`, with the certificate so far on the connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenewRequest {
    pub v: u32,
    pub serial: String,
    pub csr: String,
    pub evidence_key: String,
    pub agent: String,
    #[serde(default)]
    signature: String,
}

/// What a box is told when it is enrolled or renewed; also the file that `enrol import` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    pub v: u32,
    pub device: String,
    pub site: Site,
    /// PEM, the box's own first.
    pub certificate: String,
    pub broker: BrokerAccess,
    /// Ed25519, base64: signs commands and configuration. Empty: the district sends none.
    #[serde(default)]
    pub command_key: String,
    /// Where to renew it.
    pub authority: super::Authority,
    /// The authority's clock.
    pub time: Wall,
    /// By the key in the claim, over all of it.
    #[serde(default)]
    signature: String,
}

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerAccess {
    /// `mqtts://host:port`.
    pub url: String,
    /// The authority that vouches for it, PEM.
    pub ca: String,
}

/// Why an authority does not enrol or renew. The names are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    ClaimExpired,
    /// Signed by another authority.
    ClaimForeign,
    /// Its content is not what was signed.
    ClaimTampered,
    /// Signed here, but in no manifest that was imported.
    ClaimUnknown,
    /// Another box, or this one with another key, was enrolled with it.
    ClaimUsed,
    /// A newer claim was made for the device.
    ClaimVoid,
    /// Made for another board.
    WrongSerial,
    /// The device was revoked.
    Revoked,
    /// Another box has renewed this identity.
    SecondBox,
    /// The request can't be read, or its signatures do not hold.
    BadRequest,
    /// The authority can't at the moment.
    Unavailable,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

impl Refusal {
    /// Whether asking again later can help without anybody doing something.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Unavailable | Self::Other)
    }
}

/// The body of an answer that refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    pub v: u32,
    pub error: Refusal,
    /// For the log, in English.
    #[serde(default)]
    pub detail: String,
    pub time: Wall,
}

/// Why what came can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    #[error("it is not signed by the key that it should be")]
    Signature,
    #[error("it is of version {0}, known is {VERSION}")]
    Version(u32),
    #[error("{0} can't be used")]
    Value(&'static str),
}

impl EnrolRequest {
    #[must_use]
    pub fn new(claim: Claim, serial: &str, csr: String, agent: &str, key: &EvidenceKey) -> Self {
        let (v, serial, agent) = (VERSION, serial.to_owned(), agent.to_owned());
        let evidence_key = key.public().to_string();
        let mut request = Self { v, claim, serial, csr, evidence_key, agent, signature: String::new() };
        request.signature = signed::sign(&request, key);
        request
    }

    /// Whether its signature and values hold by themselves.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), ExchangeError> {
        check_request(self, self.v, &self.serial, &self.evidence_key, &self.signature)
    }
}

impl RenewRequest {
    #[must_use]
    pub fn new(serial: &str, csr: String, agent: &str, key: &EvidenceKey) -> Self {
        let (v, serial, agent) = (VERSION, serial.to_owned(), agent.to_owned());
        let evidence_key = key.public().to_string();
        let mut request = Self { v, serial, csr, evidence_key, agent, signature: String::new() };
        request.signature = signed::sign(&request, key);
        request
    }

    /// As [`EnrolRequest::check`].
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), ExchangeError> {
        check_request(self, self.v, &self.serial, &self.evidence_key, &self.signature)
    }
}

fn check_request<T: Serialize>(
    request: &T,
    v: u32,
    serial: &str,
    evidence_key: &str,
    signature: &str,
) -> Result<(), ExchangeError> {
    if v != VERSION {
        return Err(ExchangeError::Version(v));
    }
    if !is_serial(serial) {
        return Err(ExchangeError::Value("serial"));
    }
    let key: PublicKey = evidence_key.parse().map_err(|_| ExchangeError::Value("evidence_key"))?;
    if signed::is_signed(request, signature, &key) { Ok(()) } else { Err(ExchangeError::Signature) }
}

/// Whether the text can be a board's serial number.
#[must_use]
pub fn is_serial(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
}

/// What an authority tells a box.
impl Enrolment {
    /// Signs it with the authority's key; `authority.key` is that key's.
    #[must_use]
    pub fn signed(mut self, key: &super::AuthorityKey) -> Self {
        self.authority.key = key.public().to_string();
        self.signature = signed::sign(&self, key);
        self
    }

    /// An answer that is still to be signed.
    #[must_use]
    pub fn unsigned(
        device: String,
        site: Site,
        certificate: String,
        broker: BrokerAccess,
        command_key: String,
        authority: super::Authority,
        time: Wall,
    ) -> Self {
        let signature = String::new();
        Self { v: VERSION, device, site, certificate, broker, command_key, authority, time, signature }
    }

    /// Whether it is what the authority with this key tells the box `device`.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub fn check(&self, device: &str, key: &PublicKey) -> Result<(), ExchangeError> {
        if self.v != VERSION {
            return Err(ExchangeError::Version(self.v));
        }
        if !signed::is_signed(self, &self.signature, key) {
            return Err(ExchangeError::Signature);
        }
        let is_command_key = self.command_key.is_empty() || self.command_key.parse::<PublicKey>().is_ok();
        let checks = [
            (self.device == device, "device"),
            (self.certificate.contains("-----BEGIN CERTIFICATE-----"), "certificate"),
            (self.broker.url.strip_prefix("mqtts://").is_some_and(|host| !host.is_empty()), "broker.url"),
            (self.broker.ca.contains("-----BEGIN CERTIFICATE-----"), "broker.ca"),
            (is_command_key, "command_key"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, key)) => Err(ExchangeError::Value(key)),
            None => Ok(()),
        }
    }
}
