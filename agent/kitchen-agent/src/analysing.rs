//! The newest frame becomes violations for the alert desk, until the camera's frames or the stage's lease end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, channel};
use std::time::Duration;

use kitchen_core::time::{Clock, Mono, Stamp};
use tracing::error;

use crate::alert_desk::DeskCamera;
use crate::analysis::Analysis;
use crate::desk_job::{Answer, DeskJob};
use crate::frame_slot::{FrameSlot, StreamNews};
use crate::pipeline::LONGEST_WAIT;
use crate::status::CameraCounters;
use crate::supervise::{Lease, Pulse};

/// Between tries to hand a violation to a busy desk.
const DESK_PAUSE: Duration = Duration::from_millis(50);

/// One camera's analysis, from where its frames come and where its violations go.
pub struct Analysing {
    pub analysis: Analysis,
    pub camera: Arc<DeskCamera>,
    pub slot: Arc<FrameSlot>,
    pub counters: Arc<CameraCounters>,
    pub clock: Arc<dyn Clock>,
    pub violations: SyncSender<DeskJob>,
    pub pulse: Pulse,
    pub lease: Lease,
}

impl Analysing {
    /// Frames → violations, handed to the desk. Ends when the slot is closed, or with its lease.
    pub fn run(mut self) {
        let (answers, answered) = channel();
        while !self.lease.is_over() {
            let now = self.clock.mono();
            self.pulse.beat(now);
            let wait = self.analysis.poll_timeout().map_or(LONGEST_WAIT, |due| due.since(now).min(LONGEST_WAIT));
            let Some(taken) = self.slot.take(wait) else { break };
            for news in taken.news {
                match news {
                    StreamNews::Opened => self.analysis.handle_opened(),
                    StreamNews::Lost(why) => self.analysis.handle_lost(&why, self.clock.stamp()),
                }
            }
            if let Some(frame) = taken.frame {
                look(&mut self.analysis, frame, &self.camera.id, &self.counters, self.clock.as_ref());
            }
            for Answer { key, raised } in answered.try_iter() {
                if raised {
                    self.analysis.handle_raised(&key, self.clock.mono());
                } else {
                    self.analysis.handle_suppressed(&key, self.clock.mono());
                }
            }
            self.analysis.handle_timeout(self.clock.stamp());
            while let Some((violation, sight)) = self.analysis.poll_violation() {
                let (camera, answers, stamp) = (Arc::clone(&self.camera), answers.clone(), self.clock.stamp());
                self.hand_over(DeskJob::Violation { camera, violation, sight, stamp, answers });
            }
        }
    }

    /// Waits for a desk that is busy: a full disk is no fault of this stage.
    fn hand_over(&self, mut job: DeskJob) {
        while !self.lease.is_over() {
            match self.violations.try_send(job) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => job = back,
            }
            self.pulse.beat(self.clock.mono());
            std::thread::sleep(DESK_PAUSE);
        }
    }
}

fn look(
    analysis: &mut Analysis,
    frame: kitchen_vision::frame::Frame,
    camera: &str,
    counters: &CameraCounters,
    clock: &dyn Clock,
) {
    fail::fail_point!("detect");
    let stamp = at(clock.stamp(), frame.captured);
    let began = std::time::Instant::now();
    match analysis.handle_frame(frame, stamp) {
        Ok(looked) if looked.detections.is_some() => {
            counters.analysed.fetch_add(1, Ordering::Relaxed);
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            counters.look_us.store(took, Ordering::Relaxed);
        }
        Ok(_) => {}
        Err(error) => error!(camera, error = format!("{error:#}"), "the detector failed on a picture"),
    }
}

/// `now` moved back to when a frame was captured.
fn at(now: Stamp, captured: Mono) -> Stamp {
    Stamp { mono: captured, wall: now.wall.before(now.mono.since(captured)), quality: now.quality }
}
