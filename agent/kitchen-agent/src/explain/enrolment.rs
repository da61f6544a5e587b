//! Why a box is not enrolled: of the identity's folder, of the claim, of the authority.

use kitchen_core::enrolment::{ClaimError, ExchangeError, Refusal};
use kitchen_uplink::authority::AuthorityError;
use kitchen_uplink::identity::IdentityError;

use super::io;
use crate::fault::Fault;
use crate::notice::{Notice, notice};

/// The identity's folder or a claim can't be used.
pub fn identity(error: &IdentityError) -> Notice {
    match error {
        IdentityError::File { path, source, .. } => {
            let fault = match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Fault::DiskFull,
                std::io::ErrorKind::ReadOnlyFilesystem => Fault::DiskReadOnly,
                _ => Fault::IdentityUnusable,
            };
            notice!("enrol-file", fault, path = path.display(), reason = io::reason(source))
        }
        IdentityError::Damaged { path } => notice!("enrol-damaged", Fault::IdentityUnusable, path = path.display()),
        IdentityError::Claim { path, source } => claim(&path.display().to_string(), source),
        IdentityError::Key(_) => notice!("enrol-key", Fault::IdentityUnusable),
        IdentityError::OtherCertificate => notice!("enrol-other-certificate", Fault::EnrolmentAnswer),
    }
}

fn claim(path: &str, error: &ClaimError) -> Notice {
    match error {
        ClaimError::Text { line } => notice!("claim-text", Fault::ClaimDamaged, path = path, line = line),
        ClaimError::Cut => notice!("claim-cut", Fault::ClaimDamaged, path = path),
        ClaimError::Version(version) => notice!("claim-version", Fault::ClaimDamaged, path = path, version = version),
        ClaimError::Value(key) => notice!("claim-value", Fault::ClaimDamaged, path = path, key = key),
        ClaimError::Altered => notice!("claim-altered", Fault::ClaimDamaged, path = path),
    }
}

/// The authority gave nothing.
pub fn authority(error: &AuthorityError) -> Notice {
    match error {
        AuthorityError::NoRoute => notice!("authority-no-route", Fault::NoRoute),
        AuthorityError::NameUnknown { host } => {
            notice!("authority-name-unknown", Fault::AuthorityNameUnknown, host = host)
        }
        AuthorityError::Unreachable { host, detail } => {
            let reason = io::reason_of_text(detail);
            notice!("authority-unreachable", Fault::AuthorityUnreachable, host = host, reason = reason)
        }
        AuthorityError::Foreign { host, .. } => notice!("authority-foreign", Fault::AuthorityForeign, host = host),
        AuthorityError::NotValidToday { host } => notice!("authority-not-valid", Fault::ClockWrong, host = host),
        AuthorityError::NoAuthority { host, detail } => {
            notice!("authority-none", Fault::AuthorityForeign, host = host, detail = detail)
        }
        AuthorityError::Refused { refusal, .. } => refused(*refusal),
        AuthorityError::Answer(ExchangeError::Value("broker.url" | "broker.ca")) => {
            notice!("answer-broker", Fault::EnrolmentAnswer)
        }
        AuthorityError::Answer(ExchangeError::Signature) => notice!("answer-signature", Fault::EnrolmentAnswer),
        AuthorityError::Answer(ExchangeError::Value(key)) => {
            notice!("answer-value", Fault::EnrolmentAnswer, key = key)
        }
        AuthorityError::Answer(ExchangeError::Version(version)) => {
            notice!("answer-version", Fault::EnrolmentAnswer, version = version)
        }
        AuthorityError::Setup(_) => notice!("authority-setup", Fault::ClaimDamaged),
    }
}

fn refused(refusal: Refusal) -> Notice {
    match refusal {
        Refusal::ClaimExpired => notice!("refused-expired", Fault::ClaimExpired),
        Refusal::ClaimForeign => notice!("refused-foreign", Fault::ClaimForeign),
        Refusal::ClaimTampered => notice!("refused-tampered", Fault::ClaimTampered),
        Refusal::ClaimUnknown => notice!("refused-unknown", Fault::ClaimUnknown),
        Refusal::ClaimUsed => notice!("refused-used", Fault::ClaimUsed),
        Refusal::ClaimVoid => notice!("refused-void", Fault::ClaimUsed),
        Refusal::WrongSerial => notice!("refused-serial", Fault::WrongBoard),
        Refusal::Revoked => notice!("refused-revoked", Fault::Revoked),
        Refusal::SecondBox => notice!("refused-second-box", Fault::SecondBox),
        Refusal::BadRequest => notice!("refused-request", Fault::EnrolmentAnswer),
        Refusal::Unavailable | Refusal::Other => notice!("refused-unavailable", Fault::AuthorityUnreachable),
    }
}
