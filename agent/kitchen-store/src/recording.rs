//! The rolling recording: segment files below `recording/<camera>/`, and their index.
//! A file is written under another name, synced and renamed; its name says all that the index knows, so rows cost no
//! sync, and what a power cut takes of them is read from the names again. Files are written and removed by the caller's
//! thread: a slow disk holds up nobody else.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kitchen_core::recording::Segment;
use rusqlite::Connection;

use crate::database::{Database, from_sql, to_sql};
use crate::error::{At as _, During as _, StoreError};
use crate::files::TEMPORARY;
use crate::store::Store;

/// Rows written in one transaction when the index is made anew.
const ROWS_AT_ONCE: usize = 500;
/// Segments removed in one go when evidence needs room.
const SEGMENTS_AT_ONCE: usize = 32;

/// What the recording holds of one camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRecording {
    pub camera: String,
    pub segments: u64,
    pub bytes: u64,
    pub duration_ms: u64,
    pub oldest: Segment,
    pub newest: Segment,
}

/// What bringing index and files together has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub segments: usize,
    /// Files that had no row.
    pub added: usize,
    /// Rows that had no file.
    pub forgotten: usize,
    /// Files of interrupted writes, and those that could not be read.
    pub removed: usize,
}

/// Where segments lie.
#[derive(Clone, Debug)]
pub struct RecordingFolder {
    root: PathBuf,
}

/// What lies in the folder.
#[derive(Debug, Default)]
struct Listing {
    segments: Vec<Segment>,
    temporary: Vec<PathBuf>,
}

#[expect(clippy::missing_errors_doc, reason = "each fails when the disk does; StoreError says how")]
impl RecordingFolder {
    /// `<state_dir>/recording`; made when the first segment is written.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    #[must_use]
    pub fn path(&self, segment: &Segment) -> PathBuf {
        self.root.join(&segment.camera).join(segment.file_name())
    }

    /// Writes a segment: another name, one sync, rename.
    pub fn write(&self, segment: &Segment, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(segment);
        let folder = self.root.join(&segment.camera);
        fs::create_dir_all(&folder).at("create", &folder)?;
        let temporary = path.with_extension(TEMPORARY);
        let write = || -> Result<(), StoreError> {
            let mut file = File::create(&temporary).at("create", &temporary)?;
            file.write_all(bytes).at("write", &temporary)?;
            file.sync_data().at("sync", &temporary)?;
            fs::rename(&temporary, &path).at("rename to", &path)
        };
        write().inspect_err(|_| {
            // The next start removes what can't be removed now.
            let _ = fs::remove_file(&temporary);
        })
    }

    /// Removes a segment; one that is gone already is no error.
    pub fn remove(&self, segment: &Segment) -> Result<(), StoreError> {
        remove(&self.path(segment))
    }

    /// Free for the recording's folder, in bytes, and the size of its disk.
    pub fn room(&self) -> Result<(u64, u64), StoreError> {
        let folder = self.root.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let disk = rustix::fs::statvfs(folder).map_err(Into::into).at("measure", folder)?;
        Ok((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
    }

    /// `indexed`, and what lies there without a row yet; in order.
    pub fn with_unindexed(&self, indexed: Vec<Segment>) -> Result<Vec<Segment>, StoreError> {
        let known: HashSet<(String, String)> =
            indexed.iter().map(|segment| (segment.camera.clone(), segment.file_name())).collect();
        let mut all = indexed;
        all.extend(self.list(&known)?.segments);
        all.sort_by(|one, other| one.order().cmp(&other.order()));
        Ok(all)
    }

    /// What lies there beside the `known` files.
    fn list(&self, known: &HashSet<(String, String)>) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        let cameras = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listing),
            cameras => cameras.at("list", &self.root)?,
        };
        for camera in cameras {
            let camera = camera.at("list", &self.root)?;
            if camera.file_type().is_ok_and(|kind| kind.is_dir()) {
                list_camera(&camera.path(), &camera.file_name().to_string_lossy(), known, &mut listing)?;
            }
        }
        listing.segments.sort_by(|one, other| one.order().cmp(&other.order()));
        Ok(listing)
    }
}

fn list_camera(
    folder: &Path,
    camera: &str,
    known: &HashSet<(String, String)>,
    listing: &mut Listing,
) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if known.contains(&(camera.to_owned(), name.clone())) {
            continue;
        }
        if name.ends_with(&format!(".{TEMPORARY}")) {
            listing.temporary.push(entry.path());
        } else if let Some(mut segment) = Segment::parse(camera, &name, 0) {
            // Removed in between, it is not there.
            let Ok(metadata) = entry.metadata() else { continue };
            segment.bytes = metadata.len();
            listing.segments.push(segment);
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Brings the index and the files together, before anything is recorded: what is half written goes, files without a
/// row get one, rows without a file go. `is_readable` looks into a file that has no row; an error leaves it alone.
///
/// # Errors
/// When folder or database can't be read.
pub fn reconcile<E: std::fmt::Display>(
    store: &Store,
    folder: &RecordingFolder,
    mut is_readable: impl FnMut(&Path) -> Result<bool, E>,
) -> Result<Reconciled, StoreError> {
    let Listing { segments, temporary } = folder.list(&HashSet::new())?;
    let mut done = Reconciled::default();
    for path in temporary {
        remove(&path)?;
        done.removed += 1;
    }
    let rows = store.recording()?;
    let mut unseen: HashMap<(String, String), Segment> =
        rows.into_iter().map(|row| ((row.camera.clone(), row.file_name()), row)).collect();
    let (mut added, mut forgotten) = (Vec::new(), Vec::new());
    for segment in segments {
        let path = folder.path(&segment);
        let row = unseen.remove(&(segment.camera.clone(), segment.file_name()));
        let is_known = row.as_ref().is_some_and(|row| row.bytes == segment.bytes);
        let is_good = if is_known { Ok(true) } else { is_readable(&path) };
        match is_good {
            Ok(true) if is_known => done.segments += 1,
            Ok(true) => added.push(segment),
            Ok(false) => {
                tracing::warn!(path = %path.display(), bytes = segment.bytes, "segment can't be read, removed");
                remove(&path)?;
                done.removed += 1;
                forgotten.extend(row);
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "segment could not be looked at"),
        }
    }
    forgotten.extend(unseen.into_values());
    done.added = added.len();
    done.forgotten = forgotten.len();
    done.segments += added.len();
    for gone in forgotten.chunks(ROWS_AT_ONCE) {
        store.note_recording(&[], gone)?;
    }
    for new in added.chunks(ROWS_AT_ONCE) {
        store.note_recording(new, &[])?;
    }
    Ok(done)
}

impl Database {
    /// Undone by a power cut, rows are made anew from the files: no sync is needed.
    pub fn note_recording(&mut self, new: &[Segment], gone: &[Segment]) -> Result<(), StoreError> {
        self.cheaply("note", "the recording", |transaction| {
            let mut delete = transaction
                .prepare_cached("DELETE FROM recording WHERE boot = ?1 AND start_uptime_ms = ?2 AND camera = ?3")?;
            for segment in gone {
                let (boot, start, camera) = segment.order();
                delete.execute((boot, to_sql(start.as_millis()), camera))?;
            }
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO recording VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for segment in new {
                let (boot, start, camera) = segment.order();
                let (duration, bytes) = (to_sql(segment.duration_ms), to_sql(segment.bytes));
                insert.execute((boot, to_sql(start.as_millis()), camera, duration, bytes, segment.file_name()))?;
            }
            Ok(())
        })
    }

    /// Removes the oldest segments, over all cameras, until so many bytes are free; how many went. Files first: a full
    /// disk takes no row, and what the index then names too much goes at the next start.
    pub fn evict_recording(&mut self, bytes: u64) -> Result<usize, StoreError> {
        let folder = RecordingFolder::new(&self.layout.recording);
        let mut gone = Vec::new();
        let mut freed = 0;
        for segment in oldest(&self.connection, SEGMENTS_AT_ONCE)? {
            if freed >= bytes {
                break;
            }
            folder.remove(&segment)?;
            freed += segment.bytes;
            gone.push(segment);
        }
        if !gone.is_empty() {
            tracing::warn!(segments = gone.len(), bytes = freed, "recording removed to make room for evidence");
            self.note_recording(&[], &gone)?;
        }
        Ok(gone.len())
    }
}

/// All segments that the index names, in order.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Segment>, StoreError> {
    oldest(connection, usize::MAX)
}

pub(crate) fn oldest(connection: &Connection, limit: usize) -> Result<Vec<Segment>, StoreError> {
    const ALL: &str = "SELECT camera, file, bytes FROM recording ORDER BY boot, start_uptime_ms, camera LIMIT ?1";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = || -> rusqlite::Result<Vec<Option<Segment>>> {
        let segment = |row: &rusqlite::Row<'_>| {
            let (camera, file): (String, String) = (row.get(0)?, row.get(1)?);
            // A row that was altered is as good as none: the file has its name.
            Ok(Segment::parse(&camera, &file, from_sql(row.get(2)?)))
        };
        connection.prepare_cached(ALL)?.query_map([limit], segment)?.collect()
    };
    Ok(read().during("list", "the recording")?.into_iter().flatten().collect())
}

/// What the index names of each camera.
pub(crate) fn held(connection: &Connection) -> Result<Vec<HeldRecording>, StoreError> {
    // Names are in the order of the segments.
    const HELD: &str = "SELECT camera, count(*), sum(bytes), sum(duration_ms), min(file), max(file) FROM recording \
        GROUP BY camera";
    let read = || -> rusqlite::Result<Vec<Option<HeldRecording>>> {
        let camera = |row: &rusqlite::Row<'_>| {
            let (camera, oldest, newest): (String, String, String) = (row.get(0)?, row.get(4)?, row.get(5)?);
            let ends = Segment::parse(&camera, &oldest, 0).zip(Segment::parse(&camera, &newest, 0));
            let (segments, bytes, duration_ms) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(ends.map(|(oldest, newest)| HeldRecording {
                camera,
                segments: from_sql(segments),
                bytes: from_sql(bytes),
                duration_ms: from_sql(duration_ms),
                oldest,
                newest,
            }))
        };
        connection.prepare_cached(HELD)?.query_map([], camera)?.collect()
    };
    Ok(read().during("measure", "the recording")?.into_iter().flatten().collect())
}
