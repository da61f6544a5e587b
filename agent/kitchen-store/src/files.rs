//! Pictures and clips as files: on the disk, with their directory entry, before any row names them.
//! A file without a row is left by a power cut and removed at the next start.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{At as _, StoreError};

pub(crate) const TEMPORARY: &str = "tmp";

/// The folders and files of a store below its directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub directory: PathBuf,
    pub database: PathBuf,
    pub snapshots: PathBuf,
    pub clips: PathBuf,
    pub evidence_key: PathBuf,
    /// The rolling recording, beside the store's own folder.
    pub recording: PathBuf,
    /// Bytes that nothing uses, given up when the disk is full so that the database can still be written.
    pub reserve: PathBuf,
}

impl Layout {
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            database: directory.join("agent.db"),
            snapshots: directory.join("snapshots"),
            clips: directory.join("clips"),
            evidence_key: directory.join("evidence.key"),
            recording: directory.with_file_name("recording"),
            reserve: directory.join("reserve"),
        }
    }

    /// Makes what is missing and syncs the entries.
    pub fn create(&self) -> Result<(), StoreError> {
        for folder in [&self.directory, &self.snapshots, &self.clips] {
            fs::create_dir_all(folder).at("create", folder)?;
        }
        if let Some(parent) = self.directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        sync_folder(&self.directory)
    }

    /// Takes the lock that one agent holds as long as it runs. The kernel drops it with the process.
    pub fn lock(&self) -> Result<File, StoreError> {
        let path = self.directory.join("lock");
        let file = File::create(&path).at("create", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse { path: self.directory.clone() }),
            Err(fs::TryLockError::Error(source)) => Err(source).at("lock", &path),
        }
    }
}

/// Files written and synced whose rows are not committed yet; removed unless kept.
#[derive(Debug, Default)]
pub(crate) struct NewFiles {
    written: Vec<PathBuf>,
}

impl NewFiles {
    /// Writes `files` into `folder`: temporary name, sync, rename; then syncs the folder once.
    pub fn write(folder: &Path, files: &[(&str, &[u8])]) -> Result<Self, StoreError> {
        let mut new = Self::default();
        for (name, bytes) in files {
            let path = folder.join(name);
            let temporary = folder.join(format!("{name}.{TEMPORARY}"));
            new.written.push(temporary.clone());
            let mut file = File::create(&temporary).at("create", &temporary)?;
            file.write_all(bytes).at("write", &temporary)?;
            file.sync_all().at("sync", &temporary)?;
            fs::rename(&temporary, &path).at("rename to", &path)?;
            new.written.pop();
            new.written.push(path);
        }
        sync_folder(folder)?;
        Ok(new)
    }

    /// Their rows are committed.
    pub fn keep(mut self) {
        self.written.clear();
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        for path in &self.written {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "file without a row not removed");
            }
        }
    }
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).at("sync", folder)
}

/// Removes temporary files, and files of this store that no row names. Those of another store
/// (a database that was replaced) are left: they may be the only evidence there is.
pub(crate) fn remove_orphans(folder: &Path, store: &str, named: &HashSet<String>) -> Result<usize, StoreError> {
    let mut removed = 0;
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name.split('.').next() == Some(store) && !named.contains(&name);
        if !is_ours && Path::new(&name).extension().is_none_or(|extension| extension != TEMPORARY) {
            continue;
        }
        fs::remove_file(entry.path()).at("remove", &entry.path())?;
        removed += 1;
    }
    Ok(removed)
}
