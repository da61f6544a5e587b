//! The authority's folder: keys and certificates that are made once, and its settings. Secrets only its owner may read.
//!
//! `authority.toml` settings, `ca.pem` and `ca.key` sign certificates, `authority.key` signs claims and answers,
//! `command.key` commands, `broker-ca.pem` vouches for the broker, `crl.pem` is the list for the broker, `ca.sqlite` the
//! register.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kitchen_core::enrolment::AuthorityKey;
use kitchen_core::time::Wall;
use serde::{Deserialize, Serialize};
use url::Url;

use super::register::{Register, RegisterError};
use super::signing::{Signer, SigningError, random};
use crate::files;

const SETTINGS: &str = "authority.toml";
const CERTIFICATE: &str = "ca.pem";
const SIGNING_KEY: &str = "ca.key";
const AUTHORITY_KEY: &str = "authority.key";
const COMMAND_KEY: &str = "command.key";
const BROKER_CA: &str = "broker-ca.pem";
/// For the broker's `crlfile`.
pub const REVOCATION_LIST: &str = "crl.pem";

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{path} holds an authority already: leave it, or choose another folder", path = path.display())]
    Exists { path: PathBuf },
    #[error("{path} holds no authority: make one with kitchen-district ca init", path = path.display())]
    Missing { path: PathBuf },
    #[error("{path} can't be read or written: check its owner and its disk", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: take it from a backup", path = path.display())]
    Damaged { path: PathBuf },
    #[error("{what} {found:?} can't be used: expected {expected}")]
    Setting { what: &'static str, found: String, expected: &'static str },
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// What an authority tells its boxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub name: String,
    /// Where boxes find it: `https://host[:port]`.
    pub url: String,
    /// `mqtts://host:port`.
    pub broker: String,
    /// Of a box's certificate.
    pub lifetime_s: u64,
}

impl Settings {
    /// # Errors
    /// Which one can't be used.
    pub fn check(&self) -> Result<(), AuthorityError> {
        let is_url = |text: &str, scheme: &str| {
            Url::parse(text).is_ok_and(|url| {
                let is_bare = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
                url.scheme() == scheme && url.has_host() && is_bare && matches!(url.path(), "" | "/")
            })
        };
        let wrong =
            |what, found: &str, expected| Err(AuthorityError::Setting { what, found: found.to_owned(), expected });
        if !is_url(&self.url, "https") {
            return wrong("--url", &self.url, "https://host:port, as the boxes reach it");
        }
        if !is_url(&self.broker, "mqtts") {
            return wrong("--broker", &self.broker, "mqtts://host:port, as the boxes reach it");
        }
        if !(60..=10 * 365 * 86_400).contains(&self.lifetime_s) {
            return wrong("--lifetime", &format!("{} s", self.lifetime_s), "from 1 minute to 10 years");
        }
        Ok(())
    }

    #[must_use]
    pub fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_s)
    }

    /// The name or address in `url`.
    #[must_use]
    pub fn host(&self) -> String {
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    }
}

/// An authority that was made before.
pub struct Authority {
    pub folder: PathBuf,
    pub settings: Settings,
    pub signer: Signer,
    /// Signs claims and answers.
    pub key: AuthorityKey,
    /// The public part of the key that signs commands, base64.
    pub command_key: String,
    pub ca_pem: String,
    pub broker_ca_pem: String,
}

impl Authority {
    /// Makes keys, certificate, an empty register and an empty revocation list in `folder`.
    ///
    /// # Errors
    /// When there is one already, a setting is wrong, or the folder can't be written.
    pub fn make(
        folder: &Path,
        settings: &Settings,
        broker_ca: Option<&str>,
        now: Wall,
    ) -> Result<Self, AuthorityError> {
        settings.check()?;
        if folder.join(SETTINGS).exists() {
            return Err(AuthorityError::Exists { path: folder.to_owned() });
        }
        let (certificate, key) = Signer::make(&settings.name, now)?;
        write_secret(&folder.join(SIGNING_KEY), key.as_bytes())?;
        for name in [AUTHORITY_KEY, COMMAND_KEY] {
            write_secret(&folder.join(name), format!("{}\n", STANDARD.encode(random::<32>())).as_bytes())?;
        }
        write(&folder.join(CERTIFICATE), certificate.as_bytes())?;
        write(&folder.join(BROKER_CA), broker_ca.unwrap_or(&certificate).as_bytes())?;
        let signer = Signer::open(&certificate, &key)?;
        write(&folder.join(REVOCATION_LIST), signer.revocation_list(&[], 1, now)?.as_bytes())?;
        Register::open(folder)?;
        // Written last: without it there is no authority, and `init` begins again.
        let text = toml::to_string(settings).expect("settings are made of TOML's types");
        write(&folder.join(SETTINGS), text.as_bytes())?;
        Self::open(folder)
    }

    /// # Errors
    /// When there is none, or a file of it is damaged.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let path = folder.join(SETTINGS);
        if !path.exists() {
            return Err(AuthorityError::Missing { path: folder.to_owned() });
        }
        let settings: Settings =
            toml::from_str(&read(&path)?).map_err(|_| AuthorityError::Damaged { path: path.clone() })?;
        settings.check()?;
        let ca_pem = read(&folder.join(CERTIFICATE))?;
        let command_key = ed25519(&folder.join(COMMAND_KEY))?.public().to_string();
        Ok(Self {
            folder: folder.to_owned(),
            settings,
            signer: Signer::open(&ca_pem, &read(&folder.join(SIGNING_KEY))?)?,
            key: ed25519(&folder.join(AUTHORITY_KEY))?,
            command_key,
            broker_ca_pem: read(&folder.join(BROKER_CA))?,
            ca_pem,
        })
    }

    /// Writes the list of all that was revoked, for the broker.
    ///
    /// # Errors
    /// When the register can't be read or the file can't be written.
    pub fn write_revocation_list(&self, register: &Register, now: Wall) -> Result<(), AuthorityError> {
        let list = register.next_list()?;
        let pem = self.signer.revocation_list(&register.revoked_numbers()?, list, now)?;
        write(&self.folder.join(REVOCATION_LIST), pem.as_bytes())
    }
}

fn ed25519(path: &Path) -> Result<AuthorityKey, AuthorityError> {
    let damaged = || AuthorityError::Damaged { path: path.to_owned() };
    let seed = STANDARD.decode(read(path)?.trim()).map_err(|_| damaged())?;
    Ok(AuthorityKey::from_seed(seed.try_into().map_err(|_| damaged())?))
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), AuthorityError> {
    files::write_durably(path, bytes).map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), AuthorityError> {
    files::write_secret_durably(path, bytes).map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}
