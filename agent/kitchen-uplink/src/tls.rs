//! Where the broker is and how to trust it: an address and three PEM files come in, a TLS configuration goes out.
//! Never puts a key, a password or the content of a file into an error.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kitchen_core::time::Wall;
use rustls::ClientConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use url::Url;

/// Why no connection can be tried. Each text says what to mend.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the broker's address is not a URL such as mqtts://broker.example:8883: correct uplink.broker")]
    Address,
    #[error("the broker's address must not hold a user or password: remove them from uplink.broker")]
    Credentials,
    #[error("mqtt:// without TLS is allowed on loopback only, not to {host}: use mqtts:// in uplink.broker")]
    NotEncrypted { host: String },
    #[error("{setting} is not set, mqtts:// needs it: set it in agent.toml or enrol this box")]
    FileNotSet { setting: &'static str },
    #[error("{setting} {path} can't be read as PEM: check that the file exists, its owner and its content", path = path.display())]
    File { setting: &'static str, path: PathBuf, source: io::Error },
    #[error("{setting} {path} holds no certificate: check the file's content", path = path.display())]
    NoCertificate { setting: &'static str, path: PathBuf },
    #[error("certificate and key do not fit together or are of no supported kind: enrol this box anew")]
    Identity(#[source] rustls::Error),
    #[error("no TLS provider is installed: the program must call install_crypto first")]
    NoProvider,
    #[error("the device id {0:?} is not of the form [a-z0-9-]{{3,48}}: correct device.id")]
    ClientId(String),
}

/// Installs ring as the process's TLS provider; once, at the start of a binary.
pub fn install_crypto() {
    // A second call finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A broker's address, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    pub is_encrypted: bool,
}

impl Broker {
    /// # Errors
    /// When it is no `mqtt://` or `mqtts://` URL, holds credentials, or would go unencrypted beyond loopback.
    pub fn parse(text: &str) -> Result<Self, LinkError> {
        let url = Url::parse(text).map_err(|_| LinkError::Address)?;
        let is_encrypted = match url.scheme() {
            "mqtts" => true,
            "mqtt" => false,
            _ => return Err(LinkError::Address),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LinkError::Credentials);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(LinkError::Address)?.to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(LinkError::Address);
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !is_encrypted && !is_loopback {
            return Err(LinkError::NotEncrypted { host });
        }
        let port = url.port().unwrap_or(if is_encrypted { 8883 } else { 1883 });
        Ok(Self { host, port, is_encrypted })
    }
}

/// TLS 1.2 or later that trusts `ca_file` alone and shows the box's certificate. Files are read anew each time,
/// since an identity may be rotated. Certificates are judged as of `not_before` where the system's clock shows less.
///
/// # Errors
/// When a file is missing or unreadable, or certificate and key do not fit.
pub fn client_config(
    ca_file: Option<&Path>,
    certificate_file: Option<&Path>,
    key_file: Option<&Path>,
    not_before: Option<Wall>,
) -> Result<Arc<ClientConfig>, LinkError> {
    let provider = rustls::crypto::CryptoProvider::get_default().ok_or(LinkError::NoProvider)?;
    let roots = roots(ca_file)?;
    let chain = certificates("uplink.certificate_file", certificate_file)?;
    let setting = "uplink.key_file";
    let path = key_file.ok_or(LinkError::FileNotSet { setting })?;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(setting, path, error))?;
    let config = ClientConfig::builder_with_details(Arc::clone(provider), Arc::new(Today { not_before }))
        .with_safe_default_protocol_versions()
        .map_err(LinkError::Identity)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(LinkError::Identity)?;
    Ok(Arc::new(config))
}

/// How many bytes of certificates the box shows, as DER: its own, and all of them.
pub(crate) fn shown_bytes(certificate_file: Option<&Path>) -> Option<(u64, u64)> {
    let chain = certificates("uplink.certificate_file", certificate_file).ok()?;
    let all: usize = chain.iter().map(|certificate| certificate.len()).sum();
    Some((chain.first()?.len() as u64, all as u64))
}

/// The day on which certificates are judged: a box without a battery starts in 1970, before any was issued.
#[derive(Debug)]
pub(crate) struct Today {
    pub not_before: Option<Wall>,
}

impl TimeProvider for Today {
    fn current_time(&self) -> Option<UnixTime> {
        let floor_ms = self.not_before.map_or(0, |wall| u64::try_from(wall.as_unix_millis()).unwrap_or(0));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(UnixTime::since_unix_epoch(now.max(Duration::from_millis(floor_ms))))
    }
}

/// The authorities in the CA's file.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, LinkError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("uplink.ca_file", ca_file)? {
        roots.add(certificate).map_err(LinkError::Identity)?;
    }
    Ok(roots)
}

fn certificates(setting: &'static str, path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let path = path.ok_or(LinkError::FileNotSet { setting })?;
    let wrong = |error| unreadable(setting, path, error);
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if certificates.is_empty() {
        return Err(LinkError::NoCertificate { setting, path: path.to_owned() });
    }
    Ok(certificates)
}

/// A parser's error may quote the file, which may be a key: only the system's own are passed on.
fn unreadable(setting: &'static str, path: &Path, error: pem::Error) -> LinkError {
    let source = match error {
        pem::Error::Io(error) => error,
        _ => io::Error::new(io::ErrorKind::InvalidData, "it is not PEM"),
    };
    LinkError::File { setting, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_go_unencrypted() {
        for good in ["mqtt://127.0.0.1:1883", "mqtt://localhost", "mqtt://[::1]:1883", "mqtts://broker.example"] {
            assert!(Broker::parse(good).is_ok(), "{good}");
        }
        let error = Broker::parse("mqtt://broker.example:1883").expect_err("not loopback");
        assert!(error.to_string().contains("mqtts://"), "{error}");
        for wrong in ["", "broker:1883", "http://localhost", "mqtts://", "mqtts://broker/path"] {
            assert!(Broker::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Broker::parse("mqtts://broker.example").expect("good").port, 8883);
    }

    #[test]
    fn an_error_holds_no_password_and_no_content() {
        let error = Broker::parse("mqtts://box:geheim@broker.example").expect_err("credentials");
        assert!(!format!("{error} {error:?}").contains("geheim"));

        install_crypto();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        std::fs::write(&file, "geheim").expect("written");
        let error = client_config(Some(&file), Some(&file), Some(&file), None).expect_err("no PEM");
        assert!(!format!("{error} {error:?}").contains("geheim"));
        assert!(error.to_string().contains("uplink.ca_file"), "{error}");
        let error = client_config(None, None, None, None).expect_err("nothing set");
        assert!(error.to_string().contains("uplink.ca_file"), "{error}");
    }
}
