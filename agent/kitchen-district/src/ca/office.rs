//! One request, judged and answered: JSON comes in, what the box is told goes out. What was granted is durable, and
//! written down, before anybody is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kitchen_core::enrolment::{
    Authority as Address, BrokerAccess, EnrolRequest, Enrolment, Grant, Refusal, RenewRequest, judge_claim,
    judge_renewal,
};
use kitchen_core::time::Wall;
use kitchen_core::wire::Site;
use serde::de::DeserializeOwned;

use super::folder::{Authority, AuthorityError};
use super::register::{AuditEvent, CertificateRow, Register, RegisterError};
use super::signing::{Request, SigningError};

/// Why a box got nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    /// For the log.
    pub detail: String,
}

impl Refused {
    fn new(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self { refusal, detail: detail.into() }
    }
}

impl From<RegisterError> for Refused {
    fn from(error: RegisterError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the register failed");
        Self::new(Refusal::Unavailable, "the register failed")
    }
}

impl From<SigningError> for Refused {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::Request(_) | SigningError::Kind => Self::new(Refusal::BadRequest, error.to_string()),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "signing failed");
                Self::new(Refusal::Unavailable, "signing failed")
            }
        }
    }
}

impl From<AuthorityError> for Refused {
    fn from(error: AuthorityError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the authority's folder failed");
        Self::new(Refusal::Unavailable, "the authority's folder failed")
    }
}

/// The authority at work; one request at a time.
pub struct Office {
    pub authority: Authority,
    register: Mutex<Register>,
}

impl Office {
    #[must_use]
    pub fn new(authority: Authority, register: Register) -> Self {
        Self { authority, register: Mutex::new(register) }
    }

    pub fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A box's first request, with what is to be told of it.
    ///
    /// # Errors
    /// Why it is not enrolled.
    pub fn enrol(&self, body: &[u8], peer: &str, now: Wall) -> (Result<Enrolment, Refused>, AuditEvent) {
        let request: Result<EnrolRequest, Refused> = parse(body);
        let device = request.as_ref().map(|request| request.claim.device.clone()).unwrap_or_default();
        let register = self.register();
        let answer = request.and_then(|request| {
            request.check().map_err(|error| Refused::new(Refusal::BadRequest, error.to_string()))?;
            register.transaction(|| self.enrol_within(&register, &request, peer, now))
        });
        self.told(&register, answer, &device, peer, now)
    }

    /// A box that has shown the certificate `number` asks for the next.
    pub fn renew(
        &self,
        body: &[u8],
        number: Option<&str>,
        peer: &str,
        now: Wall,
    ) -> (Result<Enrolment, Refused>, AuditEvent) {
        let register = self.register();
        let shown = number.map_or(Ok(None), |number| register.certificate(number));
        let device = shown.as_ref().ok().and_then(|row| row.as_ref()).map(|row| row.device.clone()).unwrap_or_default();
        let answer = shown.map_err(Refused::from).and_then(|shown| {
            let shown = shown.ok_or_else(|| Refused::new(Refusal::BadRequest, "no certificate of this authority"))?;
            let request: RenewRequest = parse(body)?;
            request.check().map_err(|error| Refused::new(Refusal::BadRequest, error.to_string()))?;
            register.transaction(|| self.renew_within(&register, &request, shown, peer, now))
        });
        self.told(&register, answer, &device, peer, now)
    }

    fn enrol_within(
        &self,
        register: &Register,
        request: &EnrolRequest,
        peer: &str,
        now: Wall,
    ) -> Result<(Enrolment, AuditEvent), Refused> {
        let (claim, csr) = (&request.claim, Request::parse(&request.csr)?);
        let held = register.claim(&claim.claim_id)?;
        let is_revoked = register.is_revoked_device(&claim.device)?;
        let own_key = self.authority.key.public();
        let grant = judge_claim(request, &csr.key_sha256, held.as_ref(), &own_key, is_revoked, now)
            .map_err(|refusal| Refused::new(refusal, format!("board {}", request.serial)))?;
        let row = match grant {
            Grant::Repeat => register
                .certificate_for(&claim.claim_id, &csr.key_sha256)?
                .ok_or_else(|| Refused::new(Refusal::Unavailable, "the certificate of a used claim is not there"))?,
            Grant::Issue => {
                let row = CertificateRow {
                    number: String::new(),
                    device: claim.device.clone(),
                    claim_id: claim.claim_id.clone(),
                    key_sha256: csr.key_sha256.clone(),
                    serial: request.serial.clone(),
                    evidence_key: request.evidence_key.clone(),
                    follows: None,
                    pem: String::new(),
                    agent: request.agent.clone(),
                    issued_at: now,
                    not_after: now,
                    revoked_at: None,
                };
                // Whoever had this identity before has it no more: a box that was replaced.
                let replaced = register.revoke_certificates(&claim.device, now)?;
                let row = self.issue(register, &csr, row, now)?;
                register.use_claim(&claim.claim_id, &row, now)?;
                if replaced > 0 {
                    self.authority.write_revocation_list(register, now)?;
                }
                row
            }
        };
        let event = if grant == Grant::Issue { "enrolled" } else { "repeated" };
        let detail = format!("board {}, certificate {}", row.serial, row.number);
        let event = audit(event, &claim.device, peer, detail, now);
        register.note(&event)?;
        Ok((self.answer(&row, claim.site.clone(), now), event))
    }

    fn renew_within(
        &self,
        register: &Register,
        request: &RenewRequest,
        shown: CertificateRow,
        peer: &str,
        now: Wall,
    ) -> Result<(Enrolment, AuditEvent), Refused> {
        let csr = Request::parse(&request.csr)?;
        let held = register.held_certificate(&shown)?;
        let grant = judge_renewal(request, &csr.key_sha256, &held).map_err(|refusal| {
            Refused::new(refusal, format!("board {} with certificate {}", request.serial, shown.number))
        })?;
        let device = shown.device.clone();
        let row = match grant {
            Grant::Repeat => register
                .certificate_after(&shown.number)?
                .ok_or_else(|| Refused::new(Refusal::Unavailable, "a renewed certificate is not there"))?,
            Grant::Issue => {
                let row = CertificateRow {
                    key_sha256: csr.key_sha256.clone(),
                    follows: Some(shown.number.clone()),
                    agent: request.agent.clone(),
                    issued_at: now,
                    ..shown
                };
                self.issue(register, &csr, row, now)?
            }
        };
        let site = register.site(&device)?.unwrap_or_default();
        let event = if grant == Grant::Issue { "renewed" } else { "repeated" };
        let event = audit(event, &device, peer, format!("board {}, certificate {}", row.serial, row.number), now);
        register.note(&event)?;
        Ok((self.answer(&row, site, now), event))
    }

    fn issue(
        &self,
        register: &Register,
        csr: &Request,
        mut row: CertificateRow,
        now: Wall,
    ) -> Result<CertificateRow, Refused> {
        let issued = self.authority.signer.sign(&row.device, csr, self.authority.settings.lifetime(), now)?;
        row.take(&issued);
        register.insert_certificate(&row)?;
        Ok(row)
    }

    fn answer(&self, row: &CertificateRow, site: Site, now: Wall) -> Enrolment {
        let authority = &self.authority;
        let broker = BrokerAccess { url: authority.settings.broker.clone(), ca: authority.broker_ca_pem.clone() };
        let address = Address { url: authority.settings.url.clone(), key: String::new(), ca: authority.ca_pem.clone() };
        let (device, certificate) = (row.device.clone(), row.pem.clone());
        Enrolment::unsigned(device, site, certificate, broker, authority.command_key.clone(), address, now)
            .signed(&authority.key)
    }

    /// Writes a refusal down. A request that nobody can be held to is only logged: anybody could fill the register.
    fn told(
        &self,
        register: &Register,
        answer: Result<(Enrolment, AuditEvent), Refused>,
        device: &str,
        peer: &str,
        now: Wall,
    ) -> (Result<Enrolment, Refused>, AuditEvent) {
        let refused = match answer {
            Ok((enrolment, event)) => return (Ok(enrolment), event),
            Err(refused) => refused,
        };
        let event = if refused.refusal == Refusal::SecondBox { "second_box" } else { "refused" };
        let reason = serde_json::to_value(refused.refusal).ok();
        let reason = reason.as_ref().and_then(|reason| reason.as_str()).unwrap_or_default();
        let event = audit(event, device, peer, format!("{reason}: {}", refused.detail), now);
        let is_known = !matches!(
            refused.refusal,
            Refusal::BadRequest | Refusal::ClaimForeign | Refusal::ClaimTampered | Refusal::ClaimUnknown
        );
        if is_known && let Err(error) = register.note(&event) {
            tracing::error!(error = &error as &dyn std::error::Error, "an event could not be written down");
        }
        (Err(refused), event)
    }
}

pub(super) fn audit(event: &str, device: &str, peer: &str, detail: String, now: Wall) -> AuditEvent {
    AuditEvent { at: now, event: event.to_owned(), device: device.to_owned(), peer: peer.to_owned(), detail }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused::new(Refusal::BadRequest, error.to_string()))
}
