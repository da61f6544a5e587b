//! Why there is no link to the district.

use kitchen_uplink::{LinkError, LinkReason, LinkTrouble};

use super::io;
use crate::fault::Fault;
use crate::notice::{Notice, notice};

/// The trouble of a running agent's link.
#[must_use]
pub fn link(trouble: &LinkTrouble) -> Notice {
    match trouble.reason {
        LinkReason::NoAnswer => notice!("link-no-answer", Fault::BrokerUnreachable),
        LinkReason::NoRoute => notice!("link-no-route", Fault::NoRoute),
        LinkReason::NameUnknown => notice!("link-name-unknown", Fault::NameUnknown),
        LinkReason::NothingListens => notice!("link-nothing-listens", Fault::BrokerUnreachable),
        LinkReason::Cut | LinkReason::Closed => notice!("link-cut", Fault::BrokerUnreachable),
        LinkReason::NotTls => notice!("link-not-tls", Fault::BrokerUnreachable),
        LinkReason::NotMqtt5 => notice!("link-not-mqtt", Fault::BrokerUnreachable),
        LinkReason::TlsFailed => notice!("link-tls-failed", Fault::BrokerForeign),
        LinkReason::ForeignAuthority => notice!("link-foreign", Fault::BrokerForeign),
        LinkReason::OtherName => notice!("link-other-name", Fault::BrokerOtherName),
        LinkReason::NotValidToday => notice!("link-not-valid-today", Fault::BrokerCertificateExpired),
        LinkReason::CertificateRefused => notice!("link-certificate-refused", Fault::BrokerRefuses),
        LinkReason::Revoked => notice!("link-revoked", Fault::Revoked),
        LinkReason::NotAuthorised => notice!("link-not-authorised", Fault::BrokerRefuses),
        LinkReason::SecondBox => notice!("link-second-box", None),
        LinkReason::TopicForbidden => notice!("link-topic-forbidden", Fault::BrokerForbids),
        LinkReason::TooLarge => notice!("link-too-large", None),
        LinkReason::Setup => notice!("link-setup", Fault::KeyUnreadable),
        LinkReason::Other => notice!("link-other", Fault::BrokerUnreachable),
    }
}

/// Why no connection can even be tried.
pub fn setup(error: &LinkError) -> Notice {
    match error {
        LinkError::Address => notice!("link-address", Fault::ConfigWrong),
        LinkError::Credentials => notice!("link-credentials", Fault::ConfigWrong),
        LinkError::NotEncrypted { host } => notice!("link-not-encrypted", Fault::ConfigWrong, host = host),
        LinkError::FileNotSet { setting } => notice!("link-file-not-set", Fault::KeyUnreadable, key = setting),
        LinkError::File { setting, path, source } => {
            let (path, reason) = (path.display(), io::reason(source));
            notice!("link-file", Fault::KeyUnreadable, key = setting, path = path, reason = reason)
        }
        LinkError::NoCertificate { setting, path } => {
            notice!("link-no-certificate", Fault::KeyUnreadable, key = setting, path = path.display())
        }
        LinkError::Identity(_) => notice!("link-identity", Fault::KeyUnreadable),
        LinkError::NoProvider => notice!("link-setup", None),
        LinkError::ClientId(id) => notice!("link-client-id", Fault::ConfigWrong, id = id),
    }
}
