//! Files that survive a power cut: written aside, synced, renamed, the folder synced.
//! Names are made of checked ids only; nothing a box sends becomes a path as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use kitchen_core::wire::MessageId;

/// The folder of the district's store.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// # Errors
    /// When the folder can't be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_folder(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// `device` is a checked device id.
    #[must_use]
    pub fn snapshot(&self, device: &str, alert_id: &MessageId, variant: Option<&str>) -> PathBuf {
        self.root.join(device).join("snapshots").join(file_name(alert_id, variant, "jpg"))
    }

    #[must_use]
    pub fn clip(&self, device: &str, clip_id: &MessageId, variant: Option<&str>) -> PathBuf {
        self.root.join(device).join("clips").join(file_name(clip_id, variant, "mp4"))
    }

    /// Where a clip grows.
    #[must_use]
    pub fn part(&self, device: &str, clip_id: &MessageId, sha256: &str) -> PathBuf {
        self.root.join(device).join("clips").join(file_name(clip_id, Some(sha256), "part"))
    }
}

fn file_name(id: &MessageId, variant: Option<&str>, extension: &str) -> String {
    match variant {
        // A hash, checked: enough of it to tell two contents apart.
        Some(sha256) => format!("{id}.{}.{extension}", sha256.get(..16).unwrap_or(sha256)),
        None => format!("{id}.{extension}"),
    }
}

/// The whole file or nothing, durable when it returns.
///
/// # Errors
/// When the disk is full, read-only or broken.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o666)
}

/// As [`write_durably`]; only the owner may read it.
///
/// # Errors
/// As above.
pub fn write_secret_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    make_parent(path)?;
    // One that a cut left behind may have another mode.
    remove(&aside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_parent(path)
}

/// Writes into a file that may have holes; durable when it returns.
///
/// # Errors
/// As above.
pub fn write_at_durably(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let is_new = !path.exists();
    if is_new {
        make_parent(path)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.write_all_at(bytes, offset)?;
    file.sync_all()?;
    if is_new { sync_parent(path) } else { Ok(()) }
}

/// Renames within a folder; durable when it returns.
///
/// # Errors
/// As above.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Removes a file that may be gone already.
///
/// # Errors
/// As above.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// SHA-256 of a file, `None` when there is none.
///
/// # Errors
/// When it can't be read.
pub fn sha256_of(path: &Path) -> io::Result<Option<String>> {
    use sha2::Digest as _;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = io::Read::read(&mut file, &mut buffer)?;
        if count == 0 {
            return Ok(Some(kitchen_core::wire::hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..count]);
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), make_folder)
}

/// Makes a folder and what is above it, each synced into its parent.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    make_parent(path)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_parent(path)
}

/// Makes the name of a new file durable.
///
/// # Errors
/// As above.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_and_its_name_is_made_of_ids() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(&folder.path().join("a/b")).expect("made");
        let id: MessageId = "k7f3qa.1.2".parse().expect("an id");
        let path = files.snapshot("mh07-000123", &id, None);
        assert_eq!(path, folder.path().join("a/b/mh07-000123/snapshots/k7f3qa.1.2.jpg"));
        write_durably(&path, b"first").expect("written");
        write_durably(&path, b"second").expect("written over");
        assert_eq!(fs::read(&path).expect("read"), b"second");
        assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("read").count(), 1, "nothing left aside");

        let part = files.part("mh07-000123", &id, "0123456789abcdef0123");
        write_at_durably(&part, 4, b"cd").expect("written");
        write_at_durably(&part, 0, b"ab").expect("written");
        assert_eq!(fs::read(&part).expect("read"), b"ab\0\0cd");
        assert_eq!(sha256_of(&folder.path().join("absent")).expect("no error"), None);
        remove(&part).expect("removed");
        remove(&part).expect("gone already");
    }
}
