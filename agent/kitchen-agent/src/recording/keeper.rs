//! Segments in, files and their rows out: within the quota, and never so many that the disk gets full. The oldest goes
//! first, over all cameras; evidence is never touched.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kitchen_core::recording::{Segment, boot_number, short_boot_id};
use kitchen_core::time::{Clock, Mono};
use kitchen_store::{RecordingFolder, Store, StoreCause, StoreError, reconcile};
use kitchen_vision::camera::CameraError;
use kitchen_vision::camera::file::FileVideo;
use kitchen_vision::clip::{self, ClipError};
use kitchen_vision::segment::CutSegment;
use tracing::{info, warn};

use super::state::RecordingState;
use crate::fault::Fault;
use crate::notice::{Notice, notice};

/// Left free on the disk beside the recording, for evidence and the system; on a small disk a tenth of it.
const MARGIN_BYTES: u64 = 512_000_000;
/// Rows are written together: one alone rewrites whole pages of the database.
const ROWS: usize = 60;
const LONGEST_UNNOTED: Duration = Duration::from_secs(300);
/// Of the oldest segments so many are looked up at once.
const OLDEST_AT_ONCE: usize = 64;
/// Attempts to write one segment, each after room was made.
const ATTEMPTS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("could not put the segment together")]
    Mux(#[from] ClipError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no room on the disk or within recording.quota_gb")]
    NoRoom,
}

pub struct Keeper {
    store: Store,
    folder: RecordingFolder,
    state: Arc<RecordingState>,
    clock: Arc<dyn Clock>,
    boot: u32,
    boot_id: String,
    /// Of all files, those without a row included.
    bytes: u64,
    oldest: VecDeque<Segment>,
    new: Vec<Segment>,
    gone: Vec<Segment>,
    noted: Mono,
}

impl Keeper {
    /// Brings index and files together, and counts what is there.
    ///
    /// # Errors
    /// When folder or database can't be read.
    pub fn open(
        store: Store,
        folder: RecordingFolder,
        state: Arc<RecordingState>,
        clock: Arc<dyn Clock>,
        boot_id: &str,
    ) -> Result<Self, StoreError> {
        let began = clock.mono();
        let done = reconcile(&store, &folder, is_whole)?;
        let segments = store.recording()?;
        let boot_id = short_boot_id(boot_id);
        let boot = boot_number(&segments, &boot_id, store.boot());
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let noted = clock.mono();
        let took_ms = u64::try_from(noted.since(began).as_millis()).unwrap_or(u64::MAX);
        let (segments, added, forgotten, removed) = (done.segments, done.added, done.forgotten, done.removed);
        info!(segments, bytes, added, forgotten, removed, took_ms, "recording looked through");
        let (oldest, new, gone) = (VecDeque::new(), Vec::new(), Vec::new());
        Ok(Self { store, folder, state, clock, boot, boot_id, bytes, oldest, new, gone, noted })
    }

    /// Keeps a segment. What fails is counted as a gap and told; the next one is tried again.
    pub fn keep(&mut self, camera: usize, cut: &CutSegment) {
        let counters = Arc::clone(&self.state.cameras[camera]);
        let outcome = self.try_keep(&counters.id, cut);
        let failed = outcome.is_err();
        if failed || cut.is_cut_short {
            counters.gaps.fetch_add(1, Ordering::Relaxed);
        }
        if failed {
            counters.dropped.fetch_add(cut.units.len() as u64, Ordering::Relaxed);
        }
        let has_changed = self.state.set_failure(outcome.as_ref().err().map(described));
        match outcome {
            Ok(()) if has_changed => info!(camera = counters.id, "recording goes on"),
            Err(error) if has_changed => {
                warn!(camera = counters.id, error = &error as &dyn std::error::Error, "segment not kept");
            }
            _ => {}
        }
        // The first at once: who has just switched it on wants to see something.
        let is_first = self.bytes == self.new.first().map_or(0, |first| first.bytes);
        self.note_if_due(self.new.len() >= ROWS || is_first);
    }

    fn try_keep(&mut self, camera: &str, cut: &CutSegment) -> Result<(), KeepError> {
        let clip = clip::mux(&cut.units, &cut.info)?;
        let Some(first) = cut.units.first() else { return Ok(()) };
        let now = self.clock.stamp();
        let (mono, wall) = (first.received, now.wall_at(first.received));
        let segment = Segment {
            camera: camera.to_owned(),
            boot: self.boot,
            boot_id: self.boot_id.clone(),
            start: kitchen_core::time::Stamp { mono, wall, ..now },
            duration_ms: clip.duration_ms,
            opened: cut.opened,
            first_pts_90k: clip.first_pts_90k,
            parameters: cut.parameters.clone(),
            bytes: clip.bytes.len() as u64,
        };
        let mut attempt = 1;
        loop {
            self.make_room(segment.bytes)?;
            let write = || self.folder.write(&segment, &clip.bytes);
            match self.state.writing(self.clock.as_ref(), write) {
                Err(error) if error.cause() == StoreCause::DiskFull && attempt < ATTEMPTS => {
                    attempt += 1;
                    if !self.remove_oldest()? {
                        return Err(error.into());
                    }
                }
                outcome => break outcome?,
            }
        }
        self.state.written_bytes.fetch_add(segment.bytes, Ordering::Relaxed);
        self.bytes += segment.bytes;
        self.state.note_kept(&segment);
        self.new.push(segment);
        Ok(())
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), KeepError> {
        loop {
            let (free, total) = self.folder.room()?;
            let is_within_quota = self.bytes + bytes <= self.state.quota_bytes;
            let has_margin = free >= bytes + MARGIN_BYTES.min(total / 10);
            if is_within_quota && has_margin {
                return Ok(());
            }
            if !self.remove_oldest()? {
                return Err(KeepError::NoRoom);
            }
        }
    }

    /// Whether there was one.
    fn remove_oldest(&mut self) -> Result<bool, StoreError> {
        if self.oldest.is_empty() {
            self.note();
            // Those whose rows could not be removed, as on a full disk, are gone all the same.
            let limit = OLDEST_AT_ONCE + self.gone.len();
            let oldest = self.store.oldest_recording(limit)?.into_iter();
            self.oldest = oldest.filter(|segment| !self.gone.contains(segment)).collect();
        }
        let Some(segment) = self.oldest.pop_front() else {
            self.bytes = 0;
            return Ok(false);
        };
        self.folder.remove(&segment)?;
        self.bytes = self.bytes.saturating_sub(segment.bytes);
        self.gone.push(segment);
        Ok(true)
    }

    /// Writes the rows that wait, if they have waited long enough.
    pub fn note_if_due(&mut self, is_due: bool) {
        if is_due || self.clock.mono().since(self.noted) >= LONGEST_UNNOTED {
            self.note();
        }
    }

    /// Writes the rows that wait. Those that can't be written are tried again, and made anew from the files at the next
    /// start.
    pub fn note(&mut self) {
        self.noted = self.clock.mono();
        if let Err(error) = self.try_note() {
            tracing::debug!(error = &error as &dyn std::error::Error, "rows of the recording not written");
        }
    }

    fn try_note(&mut self) -> Result<(), StoreError> {
        if self.new.is_empty() && self.gone.is_empty() {
            return Ok(());
        }
        self.store.note_recording(&self.new, &self.gone)?;
        self.new.clear();
        self.gone.clear();
        self.state.note_indexed();
        // Evidence that needed room may have taken some.
        self.bytes = self.store.recording_held()?.iter().map(|held| held.bytes).sum();
        Ok(())
    }
}

/// Whether a file holds all that its index says; an error when the disk does not tell.
pub(super) fn is_whole(path: &std::path::Path) -> Result<bool, CameraError> {
    match FileVideo::open(path) {
        Ok(video) => Ok(video.is_complete()),
        Err(error @ CameraError::File { .. }) => Err(error),
        Err(_) => Ok(false),
    }
}

pub(super) fn described(error: &KeepError) -> Notice {
    match error {
        KeepError::Mux(error) => notice!("recording-no-segment", Fault::RecordingFails, error = error),
        KeepError::NoRoom => notice!("recording-no-room", Fault::DiskFull),
        KeepError::Store(error) => {
            let fault = match error.cause() {
                StoreCause::DiskFull => Fault::DiskFull,
                StoreCause::ReadOnly => Fault::DiskReadOnly,
                StoreCause::NotPermitted => Fault::StateUnwritable,
                _ => Fault::RecordingFails,
            };
            notice!("recording-not-written", fault, error = kitchen_uplink::explain::chain(error))
        }
    }
}
