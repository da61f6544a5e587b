//! The recording's stage: access units of all cameras in, segments on the disk out. Its thread alone waits for the
//! disk; detection and capture never do. It records the stream that is analysed, without encoding it anew.

mod feed;
mod keeper;
mod masked;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kitchen_core::config::{self, Config};
use kitchen_core::time::Clock;
use kitchen_store::{RecordingFolder, Store};
use kitchen_vision::access_unit::AccessUnit;
use kitchen_vision::privacy_mask::PrivacyMask;
use kitchen_vision::segment::{CutSegment, SegmentLimits, Segmenter};
use tokio::sync::watch;
use tracing::{debug, error};

pub use self::feed::Feed;
use self::feed::{Fed, Queue};
use self::keeper::Keeper;
use self::masked::{Masked, MaskedError};
pub use self::state::{CameraRecordingReport, RecordingReport, RecordingState};
use crate::pipeline::{LONGEST_WAIT, thread};
use crate::supervise::{Lease, Pulse, Running, Supervisor};

/// Its thread waits for nothing but the disk, and a second thread would wait for it too: `status` tells of that.
const PATIENCE: Duration = Duration::from_secs(365 * 86_400);

/// Once the agent stops, what comes later is not waited for.
const LAST_WAIT: Duration = Duration::from_millis(50);

/// Where the segments lie.
#[must_use]
pub fn folder(config: &Config) -> PathBuf {
    config.device.state_dir.join("recording")
}

/// The recording before its thread is started.
pub struct Recording {
    state: Arc<RecordingState>,
    queue: Arc<Queue>,
    folder: RecordingFolder,
    masks: Vec<Vec<config::PrivacyMask>>,
}

impl Recording {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked with the configuration")]
        let quota_bytes = (config.recording.quota_gb * 1e9) as u64;
        let cameras = config.cameras.iter().map(|camera| camera.id.clone());
        let state = Arc::new(RecordingState::new(config.recording.enabled, quota_bytes, cameras));
        let masks = config.cameras.iter().map(|camera| camera.privacy_masks.clone()).collect();
        Self { state, queue: Arc::default(), folder: RecordingFolder::new(&folder(config)), masks }
    }

    #[must_use]
    pub fn state(&self) -> Arc<RecordingState> {
        Arc::clone(&self.state)
    }

    /// Makes what the decoder of a camera, by its place in the configuration, puts its units into; `None` when nothing
    /// is recorded.
    pub fn feeds(&self, camera: usize) -> impl Fn() -> Option<Feed> + Send + 'static {
        let (state, queue) = (Arc::clone(&self.state), Arc::clone(&self.queue));
        move || {
            let counters = state.is_enabled.then(|| Arc::clone(&state.cameras[camera]))?;
            Some(Feed::new(Arc::clone(&queue), camera, counters))
        }
    }

    /// Starts the thread, unless nothing is to be recorded. Old segments then stay until evidence needs their room.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(
        self,
        supervisor: &mut Supervisor,
        store: &Store,
        clock: &Arc<dyn Clock>,
        boot_id: String,
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        if !self.state.is_enabled {
            return Ok(());
        }
        let (store, clock, stopped) = (store.clone(), Arc::clone(clock), stopped.clone());
        let start = move |pulse: Pulse, lease: Lease| {
            let stage = Stage {
                queue: Arc::clone(&self.queue),
                cameras: self.masks.iter().map(|masks| Track::new(masks)).collect(),
                clock: Arc::clone(&clock),
                pulse,
                lease,
                stopped: stopped.clone(),
            };
            let (store, folder, state) = (store.clone(), self.folder.clone(), Arc::clone(&self.state));
            let (clock, boot_id) = (Arc::clone(&clock), boot_id.clone());
            let work = move || match Keeper::open(store, folder, Arc::clone(&state), clock, &boot_id) {
                Ok(keeper) => stage.run(keeper),
                Err(error) => {
                    // Started again after a pause.
                    error!(error = &error as &dyn std::error::Error, "no recording");
                    state.set_failure(Some(keeper::described(&error.into())));
                }
            };
            Ok(Running { threads: vec![thread("recording", work)?], ..Running::default() })
        };
        supervisor.start_dispensable("recording", PATIENCE, Box::new(start))
    }
}

/// What the thread works on.
struct Stage {
    queue: Arc<Queue>,
    cameras: Vec<Track>,
    clock: Arc<dyn Clock>,
    pulse: Pulse,
    lease: Lease,
    stopped: watch::Receiver<bool>,
}

impl Stage {
    fn run(mut self, mut keeper: Keeper) {
        for (camera, (info, opened)) in self.queue.streams() {
            self.handle_fed(camera, Fed::Opened(info, opened), &mut keeper);
        }
        while !self.lease.is_over() {
            self.pulse.beat(self.clock.mono());
            fail::fail_point!("recording");
            let is_stopped = *self.stopped.borrow();
            match self.queue.take(if is_stopped { LAST_WAIT } else { LONGEST_WAIT }) {
                Some((camera, fed)) => self.handle_fed(camera, fed, &mut keeper),
                None if is_stopped => break,
                None => {}
            }
            keeper.note_if_due(false);
        }
        if self.lease.is_over() {
            return;
        }
        for (camera, track) in self.cameras.iter_mut().enumerate() {
            if let Some(cut) = track.segmenter.finish() {
                keeper.keep(camera, &cut);
            }
        }
        keeper.note();
    }

    fn handle_fed(&mut self, camera: usize, fed: Fed, keeper: &mut Keeper) {
        let track = &mut self.cameras[camera];
        match track.handle_fed(fed) {
            Ok(cuts) => cuts.iter().for_each(|cut| keeper.keep(camera, cut)),
            // As many as pictures of a damaged stream.
            Err(error) => debug!(camera, error = &error as &dyn std::error::Error, "picture not masked, left out"),
        }
    }
}

/// One camera on its way to its segments.
struct Track {
    segmenter: Segmenter,
    /// Without it a camera with masks would be recorded as it is.
    masked: Option<Masked>,
}

impl Track {
    fn new(masks: &[config::PrivacyMask]) -> Self {
        let mask = PrivacyMask::new(masks);
        let masked = (!mask.is_empty()).then(|| Masked::new(mask));
        Self { segmenter: Segmenter::new(SegmentLimits::RECORDING), masked }
    }

    fn handle_fed(&mut self, fed: Fed) -> Result<Vec<CutSegment>, MaskedError> {
        let Self { segmenter, masked } = self;
        let Some(masked) = masked else {
            let cut = match fed {
                Fed::Opened(info, now) => segmenter.handle_opened(info, now),
                Fed::Unit(unit) => segmenter.handle_unit(unit),
                Fed::Broken => segmenter.finish(),
            };
            return Ok(cut.into_iter().collect());
        };
        match fed {
            Fed::Opened(info, now) => {
                masked.handle_opened(info, now)?;
                Ok(segmenter.finish().into_iter().collect())
            }
            Fed::Broken => {
                masked.handle_broken()?;
                Ok(segmenter.finish().into_iter().collect())
            }
            Fed::Unit(unit) => encoded(segmenter, masked, &unit),
        }
    }
}

fn encoded(segmenter: &mut Segmenter, masked: &mut Masked, unit: &AccessUnit) -> Result<Vec<CutSegment>, MaskedError> {
    let mut cuts = Vec::new();
    for coded in masked.handle_unit(unit)? {
        if let Some((info, opened)) = coded.begins {
            cuts.extend(segmenter.handle_opened(info, opened));
        }
        cuts.extend(segmenter.handle_unit(coded.unit));
    }
    Ok(cuts)
}

#[cfg(test)]
mod tests;
