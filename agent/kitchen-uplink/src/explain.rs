//! A failed connection as a sentence that tells a technician what to check.
//! Never contains more of the error than its kind: no keys, no passwords.

use std::fmt;
use std::io;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rustls::{AlertDescription, CertificateError};

use crate::tls::Broker;

/// What kind of trouble the link has; each has one cause to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkReason {
    NoAnswer,
    NoRoute,
    NameUnknown,
    NothingListens,
    Cut,
    NotTls,
    NotMqtt5,
    TlsFailed,
    ForeignAuthority,
    OtherName,
    NotValidToday,
    CertificateRefused,
    /// The authority has taken it back.
    Revoked,
    NotAuthorised,
    SecondBox,
    TopicForbidden,
    /// The broker takes no message as large as one that was under way.
    TooLarge,
    /// Options, certificates or keys of this box can't be used.
    Setup,
    Closed,
    Other,
}

/// Why there is no link: its kind, and a sentence in English that says what to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTrouble {
    pub reason: LinkReason,
    pub text: String,
}

impl LinkReason {
    #[must_use]
    pub fn because(self, text: impl Into<String>) -> LinkTrouble {
        LinkTrouble { reason: self, text: text.into() }
    }
}

impl fmt::Display for LinkTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error with its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What went wrong with `client_id`'s connection to `broker`, and what to check next.
#[must_use]
pub fn explain(error: &ConnectionError, broker: &Broker, client_id: &str) -> LinkTrouble {
    match error {
        ConnectionError::Timeout(_) => no_answer(broker),
        ConnectionError::Tls(TlsError::Io(error)) | ConnectionError::Io(error) => explain_io(error, broker, client_id),
        ConnectionError::Tls(TlsError::TLS(error)) => explain_tls(error, broker, client_id),
        ConnectionError::Tls(TlsError::DNSName(_)) => {
            let host = &broker.host;
            LinkReason::OtherName.because(format!(
                "{host} can't be checked against a certificate: give the broker's name in uplink.broker"
            ))
        }
        ConnectionError::ConnectionRefused(code) => explain_refusal(*code, client_id),
        ConnectionError::MqttState(error) => explain_state(error, broker, client_id),
        ConnectionError::NotConnAck(_) => {
            LinkReason::NotMqtt5.because(format!("{} does not speak MQTT 5: check uplink.broker", broker.host))
        }
        other => LinkReason::Other.because(format!("connection to {} failed: {other}", broker.host)),
    }
}

const PACKET_TOO_LARGE: u8 = 0x95;

fn too_large() -> LinkTrouble {
    LinkReason::TooLarge.because("the broker refuses a message for its size: raise its limits to 64 KiB at least")
}

fn explain_state(error: &StateError, broker: &Broker, client_id: &str) -> LinkTrouble {
    match error {
        StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)) => {
            explain_io(error, broker, client_id)
        }
        StateError::ConnFail { reason } => explain_refusal(*reason, client_id),
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => {
            LinkReason::SecondBox
                .because(format!("another client connected as {client_id}: look for a second box with this identity"))
        }
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::NotAuthorized, .. } => {
            not_authorised(client_id)
        }
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::PacketTooLarge, .. } => too_large(),
        // What Mosquitto answers a publication; rumqttc does not know the reason.
        StateError::Deserialization(PacketError::InvalidConnectReturnCode(PACKET_TOO_LARGE)) => too_large(),
        StateError::ServerDisconnect { reason_code, .. } => LinkReason::Cut
            .because(format!("the broker ended the connection ({reason_code:?}): look into the broker's log")),
        StateError::ConnectionAborted => LinkReason::Cut.because(format!(
            "the broker closed the connection: look into its log; should it go on, for a second box that is {client_id}"
        )),
        StateError::AwaitPingResp => no_answer(broker),
        other => LinkReason::Other.because(format!("connection to {} failed: {other}", broker.host)),
    }
}

pub(crate) fn explain_io(error: &io::Error, broker: &Broker, client_id: &str) -> LinkTrouble {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return explain_tls(tls, broker, client_id);
    }
    let Broker { host, port, .. } = broker;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            let text =
                format!("connection refused: nothing listens on {host}:{port}, check the broker and uplink.broker");
            LinkReason::NothingListens.because(text)
        }
        io::ErrorKind::TimedOut => no_answer(broker),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            LinkReason::NoRoute.because(format!("no route to {host}: check the modem, its SIM and the route"))
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => LinkReason::Cut
            .because(format!(
                "{host}:{port} cut the connection: check that the port speaks {}, and the broker's log",
                if broker.is_encrypted { "MQTT over TLS" } else { "MQTT" }
            )),
        _ if error.to_string().contains("lookup address") => {
            LinkReason::NameUnknown.because(format!("the name {host} can't be resolved: check DNS and uplink.broker"))
        }
        kind => LinkReason::Other.because(format!("connection to {host}:{port} failed: {kind}")),
    }
}

fn explain_tls(error: &rustls::Error, broker: &Broker, client_id: &str) -> LinkTrouble {
    use rustls::Error as Tls;
    let host = &broker.host;
    let (reason, text) = match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => (
            LinkReason::ForeignAuthority,
            format!(
                "unknown CA: the certificate of {host} is not signed by the one in uplink.ca_file, check that file"
            ),
        ),
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            LinkReason::OtherName,
            format!("name mismatch: the broker's certificate is not for {host}, check uplink.broker"),
        ),
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => (
            LinkReason::NotValidToday,
            format!("the certificate of {host} is not valid today: check this box's clock, then the certificate"),
        ),
        Tls::InvalidCertificate(reason) => {
            (LinkReason::TlsFailed, format!("the certificate of {host} is not accepted ({reason:?}): check it"))
        }
        Tls::AlertReceived(AlertDescription::ProtocolVersion) => {
            (LinkReason::TlsFailed, format!("{host} wants another version of TLS: it must speak TLS 1.2 or later"))
        }
        Tls::AlertReceived(AlertDescription::CertificateRevoked) => {
            (LinkReason::Revoked, format!("the certificate of {client_id} was revoked: ask the district why"))
        }
        Tls::AlertReceived(alert) => (
            LinkReason::CertificateRefused,
            format!(
                "refused certificate: the broker does not accept the one of {client_id} ({alert:?}), \
                 check uplink.certificate_file, its expiry and the CA the broker trusts"
            ),
        ),
        Tls::InvalidMessage(_) => {
            (LinkReason::NotTls, format!("{host}:{} does not speak TLS: check uplink.broker", broker.port))
        }
        _ => (
            LinkReason::TlsFailed,
            format!("TLS with {host} failed: check uplink.ca_file, uplink.certificate_file and the broker's log"),
        ),
    };
    reason.because(text)
}

fn explain_refusal(code: ConnectReturnCode, client_id: &str) -> LinkTrouble {
    match code {
        ConnectReturnCode::NotAuthorized
        | ConnectReturnCode::BadUserNamePassword
        | ConnectReturnCode::Banned
        | ConnectReturnCode::BadAuthenticationMethod
        | ConnectReturnCode::BadClientId
        | ConnectReturnCode::ClientIdentifierNotValid => not_authorised(client_id),
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            LinkReason::NotMqtt5.because("the broker does not speak MQTT 5: it must be Mosquitto 2 or EMQX")
        }
        code => LinkReason::Other
            .because(format!("the broker refused the connection ({code:?}): look into the broker's log")),
    }
}

fn not_authorised(client_id: &str) -> LinkTrouble {
    LinkReason::NotAuthorised.because(format!(
        "not authorised: the broker does not let {client_id} in, check that the certificate's CN is {client_id}"
    ))
}

pub(crate) fn no_answer(broker: &Broker) -> LinkTrouble {
    let Broker { host, port, .. } = broker;
    LinkReason::NoAnswer.because(format!("no answer from {host}:{port}: check the modem, the route and the firewall"))
}
