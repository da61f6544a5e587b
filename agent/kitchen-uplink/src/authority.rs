//! The box's questions to the authority, over HTTPS: a request goes out, what the box is told or why not comes back.
//! Trusts nobody but the authority that the claim names, and follows nobody who sends it elsewhere.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kitchen_core::enrolment::{Authority, EnrolRequest, Enrolment, ExchangeError, Refusal, RefusalBody, RenewRequest};
use kitchen_core::time::Wall;
use rustix::io::Errno;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig};
use serde::Serialize;
use url::Url;

use crate::explain::chain;
use crate::tls::Today;

const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// With the slowest modem.
const ANSWER_LIMIT: Duration = Duration::from_secs(45);
/// An answer has 4 kB; whoever sends more is somebody else.
const MOST_BYTES: usize = 64 * 1024;

/// Why the authority told nothing. Texts are for the log.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("no route to the network")]
    NoRoute,
    #[error("the name {host} can't be resolved")]
    NameUnknown { host: String },
    #[error("{host} can't be reached: {detail}")]
    Unreachable { host: String, detail: String },
    /// A captive portal, or an authority that was set up anew.
    #[error("who answers at {host} is not the authority that the claim names: {detail}")]
    Foreign { host: String, detail: String },
    #[error("the certificate of {host} is not valid at this box's time")]
    NotValidToday { host: String },
    /// HTML, a redirect, anything but what an authority says.
    #[error("{host} does not answer as an authority does: {detail}")]
    NoAuthority { host: String, detail: String },
    #[error("the authority refuses: {refusal:?} {detail}")]
    Refused { refusal: Refusal, detail: String, time: Wall },
    #[error("the authority's answer can't be used: {0}")]
    Answer(ExchangeError),
    #[error("the authority's address or certificate, or this box's own, can't be used: {0}")]
    Setup(String),
}

/// How to reach and to judge the authority.
#[derive(Clone, Debug)]
pub struct Access {
    pub authority: Authority,
    /// It is not earlier, whatever the system's clock shows.
    pub not_before: Wall,
}

impl Access {
    /// Asks to be enrolled.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<Enrolment, AuthorityError> {
        let answer = self.ask("v1/enrol", request, None).await?;
        self.checked(answer, &request.claim.device)
    }

    /// Asks for the next certificate of `device`, and shows the one so far.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn renew(
        &self,
        device: &str,
        request: &RenewRequest,
        certificate_file: &Path,
        key_file: &Path,
    ) -> Result<Enrolment, AuthorityError> {
        let answer = self.ask("v1/renew", request, Some((certificate_file, key_file))).await?;
        self.checked(answer, device)
    }

    fn checked(&self, answer: Enrolment, device: &str) -> Result<Enrolment, AuthorityError> {
        self.authority.check(&answer, device).map_err(AuthorityError::Answer)?;
        Ok(answer)
    }

    async fn ask<T: Serialize>(
        &self,
        path: &str,
        request: &T,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Enrolment, AuthorityError> {
        let setup = |detail: String| AuthorityError::Setup(detail);
        let url = Url::parse(&self.authority.url).and_then(|url| url.join(path));
        let url = url.map_err(|error| setup(error.to_string()))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls(identity)?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| setup(chain(&error)))?;
        let body = serde_json::to_vec(request).map_err(|error| setup(error.to_string()))?;
        let sent = client.post(url).header("content-type", "application/json").body(body).send().await;
        let mut response = sent.map_err(|error| explain(&error, &host))?;
        // Whatever else follows a page, and however it ends, it is no answer.
        let is_json = content_type(&response).starts_with("application/json");
        if !is_json {
            return Err(no_authority(&response, host));
        }
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| explain(&error, &host))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > MOST_BYTES {
                let detail = format!("it sends more than {MOST_BYTES} bytes");
                return Err(AuthorityError::NoAuthority { host, detail });
            }
        }
        understand(&response, &bytes, host)
    }

    fn tls(&self, identity: Option<(&Path, &Path)>) -> Result<ClientConfig, AuthorityError> {
        let setup = |error: &dyn std::error::Error| AuthorityError::Setup(chain(error));
        let provider = rustls::crypto::CryptoProvider::get_default()
            .ok_or_else(|| AuthorityError::Setup("no TLS provider is installed".to_owned()))?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.ca.as_bytes()) {
            let certificate = certificate.map_err(|_| AuthorityError::Setup("authority.ca is no PEM".to_owned()))?;
            roots.add(certificate).map_err(|error| setup(&error))?;
        }
        let today = Arc::new(Today { not_before: Some(self.not_before) });
        let builder = ClientConfig::builder_with_details(Arc::clone(provider), today)
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?
            .with_root_certificates(roots);
        let Some((certificate_file, key_file)) = identity else { return Ok(builder.with_no_client_auth()) };
        let unreadable = |path: &Path| AuthorityError::Setup(format!("{} can't be read as PEM", path.display()));
        let chain = CertificateDer::pem_file_iter(certificate_file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|_| unreadable(certificate_file))?;
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(|_| unreadable(key_file))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| setup(&error))
    }
}

/// What an answer is: what the box is told, a refusal, or not the authority's at all.
fn understand(response: &reqwest::Response, bytes: &[u8], host: String) -> Result<Enrolment, AuthorityError> {
    let status = response.status();
    if status.is_success() {
        if let Ok(enrolment) = serde_json::from_slice(bytes) {
            return Ok(enrolment);
        }
    } else if let Ok(RefusalBody { error: refusal, detail, time, .. }) = serde_json::from_slice(bytes) {
        return Err(AuthorityError::Refused { refusal, detail, time });
    }
    Err(no_authority(response, host))
}

fn no_authority(response: &reqwest::Response, host: String) -> AuthorityError {
    let kind: String = content_type(response).chars().filter(|symbol| !symbol.is_control()).take(60).collect();
    AuthorityError::NoAuthority { host, detail: format!("HTTP {} {kind}", response.status().as_u16()) }
}

fn content_type(response: &reqwest::Response) -> &str {
    response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn explain(error: &reqwest::Error, host: &str) -> AuthorityError {
    let host = host.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(tls) = tls_of(cause) {
            return explain_tls(tls, host);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => return AuthorityError::NoRoute,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    return AuthorityError::Unreachable { host, detail: system(Errno::CONNRESET) };
                }
                _ if io.to_string().contains("lookup address") => return AuthorityError::NameUnknown { host },
                _ => {}
            }
        }
        source = cause.source();
    }
    let detail = if error.is_timeout() { system(Errno::TIMEDOUT) } else { last_of(error) };
    AuthorityError::Unreachable { host, detail }
}

/// As the system would say it.
fn system(error: Errno) -> String {
    io::Error::from(error).to_string()
}

/// TLS reports its errors within those of the connection, which may lie within each other.
fn tls_of<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let within = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.downcast_ref().or_else(|| within.and_then(|inner| tls_of(inner)))
}

fn explain_tls(error: &rustls::Error, host: String) -> AuthorityError {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => AuthorityError::NotValidToday { host },
        rustls::Error::InvalidCertificate(reason) => {
            let detail = match reason {
                Certificate::UnknownIssuer | Certificate::BadSignature => "another authority".to_owned(),
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => "another name".to_owned(),
                other => format!("{other:?}"),
            };
            AuthorityError::Foreign { host, detail }
        }
        rustls::Error::InvalidMessage(_) => {
            AuthorityError::NoAuthority { host, detail: "it does not speak TLS".to_owned() }
        }
        other => AuthorityError::Unreachable { host, detail: other.to_string() },
    }
}

fn last_of(error: &reqwest::Error) -> String {
    let mut last = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        last = cause.to_string();
        source = cause.source();
    }
    last
}
