//! An exported folder on the disk: its files with their hashes, and what is wrong with it in the chosen language.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use kitchen_core::evidence::{Flaw, Hash};
use kitchen_core::exported::{self, FolderFlaw, Found, MissingReason};
use sha2::{Digest as _, Sha256};

use crate::text::text;

/// Manifest, records, keys: larger ones are none of ours.
const MOST_TEXT: u64 = 64 << 20;
const BUFFER: usize = 128 * 1024;

/// Every file of the folder. Links and folders in it are no part of an export, and told as such.
///
/// # Errors
/// When the folder or a file in it can't be read.
pub fn read(folder: &Path) -> Result<BTreeMap<String, Found>> {
    let unreadable = |path: &Path| text!("verify-unreadable", path = path.display());
    let mut files = BTreeMap::new();
    for entry in folder.read_dir().with_context(|| unreadable(folder))? {
        let entry = entry.with_context(|| unreadable(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let found = if entry.file_type().with_context(|| unreadable(&path))?.is_file() {
            let keeps_content = is_text(&name);
            File::open(&path).and_then(|file| found(file, keeps_content)).with_context(|| unreadable(&path))?
        } else {
            Found { bytes: 0, sha256: Hash::ZERO, content: None }
        };
        files.insert(name, found);
    }
    if files.is_empty() {
        bail!(text!("verify-empty", path = folder.display()));
    }
    Ok(files)
}

fn is_text(name: &str) -> bool {
    let path = Path::new(name);
    [exported::SIGNATURE, exported::KEY, exported::CERTIFICATE].contains(&name)
        || path.extension().is_some_and(|extension| extension == "json")
}

fn found(file: File, keeps_content: bool) -> io::Result<Found> {
    let bytes = file.metadata()?.len();
    if keeps_content && bytes <= MOST_TEXT {
        let mut content = Vec::new();
        file.take(MOST_TEXT).read_to_end(&mut content)?;
        let sha256 = Hash(Sha256::digest(&content).into());
        return Ok(Found { bytes: content.len() as u64, sha256, content: Some(content) });
    }
    let (sha256, bytes) = hashed(file)?;
    Ok(Found { bytes, sha256, content: None })
}

/// SHA-256 and length of all that there is to read.
fn hashed(mut from: impl Read) -> io::Result<(Hash, u64)> {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((Hash(hasher.finalize().into()), bytes)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// A flaw as `--json` has it, with its text in the chosen language.
#[derive(Debug, serde::Serialize)]
pub struct SaidFlaw {
    pub flaw: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    pub text: String,
}

/// That a file is not in the folder, and why, in the chosen language.
#[must_use]
pub fn missing(file: &str, reason: MissingReason) -> String {
    match reason {
        MissingReason::Kept => text!("verify-kept", file = file),
        MissingReason::Evicted => text!("verify-evicted", file = file),
        MissingReason::Lost => text!("verify-lost", file = file),
    }
}

/// The flaw in the chosen language.
#[must_use]
pub fn said(flaw: &FolderFlaw) -> SaidFlaw {
    let manifest = Some(exported::MANIFEST.to_owned());
    let key = Some(exported::KEY.to_owned());
    let (flaw, file, text) = match flaw {
        FolderFlaw::NoManifest => ("no_manifest", manifest, text!("verify-no-manifest")),
        FolderFlaw::ManifestUnreadable => ("manifest_unreadable", manifest, text!("verify-manifest-unreadable")),
        FolderFlaw::NoKey => ("no_key", key, text!("verify-no-key")),
        FolderFlaw::OtherKey { found, trusted } => {
            ("other_key", key, text!("verify-other-key", found = found, trusted = trusted))
        }
        FolderFlaw::ManifestAltered => ("manifest_altered", manifest, text!("verify-manifest-altered")),
        FolderFlaw::Missing { file } => ("missing", Some(file.clone()), text!("verify-missing")),
        FolderFlaw::Altered { file, found, said } => {
            ("altered", Some(file.clone()), text!("verify-altered", found = found, said = said))
        }
        FolderFlaw::Unlisted { file } => ("unlisted", Some(file.clone()), text!("verify-unlisted")),
        FolderFlaw::RecordUnreadable { file } => {
            ("record_unreadable", Some(file.clone()), text!("verify-record-unreadable"))
        }
        FolderFlaw::Record { file, flaw } => (record_flaw(flaw), Some(file.clone()), of_record(flaw)),
        FolderFlaw::RecordForeign { file } => ("record_foreign", Some(file.clone()), text!("verify-record-foreign")),
        FolderFlaw::RecordPlace { file, number } => {
            ("record_place", Some(file.clone()), text!("verify-record-place", number = number))
        }
        FolderFlaw::RecordOrder => ("record_order", manifest, text!("verify-record-order")),
        FolderFlaw::Gap { store, from, to } => {
            ("gap", manifest, text!("verify-gap", store = store, from = from, to = to))
        }
        FolderFlaw::NotNamed { file, record } => {
            ("not_named", Some(file.clone()), text!("verify-not-named", record = record))
        }
        FolderFlaw::Unexplained { file, record } => {
            ("unexplained", Some(file.clone()), text!("verify-unexplained", record = record))
        }
    };
    SaidFlaw { flaw, file, text }
}

const fn record_flaw(flaw: &Flaw) -> &'static str {
    match flaw {
        Flaw::NoLink => "record_no_link",
        Flaw::Altered { .. } => "record_altered",
        Flaw::OtherKey { .. } => "record_other_key",
        Flaw::Signature { .. } => "record_signature",
    }
}

fn of_record(flaw: &Flaw) -> String {
    match flaw {
        Flaw::NoLink => text!("verify-record-no-link"),
        Flaw::Altered { found, said } => text!("verify-record-altered", found = found, said = said),
        Flaw::OtherKey { key_id } => text!("verify-record-other-key", key = key_id),
        Flaw::Signature { key_id } => text!("verify-record-signature", key = key_id),
    }
}
