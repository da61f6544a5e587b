//! A failed connection as a sentence that tells a technician what to check.
//! Never contains more of the error than its kind: no keys, no passwords.

use std::io;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rustls::{AlertDescription, CertificateError};

use crate::tls::Broker;

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
pub fn explain(error: &ConnectionError, broker: &Broker, client_id: &str) -> String {
    match error {
        ConnectionError::Timeout(_) => no_answer(broker),
        ConnectionError::Tls(TlsError::Io(error)) | ConnectionError::Io(error) => explain_io(error, broker, client_id),
        ConnectionError::Tls(TlsError::TLS(error)) => explain_tls(error, broker, client_id),
        ConnectionError::Tls(TlsError::DNSName(_)) => {
            format!("{} can't be checked against a certificate: give the broker's name in uplink.broker", broker.host)
        }
        ConnectionError::ConnectionRefused(code) => explain_refusal(*code, client_id),
        ConnectionError::MqttState(error) => explain_state(error, broker, client_id),
        ConnectionError::NotConnAck(_) => format!("{} does not speak MQTT 5: check uplink.broker", broker.host),
        other => format!("connection to {} failed: {other}", broker.host),
    }
}

fn explain_state(error: &StateError, broker: &Broker, client_id: &str) -> String {
    match error {
        StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)) => {
            explain_io(error, broker, client_id)
        }
        StateError::ConnFail { reason } => explain_refusal(*reason, client_id),
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => {
            format!("another client connected as {client_id}: look for a second box with this identity")
        }
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::NotAuthorized, .. } => {
            not_authorised(client_id)
        }
        StateError::ServerDisconnect { reason_code, .. } => {
            format!("the broker ended the connection ({reason_code:?}): look into the broker's log")
        }
        StateError::ConnectionAborted => format!(
            "the broker closed the connection: look into its log; should it go on, for a second box that is {client_id}"
        ),
        StateError::AwaitPingResp => no_answer(broker),
        other => format!("connection to {} failed: {other}", broker.host),
    }
}

fn explain_io(error: &io::Error, broker: &Broker, client_id: &str) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return explain_tls(tls, broker, client_id);
    }
    let Broker { host, port, .. } = broker;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("connection refused: nothing listens on {host}:{port}, check the broker and uplink.broker")
        }
        io::ErrorKind::TimedOut => no_answer(broker),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            format!("no route to {host}: check the modem, its SIM and the route")
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => format!(
            "{host}:{port} cut the connection: check that the port speaks {}, and the broker's log",
            if broker.is_encrypted { "MQTT over TLS" } else { "MQTT" }
        ),
        _ if error.to_string().contains("lookup address") => {
            format!("the name {host} can't be resolved: check DNS and uplink.broker")
        }
        kind => format!("connection to {host}:{port} failed: {kind}"),
    }
}

fn explain_tls(error: &rustls::Error, broker: &Broker, client_id: &str) -> String {
    use rustls::Error as Tls;
    let host = &broker.host;
    match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("unknown CA: the certificate of {host} is not signed by the one in uplink.ca_file, check that file")
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("name mismatch: the broker's certificate is not for {host}, check uplink.broker"),
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => format!("the certificate of {host} is not valid today: check this box's clock, then the certificate"),
        Tls::InvalidCertificate(reason) => format!("the certificate of {host} is not accepted ({reason:?}): check it"),
        Tls::AlertReceived(AlertDescription::ProtocolVersion) => {
            format!("{host} wants another version of TLS: it must speak TLS 1.2 or later")
        }
        Tls::AlertReceived(alert) => format!(
            "refused certificate: the broker does not accept the one of {client_id} ({alert:?}), \
             check uplink.certificate_file, its expiry and the CA the broker trusts"
        ),
        Tls::InvalidMessage(_) => format!("{host}:{} does not speak TLS: check uplink.broker", broker.port),
        _ => format!("TLS with {host} failed: check uplink.ca_file, uplink.certificate_file and the broker's log"),
    }
}

fn explain_refusal(code: ConnectReturnCode, client_id: &str) -> String {
    match code {
        ConnectReturnCode::NotAuthorized
        | ConnectReturnCode::BadUserNamePassword
        | ConnectReturnCode::Banned
        | ConnectReturnCode::BadAuthenticationMethod
        | ConnectReturnCode::BadClientId
        | ConnectReturnCode::ClientIdentifierNotValid => not_authorised(client_id),
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            "the broker does not speak MQTT 5: it must be Mosquitto 2 or EMQX".to_owned()
        }
        code => format!("the broker refused the connection ({code:?}): look into the broker's log"),
    }
}

fn not_authorised(client_id: &str) -> String {
    format!("not authorised: the broker does not let {client_id} in, check that the certificate's CN is {client_id}")
}

fn no_answer(broker: &Broker) -> String {
    format!("no answer from {}:{}: check the modem, the route and the firewall", broker.host, broker.port)
}
