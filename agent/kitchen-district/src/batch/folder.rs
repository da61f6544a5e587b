//! The folder of a batch: made under a name of its own beside the final one, synced, then renamed. Under the final name
//! there is all or nothing, whenever the program is killed; what a killed one left, the next removes.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::files::sync_parent;

/// Why the folder can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{0} is no name for a new folder: write --out DIR with the folder's own name")]
    Name(PathBuf),
    #[error("{0} is there already and not an empty folder: name a new one with --out")]
    Taken(PathBuf),
    #[error("{0} is being made by another run: wait for it, or name another folder")]
    Busy(PathBuf),
    #[error("{path} can't be written: check that the folder above is there, writable, and has space")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} can't be read back: check the disk")]
    Read { path: PathBuf, source: io::Error },
}

/// Whether the folder can be made. Removes what a killed run has left of it.
///
/// # Errors
/// When it is there and not empty, or is being made.
pub(super) fn prepare(out: &Path) -> Result<(), FolderError> {
    let aside = aside(out)?;
    match out.symlink_metadata() {
        Ok(found) if !found.is_dir() => return Err(FolderError::Taken(out.to_owned())),
        Ok(_) => {
            let mut inside = out.read_dir().map_err(|source| FolderError::Read { path: out.to_owned(), source })?;
            if inside.next().is_some() {
                return Err(FolderError::Taken(out.to_owned()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(FolderError::Read { path: out.to_owned(), source }),
    }
    remove_leftover(out, &aside)
}

/// The folder while it is made. Dropped before it is finished, it is gone.
pub(super) struct Unfinished {
    out: PathBuf,
    aside: PathBuf,
    /// Held as long as it is being made: it tells a leftover from another run's folder.
    lock: File,
    is_finished: bool,
}

impl Unfinished {
    /// # Errors
    /// As [`prepare`], and when it can't be made.
    pub(super) fn begin(out: &Path) -> Result<Self, FolderError> {
        prepare(out)?;
        let aside = aside(out)?;
        match fs::create_dir(&aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(FolderError::Busy(out.to_owned()));
            }
            made => made.map_err(|source| FolderError::Write { path: aside.clone(), source })?,
        }
        let busy = || FolderError::Busy(out.to_owned());
        let lock = locked(&aside).map_err(|source| FolderError::Write { path: aside.clone(), source })?;
        let lock = lock.ok_or_else(busy)?;
        Ok(Self { out: out.to_owned(), aside, lock, is_finished: false })
    }

    /// Makes a folder that only its owner may enter. `name` is made of checked names.
    ///
    /// # Errors
    /// When the disk is full, read-only or broken.
    pub(super) fn make_private(&self, name: &str) -> Result<(), FolderError> {
        let path = self.aside.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(|source| FolderError::Write { path, source })
    }

    /// Writes a file that only its owner may read.
    ///
    /// # Errors
    /// As above.
    pub(super) fn write_private(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        self.write_with(name, bytes, 0o600)
    }

    /// # Errors
    /// As above.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        self.write_with(name, bytes, 0o644)
    }

    fn write_with(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), FolderError> {
        let path = self.aside.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(bytes)).map_err(|source| FolderError::Write { path, source })
    }

    /// # Errors
    /// When what was written can't be read back.
    pub(super) fn read(&self, name: &str) -> Result<String, FolderError> {
        let path = self.aside.join(name);
        fs::read_to_string(&path).map_err(|source| FolderError::Read { path, source })
    }

    /// Gives it its name; durable when it returns.
    ///
    /// # Errors
    /// When the disk is full or broken, or the name was taken in between.
    pub(super) fn finish(mut self) -> Result<(), FolderError> {
        // One sync of the whole file system: thousands of files, each synced by itself, take minutes.
        let synced = rustix::fs::syncfs(&self.lock).map_err(io::Error::from);
        synced.map_err(|source| FolderError::Write { path: self.aside.clone(), source })?;
        let named = fs::rename(&self.aside, &self.out);
        named.map_err(|source| FolderError::Write { path: self.out.clone(), source })?;
        self.is_finished = true;
        sync_parent(&self.out).map_err(|source| FolderError::Write { path: self.out.clone(), source })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_dir_all(&self.aside);
        }
    }
}

/// Hidden, in the same folder, so that it can be renamed.
fn aside(out: &Path) -> Result<PathBuf, FolderError> {
    let name = out.file_name().ok_or_else(|| FolderError::Name(out.to_owned()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".unfinished");
    Ok(out.with_file_name(hidden))
}

fn remove_leftover(out: &Path, aside: &Path) -> Result<(), FolderError> {
    let failed = |source| FolderError::Write { path: aside.to_owned(), source };
    if aside.symlink_metadata().is_err() {
        return Ok(());
    }
    let Some(lock) = locked(aside).map_err(failed)? else { return Err(FolderError::Busy(out.to_owned())) };
    fs::remove_dir_all(aside).map_err(failed)?;
    drop(lock);
    Ok(())
}

/// The folder, locked; `None` when another process has it, or has just removed it.
fn locked(folder: &Path) -> io::Result<Option<File>> {
    let file = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        locked => locked.map_err(io::Error::from)?,
    }
    let is_still_there =
        folder.symlink_metadata().is_ok_and(|found| file.metadata().is_ok_and(|held| held.ino() == found.ino()));
    Ok(is_still_there.then_some(file))
}
