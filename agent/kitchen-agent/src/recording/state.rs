//! What the recording tells of itself: per camera what was left out, and whether it goes on.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kitchen_core::recording::Segment;
use kitchen_core::time::{Clock, Mono, Wall};
use kitchen_core::wire::RecordingHealth;
use kitchen_store::{HeldRecording, Store};
use serde::{Deserialize, Serialize};

use crate::notice::Notice;

/// A write that takes longer is no slow one.
const STALLED_MS: u64 = 30_000;

/// Counters of one camera's recording, since the agent's start.
#[derive(Debug, Default)]
pub struct CameraRecording {
    pub id: String,
    /// Interruptions that the box is to blame for.
    pub gaps: AtomicU64,
    /// Pictures left out by them.
    pub dropped: AtomicU64,
    /// What the index does not name yet.
    unindexed_ms: AtomicU64,
    unindexed_bytes: AtomicU64,
    /// End of the newest segment, in milliseconds since 1970; 0 for none.
    newest_ms: AtomicI64,
}

/// The recording as its thread fills it in.
#[derive(Debug)]
pub struct RecordingState {
    pub is_enabled: bool,
    pub quota_bytes: u64,
    pub cameras: Vec<Arc<CameraRecording>>,
    /// Bytes of the files written.
    pub written_bytes: AtomicU64,
    /// When the write under way began, in milliseconds of uptime; 0 for none.
    writing_since_ms: AtomicU64,
    failure: Mutex<Option<Notice>>,
}

/// `recording` in `status --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingReport {
    /// `on`, `off`, `failing` or `stalled`.
    pub state: String,
    pub quota_bytes: u64,
    pub bytes: u64,
    /// Given to the disk since the agent's start; part of the agent's `written_bytes`.
    pub written_bytes: u64,
    pub cameras: Vec<CameraRecordingReport>,
    /// Why it fails, in English, and for other languages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraRecordingReport {
    pub id: String,
    pub held_s: u64,
    pub bytes: u64,
    /// Start of the oldest and end of the newest segment.
    pub oldest: Option<Wall>,
    pub newest: Option<Wall>,
    pub gaps: u64,
    pub dropped: u64,
}

impl RecordingState {
    #[must_use]
    pub fn new(is_enabled: bool, quota_bytes: u64, cameras: impl IntoIterator<Item = String>) -> Self {
        let camera = |id| Arc::new(CameraRecording { id, ..CameraRecording::default() });
        Self {
            is_enabled,
            quota_bytes,
            cameras: cameras.into_iter().map(camera).collect(),
            written_bytes: AtomicU64::new(0),
            writing_since_ms: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// Runs a write, which may hang.
    pub fn writing<T>(&self, clock: &dyn Clock, write: impl FnOnce() -> T) -> T {
        self.writing_since_ms.store(clock.mono().as_millis().max(1), Ordering::Relaxed);
        let outcome = write();
        self.writing_since_ms.store(0, Ordering::Relaxed);
        outcome
    }

    /// A segment is on the disk; its row is written later.
    pub fn note_kept(&self, segment: &Segment) {
        let Some(camera) = self.cameras.iter().find(|camera| camera.id == segment.camera) else { return };
        camera.unindexed_ms.fetch_add(segment.duration_ms, Ordering::Relaxed);
        camera.unindexed_bytes.fetch_add(segment.bytes, Ordering::Relaxed);
        let end = segment.start.wall.after(Duration::from_millis(segment.duration_ms));
        camera.newest_ms.store(end.as_unix_millis(), Ordering::Relaxed);
    }

    /// The index names all.
    pub fn note_indexed(&self) {
        for camera in &self.cameras {
            camera.unindexed_ms.store(0, Ordering::Relaxed);
            camera.unindexed_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// Why the last segment could not be kept; `None` when it was. Whether that changed.
    pub fn set_failure(&self, failure: Option<Notice>) -> bool {
        let mut before = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = before.as_ref().map(|notice| &notice.text) != failure.as_ref().map(|notice| &notice.text);
        *before = failure;
        is_other
    }

    fn failure(&self) -> Option<Notice> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn word(&self, now: Mono) -> &'static str {
        let since = self.writing_since_ms.load(Ordering::Relaxed);
        match (self.is_enabled, since > 0 && now.as_millis().saturating_sub(since) > STALLED_MS) {
            (false, _) => "off",
            (true, true) => "stalled",
            (true, false) if self.failure().is_some() => "failing",
            (true, false) => "on",
        }
    }

    #[must_use]
    pub fn report(&self, store: &Store, now: Mono) -> RecordingReport {
        let held = store.recording_held().unwrap_or_default();
        let failure = self.failure();
        let cameras = self.camera_reports(&held);
        RecordingReport {
            state: self.word(now).to_owned(),
            quota_bytes: self.quota_bytes,
            bytes: cameras.iter().map(|camera| camera.bytes).sum(),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            cameras,
            detail: failure.as_ref().map(ToString::to_string),
            notice: failure,
        }
    }

    /// The configured cameras, then those of which something is still held.
    fn camera_reports(&self, held: &[HeldRecording]) -> Vec<CameraRecordingReport> {
        let of = |id: &str| held.iter().find(|held| held.camera == id);
        let mut reports: Vec<CameraRecordingReport> =
            self.cameras.iter().map(|camera| report(&camera.id, of(&camera.id), Some(camera))).collect();
        let others = held.iter().filter(|held| self.cameras.iter().all(|camera| camera.id != held.camera));
        reports.extend(others.map(|held| report(&held.camera, Some(held), None)));
        reports
    }

    /// For the heartbeat; nothing of a recording that is off.
    #[must_use]
    pub fn health(&self, store: &Store, now: Mono) -> Option<RecordingHealth> {
        let sum = |count: fn(&CameraRecording) -> &AtomicU64| -> u64 {
            self.cameras.iter().map(|camera| count(camera).load(Ordering::Relaxed)).sum()
        };
        let held = store.recording_held().unwrap_or_default();
        self.is_enabled.then(|| RecordingHealth {
            state: self.word(now).to_owned(),
            held_s: (held.iter().map(|held| held.duration_ms).sum::<u64>() + sum(|camera| &camera.unindexed_ms)) / 1000,
            gaps: sum(|camera| &camera.gaps),
            dropped: sum(|camera| &camera.dropped),
        })
    }
}

fn report(id: &str, held: Option<&HeldRecording>, counters: Option<&Arc<CameraRecording>>) -> CameraRecordingReport {
    let count = |count: fn(&CameraRecording) -> &AtomicU64| {
        counters.map_or(0, |counters| count(counters).load(Ordering::Relaxed))
    };
    let indexed = held.map(|held| held.newest.start.wall.after(Duration::from_millis(held.newest.duration_ms)));
    let unindexed = counters.map(|counters| counters.newest_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0);
    CameraRecordingReport {
        id: id.to_owned(),
        held_s: (held.map_or(0, |held| held.duration_ms) + count(|camera| &camera.unindexed_ms)) / 1000,
        bytes: held.map_or(0, |held| held.bytes) + count(|camera| &camera.unindexed_bytes),
        oldest: held.map(|held| held.oldest.start.wall),
        newest: unindexed.map(Wall::from_unix_millis).or(indexed),
        gaps: count(|camera| &camera.gaps),
        dropped: count(|camera| &camera.dropped),
    }
}
