//! Looks at the way to the broker without taking the box's place there: identity files, TCP, TLS.
//! Never sends an MQTT packet, so that a connected agent is not thrown off.

use std::sync::Arc;
use std::time::Duration;

use kitchen_core::enrolment::Validity;
use kitchen_core::time::Wall;
use rustls::CertificateError;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::explain::{LinkReason, LinkTrouble, chain, explain_io, no_answer};
use crate::mqtt::LinkOptions;
use crate::tls::{Broker, LinkError, client_config, roots};

/// With TLS 1.3 a broker refuses a client's certificate only after the handshake.
const REFUSAL_COMES_WITHIN: Duration = Duration::from_millis(400);

/// Beyond the last date that a certificate can hold (9999-12-31).
const FAR_FUTURE: Duration = Duration::from_secs(300_000_000_000);

/// Reads the CA's file, the box's certificate and its key as a connection would, and says how long the box's own
/// certificate holds.
///
/// # Errors
/// When one of them can't be read or they do not fit together.
pub fn identity(options: &LinkOptions) -> Result<Validity, LinkError> {
    let ca_file = options.ca_file.as_deref();
    client_config(ca_file, options.certificate_file.as_deref(), options.key_file.as_deref(), options.not_before)?;
    let setting = "uplink.certificate_file";
    let path = options.certificate_file.as_deref().ok_or(LinkError::FileNotSet { setting })?;
    let broken = || LinkError::NoCertificate { setting, path: path.to_owned() };
    let certificate = CertificateDer::from_pem_file(path).map_err(|_| broken())?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots(ca_file)?)).build().map_err(|_| broken())?;
    let refusal = |time: Duration| {
        let refused = verifier.verify_client_cert(&certificate, &[], UnixTime::since_unix_epoch(time));
        match refused.map(drop) {
            Err(rustls::Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        }
    };
    // The verifier looks at the dates first, and names them when it refuses for their sake.
    let Some(CertificateError::NotValidYetContext { not_before, .. }) = refusal(Duration::ZERO) else {
        return Err(broken());
    };
    let Some(CertificateError::ExpiredContext { not_after, .. }) = refusal(FAR_FUTURE) else { return Err(broken()) };
    Ok(Validity { not_before: wall(not_before), not_after: wall(not_after) })
}

fn wall(time: UnixTime) -> Wall {
    Wall::from_unix_millis(i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// Connects and, where the broker speaks TLS, shakes hands. The broker's own certificate is good then; the answer is
/// what it says of the box's.
///
/// # Errors
/// When there is no connection, or the broker's certificate is not accepted.
pub async fn handshake(options: &LinkOptions, limit: Duration) -> Result<Result<(), LinkTrouble>, LinkTrouble> {
    let setup = |error: LinkError| LinkReason::Setup.because(chain(&error));
    let broker = options.validate().map_err(setup)?;
    match tokio::time::timeout(limit, connect(options, &broker)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(no_answer(&broker)),
    }
}

async fn connect(options: &LinkOptions, broker: &Broker) -> Result<Result<(), LinkTrouble>, LinkTrouble> {
    let trouble = |error: &std::io::Error| explain_io(error, broker, &options.client_id);
    let host = broker.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, broker.port)).await.map_err(|error| trouble(&error))?;
    if !broker.is_encrypted {
        return Ok(Ok(()));
    }
    let config = client_config(
        options.ca_file.as_deref(),
        options.certificate_file.as_deref(),
        options.key_file.as_deref(),
        options.not_before,
    )
    .map_err(|error| LinkReason::Setup.because(chain(&error)))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkReason::OtherName.because(format!("{host} is no name that a certificate can hold")))?;
    let refusal = |error: &std::io::Error| {
        let trouble = trouble(error);
        if is_of_certificate(&trouble) { Ok(Err(trouble)) } else { Err(trouble) }
    };
    let mut stream = match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => stream,
        Err(error) => return refusal(&error),
    };
    match tokio::time::timeout(REFUSAL_COMES_WITHIN, stream.read_u8()).await {
        Ok(Err(error)) if is_of_certificate(&trouble(&error)) => refusal(&error),
        _ => Ok(Ok(())),
    }
}

/// Whether the broker speaks of the box's own certificate.
fn is_of_certificate(trouble: &LinkTrouble) -> bool {
    matches!(trouble.reason, LinkReason::CertificateRefused | LinkReason::Revoked)
}
