//! The folder of a box's identity: the claim that it came with, its keys, and its certificates, one generation a folder.
//! A power cut at any moment leaves one generation that is whole and in use; private keys never leave the folder.
//!
//! `current` and, until a new generation has connected, `previous` are links to `g1`, `g2`, …; `next` is one that is
//! being made. `device.pem`, `device.key` and `broker-ca.pem` lead into `current`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use kitchen_core::enrolment::{CLAIM_FILE, Claim, ClaimError, Enrolment, Validity};
use kitchen_core::time::Wall;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};

const CERTIFICATE: &str = "device.pem";
const KEY: &str = "device.key";
const BROKER_CA: &str = "broker-ca.pem";
const ANSWER: &str = "enrolment.json";
const CLAIM_ID: &str = "claim-id";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";
/// Larger files are no claims, keys or certificates.
const MOST_BYTES: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("can't {what} {path}: check its owner and its disk", path = path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is damaged", path = path.display())]
    Damaged { path: PathBuf },
    #[error("claim {path}: {source}", path = path.display())]
    Claim { path: PathBuf, source: ClaimError },
    #[error("a key or a request for a certificate can't be made")]
    Key(#[source] rcgen::Error),
    #[error("the certificate that the authority gave is not for this box's key and name")]
    OtherCertificate,
}

impl IdentityError {
    /// The system's own error, if it was one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// One generation: a key, its certificate, and what the authority said with it.
#[derive(Clone, Debug)]
pub struct Generation {
    pub folder: PathBuf,
    pub enrolment: Enrolment,
    /// Of the claim that it came with, also when it was renewed since.
    pub claim_id: String,
    pub validity: Validity,
}

impl Generation {
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join(CERTIFICATE)
    }

    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.join(KEY)
    }
}

/// `identity` below the state folder.
#[derive(Clone, Debug)]
pub struct IdentityFolder {
    folder: PathBuf,
}

impl IdentityFolder {
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("identity") }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Leads to the certificate in use.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join(CERTIFICATE)
    }

    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.join(KEY)
    }

    #[must_use]
    pub fn broker_ca_file(&self) -> PathBuf {
        self.folder.join(BROKER_CA)
    }

    /// The claim that waits to be used.
    ///
    /// # Errors
    /// When it can't be read, or is none.
    pub fn claim(&self) -> Result<Option<Claim>, IdentityError> {
        read_claim(&self.folder.join(CLAIM_FILE))
    }

    /// Keeps a claim until it is used.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn keep_claim(&self, claim: &Claim) -> Result<(), IdentityError> {
        self.make()?;
        self.write(&self.folder.join(CLAIM_FILE), claim.to_toml().as_bytes())
    }

    /// Once it is used, nobody can enrol with it any more.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn wipe_claim(&self) -> Result<(), IdentityError> {
        wipe(&self.folder.join(CLAIM_FILE))
    }

    /// The generation in use.
    ///
    /// # Errors
    /// When it can't be read or is damaged.
    pub fn current(&self) -> Result<Option<Generation>, IdentityError> {
        self.generation(CURRENT)
    }

    /// The one before, as long as the one in use has not connected.
    ///
    /// # Errors
    /// As [`IdentityFolder::current`].
    pub fn previous(&self) -> Result<Option<Generation>, IdentityError> {
        // The same twice: a power cut between two links.
        if fs::read_link(self.folder.join(PREVIOUS)).ok() == fs::read_link(self.folder.join(CURRENT)).ok() {
            return Ok(None);
        }
        self.generation(PREVIOUS)
    }

    /// What tells one generation in use from another.
    #[must_use]
    pub fn current_name(&self) -> Option<PathBuf> {
        fs::read_link(self.folder.join(CURRENT)).ok()
    }

    /// A request for a certificate of `device`, by the key of the next generation, which is made when there is none.
    ///
    /// # Errors
    /// When the key can't be made, written or read.
    pub fn request(&self, device: &str) -> Result<String, IdentityError> {
        let key = self.next_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, device);
        params.serialize_request(&key).and_then(|request| request.pem()).map_err(IdentityError::Key)
    }

    /// Takes what the authority answered to the request: a new generation, in use from now on. The one before stays.
    ///
    /// # Errors
    /// When the certificate is not the one asked for, or the disk does not take it; then the one before stays in use.
    pub fn accept(&self, enrolment: &Enrolment, claim_id: &str) -> Result<Generation, IdentityError> {
        let next = self.folder.join(NEXT);
        let key = self.next_key()?;
        validity_of(&enrolment.certificate, &enrolment.device, Some(&key.subject_public_key_info()))
            .ok_or(IdentityError::OtherCertificate)?;
        self.write(&next.join(CERTIFICATE), enrolment.certificate.as_bytes())?;
        self.write(&next.join(BROKER_CA), enrolment.broker.ca.as_bytes())?;
        let answer = serde_json::to_vec_pretty(enrolment).expect("keys are text");
        self.write(&next.join(ANSWER), &answer)?;
        self.write(&next.join(CLAIM_ID), claim_id.as_bytes())?;
        fail::fail_point!("identity-written");
        self.finish()?;
        self.current()?.ok_or_else(|| IdentityError::Damaged { path: self.folder.join(CURRENT) })
    }

    /// Puts a generation in use that was whole when a power cut came: the authority talks to no key but the newest that it
    /// knows.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn resume(&self) -> Result<(), IdentityError> {
        if self.read(&self.folder.join(NEXT)).is_ok() {
            return self.finish();
        }
        let generations = self.generations()?;
        let newest = generations.into_iter().filter(|(_, name)| self.read(&self.folder.join(name)).is_ok()).max();
        let in_use = self.current_name().and_then(|name| number_of(name.to_str()?));
        match newest {
            Some((number, name)) if in_use.is_none_or(|in_use| in_use <= number) => self.put_in_use(Path::new(&name)),
            _ => Ok(()),
        }
    }

    /// All of the next generation is written: it gets its name, and is in use.
    fn finish(&self) -> Result<(), IdentityError> {
        let newest = self.generations()?.into_iter().map(|(number, _)| number).max().unwrap_or(0);
        let name = format!("g{}", newest + 1);
        rename(&self.folder.join(NEXT), &self.folder.join(&name))?;
        fail::fail_point!("identity-named");
        self.put_in_use(Path::new(&name))
    }

    fn put_in_use(&self, name: &Path) -> Result<(), IdentityError> {
        let current = self.current_name();
        if current.as_deref() != Some(name) {
            if let Some(current) = current {
                self.link(PREVIOUS, &current)?;
            }
            fail::fail_point!("identity-linked");
            self.link(CURRENT, name)?;
            fail::fail_point!("identity-current");
        }
        for file in [CERTIFICATE, KEY, BROKER_CA] {
            self.link(file, &Path::new(CURRENT).join(file))?;
        }
        Ok(())
    }

    /// The generation in use has connected: all others go.
    ///
    /// # Errors
    /// When they can't be removed.
    pub fn keep(&self) -> Result<(), IdentityError> {
        let Some(current) = self.current_name() else { return Ok(()) };
        remove_file(&self.folder.join(PREVIOUS))?;
        for (_, name) in self.generations()? {
            if Path::new(&name) != current {
                let path = self.folder.join(name);
                remove_file(&path.join(KEY))?;
                fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }

    /// The broker refuses the generation in use: the one before is in use again, and the key of the refused one asks for the
    /// next certificate, since the authority knows it already. Whether there was one before.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn take_back(&self) -> Result<bool, IdentityError> {
        let (Some(current), Some(previous)) = (self.current_name(), self.previous()?) else { return Ok(false) };
        let name = previous.folder.file_name().map(PathBuf::from).unwrap_or_default();
        self.link(CURRENT, &name)?;
        remove_file(&self.folder.join(PREVIOUS))?;
        let next = self.folder.join(NEXT);
        if next.exists() {
            fs::remove_dir_all(&next).at("remove", &next)?;
        }
        let refused = self.folder.join(current);
        // Without it nobody takes the certificate up again.
        remove_file(&refused.join(CLAIM_ID))?;
        rename(&refused, &next)?;
        Ok(true)
    }

    /// Gives all of it to whoever owns the state, where root has made it.
    ///
    /// # Errors
    /// When that is refused.
    pub fn give_to_owner(&self, owner: (u32, u32)) -> Result<(), IdentityError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        give(&self.folder, owner)
    }

    fn next_key(&self) -> Result<KeyPair, IdentityError> {
        let next = self.folder.join(NEXT);
        let path = next.join(KEY);
        match fs::read_to_string(&path) {
            Ok(pem) => match KeyPair::from_pem(&pem) {
                Ok(key) => return Ok(key),
                // Half a file from before keys were renamed into place, or a bad card: no certificate hangs on it yet.
                Err(_) => remove_file(&path)?,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read", &path),
        }
        self.make()?;
        make_folder(&next)?;
        let key = KeyPair::generate().map_err(IdentityError::Key)?;
        self.write(&path, key.serialize_pem().as_bytes())?;
        fail::fail_point!("identity-key");
        Ok(key)
    }

    fn generation(&self, link: &str) -> Result<Option<Generation>, IdentityError> {
        let path = self.folder.join(link);
        let folder = match fs::read_link(&path) {
            Ok(name) => self.folder.join(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("read", &path),
        };
        self.read(&folder).map(Some)
    }

    fn read(&self, folder: &Path) -> Result<Generation, IdentityError> {
        let answer = folder.join(ANSWER);
        let enrolment: Enrolment = serde_json::from_slice(&fs::read(&answer).at("read", &answer)?)
            .map_err(|_| IdentityError::Damaged { path: answer })?;
        let claim_id = folder.join(CLAIM_ID);
        let claim_id = fs::read_to_string(&claim_id).at("read", &claim_id)?;
        let pem = folder.join(CERTIFICATE);
        let certificate = fs::read_to_string(&pem).at("read", &pem)?;
        let validity = validity_of(&certificate, &enrolment.device, None);
        let validity = validity.ok_or(IdentityError::Damaged { path: pem })?;
        Ok(Generation { folder: folder.to_owned(), enrolment, claim_id, validity })
    }

    fn generations(&self) -> Result<Vec<(u64, String)>, IdentityError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at("read", &self.folder)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.at("read", &self.folder)?.file_name().to_string_lossy().into_owned();
            found.extend(number_of(&name).map(|number| (number, name)));
        }
        Ok(found)
    }

    fn make(&self) -> Result<(), IdentityError> {
        make_folder(&self.folder)
    }

    /// Leads `name` to `target`, in one step.
    fn link(&self, name: &str, target: &Path) -> Result<(), IdentityError> {
        let (path, aside) = (self.folder.join(name), self.folder.join(format!("{name}.tmp")));
        if fs::read_link(&path).is_ok_and(|held| held == target) {
            return Ok(());
        }
        remove_file(&aside)?;
        symlink(target, &aside).at("write", &aside)?;
        rename(&aside, &path)
    }

    /// A file that only the owner may read, whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
        let aside = path.with_added_extension("tmp");
        remove_file(&aside)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).at("write", &aside)?;
        file.write_all(bytes).at("write", &aside)?;
        file.sync_all().at("write", &aside)?;
        rename(&aside, path)
    }
}

/// Of a generation's folder.
fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix('g')?.parse().ok()
}

/// Reads a claim that lies anywhere; none when there is no such file.
///
/// # Errors
/// When it can't be read, or is no claim.
pub fn read_claim(path: &Path) -> Result<Option<Claim>, IdentityError> {
    let bytes = match fs::metadata(path) {
        Ok(found) if found.len() > MOST_BYTES => {
            return Err(IdentityError::Claim { path: path.to_owned(), source: ClaimError::Text { line: 1 } });
        }
        Ok(_) => fs::read(path).at("read", path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("read", path),
    };
    let wrong = |source| IdentityError::Claim { path: path.to_owned(), source };
    // Notepad puts a mark before the text.
    let text = String::from_utf8(bytes).map_err(|_| wrong(ClaimError::Text { line: 1 }))?;
    Claim::parse(text.trim_start_matches('\u{feff}')).map(Some).map_err(wrong)
}

/// Overwrites a file that holds a secret and removes it. On flash the old blocks may live on: the secret is worth nothing
/// once it has been used.
///
/// # Errors
/// When it can't be written or removed.
pub fn wipe(path: &Path) -> Result<(), IdentityError> {
    let length = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).at("read", path),
    };
    let mut file = OpenOptions::new().write(true).open(path).at("wipe", path)?;
    let zeros = vec![0; usize::try_from(length.min(MOST_BYTES)).unwrap_or(0)];
    file.write_all(&zeros).and_then(|()| file.sync_all()).at("wipe", path)?;
    remove_file(path)?;
    path.parent().map_or(Ok(()), sync)
}

/// How long a certificate of `device` holds; `None` when it is none, or for another name or key.
fn validity_of(pem: &str, device: &str, key: Option<&[u8]>) -> Option<Validity> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let is_named = certificate.subject().iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == device));
    let has_key = key.is_none_or(|key| certificate.public_key().raw == key);
    let wall = |seconds: i64| Wall::from_unix_millis(seconds.saturating_mul(1000));
    let dates = certificate.validity();
    (is_named && has_key).then(|| Validity {
        not_before: wall(dates.not_before.timestamp()),
        not_after: wall(dates.not_after.timestamp()),
    })
}

fn give(path: &Path, (user, group): (u32, u32)) -> Result<(), IdentityError> {
    let found = fs::symlink_metadata(path).at("read", path)?;
    if (found.uid(), found.gid()) != (user, group) {
        std::os::unix::fs::lchown(path, Some(user), Some(group)).at("give away", path)?;
    }
    if found.is_dir() {
        for entry in fs::read_dir(path).at("read", path)? {
            give(&entry.at("read", path)?.path(), (user, group))?;
        }
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), IdentityError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("make", path)?;
    path.parent().map_or(Ok(()), sync)
}

fn rename(from: &Path, to: &Path) -> Result<(), IdentityError> {
    fs::rename(from, to).at("rename to", to)?;
    to.parent().map_or(Ok(()), sync)
}

fn remove_file(path: &Path) -> Result<(), IdentityError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), IdentityError> {
    File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)
}

trait At<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, IdentityError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, IdentityError> {
        self.map_err(|source| IdentityError::File { what, path: path.to_owned(), source })
    }
}
