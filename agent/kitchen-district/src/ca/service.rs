//! The authority on the network: HTTPS, where a box may show its certificate. Two questions and a list; nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kitchen_core::enrolment::{Enrolment, Refusal, RefusalBody, VERSION};
use kitchen_core::wire::hex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::office::{Office, Refused};
use super::register::AuditEvent;
use super::signing::SigningError;
use super::{folder, now};

/// A claim with its certificate has 4 kB.
const MOST_BYTES: usize = 32 * 1024;
/// At once; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// Of a connection, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(30);
/// The service's own certificate is made anew at each start, and so often.
const RENEW_OWN: Duration = Duration::from_secs(7 * 86_400);
const OWN_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// Events that nobody has read yet; beyond it they are only in the register.
const EVENTS: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("can't listen on {address}: check that nothing else does")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the service's TLS can't be set up")]
    Tls(#[source] rustls::Error),
    #[error("the authority's certificate can't be used to judge others")]
    Verifier,
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// Who asks.
#[derive(Clone, Debug)]
struct Peer {
    address: SocketAddr,
    /// The number of the certificate that was shown, and is the authority's.
    certificate: Option<String>,
}

#[derive(Clone)]
struct Shared {
    office: Arc<Office>,
    events: mpsc::Sender<AuditEvent>,
}

/// A service that listens.
pub struct Service {
    listener: TcpListener,
    office: Arc<Office>,
    hosts: Vec<String>,
    events: mpsc::Sender<AuditEvent>,
}

impl Service {
    /// Listens on `address`; answers under the name in the settings and `hosts`. What it does can be read from the
    /// channel.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn bind(
        office: Arc<Office>,
        address: SocketAddr,
        mut hosts: Vec<String>,
    ) -> Result<(Self, mpsc::Receiver<AuditEvent>), ServiceError> {
        let listener = TcpListener::bind(address).await.map_err(|source| ServiceError::Listen { address, source })?;
        hosts.insert(0, office.authority.settings.host());
        let (events, told) = mpsc::channel(EVENTS);
        Ok((Self { listener, office, hosts, events }, told))
    }

    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers until `stop` turns true.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), ServiceError> {
        let router = router(Shared { office: Arc::clone(&self.office), events: self.events.clone() });
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let (mut tls, mut made) = (self.tls()?, Instant::now());
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|is_over| *is_over) => return Ok(()),
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors: others will be closed.
                    warn!(%error, "a connection can't be accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            if made.elapsed() > RENEW_OWN {
                (tls, made) = (self.tls()?, Instant::now());
            }
            let (router, tls) = (router.clone(), TlsAcceptor::from(Arc::clone(&tls)));
            tokio::spawn(async move {
                if tokio::time::timeout(PATIENCE, serve(stream, address, tls, router)).await.is_err() {
                    debug!(%address, "a connection took too long");
                }
                drop(place);
            });
        }
    }

    fn tls(&self) -> Result<Arc<ServerConfig>, ServiceError> {
        let authority = &self.office.authority;
        let (own, key) = authority.signer.account(&self.hosts[0], &self.hosts, OWN_LIFETIME, now())?;
        let certificate =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| ServiceError::Verifier);
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| ServiceError::Verifier)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(&authority.ca_pem)?).map_err(ServiceError::Tls)?;
        // The register knows what was revoked, sooner than any list.
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
            .allow_unauthenticated()
            .build()
            .map_err(|_| ServiceError::Verifier)?;
        let config = ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(Lenient(verifier)))
            .with_single_cert(vec![certificate(&own.pem)?], key)
            .map_err(ServiceError::Tls)?;
        Ok(Arc::new(config))
    }
}

/// Takes a box's certificate also after its end: a box that was off, or an authority that was away, for too long must not
/// be locked out for ever. Whoever shows it has its key; whether it was revoked or followed by another, the register knows.
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let end = x509_parser::parse_x509_certificate(certificate)
            .ok()
            .and_then(|(_, parsed)| u64::try_from(parsed.validity().not_after.timestamp()).ok())
            .unwrap_or(u64::MAX);
        let judged_at = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().min(end)));
        self.0.verify_client_cert(certificate, intermediates, judged_at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, tls: TlsAcceptor, router: Router) {
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return debug!(%address, %error, "no TLS"),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.and_then(|shown| {
        let (_, parsed) = x509_parser::parse_x509_certificate(shown).ok()?;
        Some(hex(parsed.raw_serial()))
    });
    let service = TowerToHyperService::new(router.layer(Extension(Peer { address, certificate })));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        debug!(%address, %error, "a connection ended early");
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/enrol", post(enrol))
        .route("/v1/renew", post(renew))
        .route("/v1/crl", get(revocation_list))
        .route("/v1/health", get(health))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(shared)
}

async fn enrol(State(shared): State<Shared>, Extension(peer): Extension<Peer>, body: Bytes) -> Response {
    answer(shared, move |office| office.enrol(&body, &peer.address.ip().to_string(), now())).await
}

async fn renew(State(shared): State<Shared>, Extension(peer): Extension<Peer>, body: Bytes) -> Response {
    let renewal =
        move |office: &Office| office.renew(&body, peer.certificate.as_deref(), &peer.address.ip().to_string(), now());
    answer(shared, renewal).await
}

async fn answer(
    shared: Shared,
    ask: impl FnOnce(&Office) -> (Result<Enrolment, Refused>, AuditEvent) + Send + 'static,
) -> Response {
    let office = Arc::clone(&shared.office);
    let Ok((answer, event)) = tokio::task::spawn_blocking(move || ask(&office)).await else {
        return refusal(&Refused { refusal: Refusal::Unavailable, detail: "the request failed".to_owned() });
    };
    if shared.events.try_send(event).is_err() {
        debug!("nobody reads the events");
    }
    match answer {
        Ok(enrolment) => Json(enrolment).into_response(),
        Err(refused) => refusal(&refused),
    }
}

fn refusal(refused: &Refused) -> Response {
    let status = match refused.refusal {
        Refusal::BadRequest => StatusCode::BAD_REQUEST,
        Refusal::Unavailable | Refusal::Other => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    };
    let body = RefusalBody { v: VERSION, error: refused.refusal, detail: refused.detail.clone(), time: now() };
    (status, Json(body)).into_response()
}

async fn revocation_list(State(shared): State<Shared>) -> Response {
    let path = shared.office.authority.folder.join(folder::REVOCATION_LIST);
    match tokio::fs::read(path).await {
        Ok(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn health() -> Response {
    Json(json!({ "v": VERSION, "time": now() })).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::signing::{Issued, Signer};
    use super::*;

    fn verifier(ca: &str) -> Lenient {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(ca)).expect("an authority");
        Lenient(WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("roots"))
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
    }

    #[test]
    fn a_certificate_that_has_ended_is_taken_and_one_of_another_authority_is_not() {
        kitchen_uplink::install_crypto();
        let day = Duration::from_secs(86_400);
        let made = now().before(30 * day);
        let issued = |name: &str| {
            let (ca, key) = Signer::make(name, made).expect("an authority");
            let signer = Signer::open(&ca, &key).expect("its own");
            let (Issued { pem, .. }, _) = signer.account("mh07-000123", &[], day, made).expect("a client");
            (ca, pem)
        };
        let ((ca, own), (_, foreign)) = (issued("one"), issued("other"));
        let verifier = verifier(&ca);
        let today = UnixTime::now();
        assert!(verifier.0.verify_client_cert(&der(&own), &[], today).is_err(), "it ended four weeks ago");
        assert!(verifier.verify_client_cert(&der(&own), &[], today).is_ok());
        assert!(verifier.verify_client_cert(&der(&foreign), &[], today).is_err());
    }
}
