//! A camera's main stream, of which only the newest keyframe is kept: encoded, and decoded when somebody wants a closer
//! look than the sub-stream gives. Between keyframes and on a still scene it costs nothing but the transfer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kitchen_core::time::Mono;
use kitchen_vision::access_unit::AccessUnit;
use kitchen_vision::camera::CameraEvent;
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use tracing::{debug, warn};

use crate::scrub;

/// An older keyframe shows another moment than the sub-stream's frame.
const FRESH: Duration = Duration::from_secs(5);

/// Where the stream's task leaves the newest keyframe.
#[derive(Debug, Default)]
pub struct NewestKeyframe(Mutex<Option<AccessUnit>>);

impl NewestKeyframe {
    pub fn handle_event(&self, camera: &str, event: CameraEvent) {
        match event {
            CameraEvent::Unit(unit) if unit.keyframe => *self.lock() = Some(unit),
            CameraEvent::Unit(_) => {}
            CameraEvent::Opened(info) => {
                debug!(camera, width = info.width, height = info.height, "main stream opened");
            }
            CameraEvent::Lost { error } => {
                *self.lock() = None;
                warn!(camera, error = %scrub::text(&error.to_string()), "main stream lost: small things are looked for in the sub-stream");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<AccessUnit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader's side: decodes each keyframe at most once.
#[derive(Debug)]
pub struct CloseView {
    newest: Arc<NewestKeyframe>,
    decoded: Option<Frame>,
}

impl CloseView {
    #[must_use]
    pub fn new(newest: Arc<NewestKeyframe>) -> Self {
        Self { newest, decoded: None }
    }

    /// The newest keyframe, where one arrived lately and can be decoded.
    pub fn frame(&mut self, now: Mono) -> Option<&Frame> {
        let unit = self.newest.lock().clone().filter(|unit| now.since(unit.received) <= FRESH)?;
        if self.decoded.as_ref().is_none_or(|frame| frame.captured != unit.received) {
            self.decoded = decode(&unit);
        }
        self.decoded.as_ref()
    }
}

fn decode(unit: &AccessUnit) -> Option<Frame> {
    let decoded = Decoder::new().and_then(|mut decoder| {
        let mut frames = decoder.decode(unit, |_, _| true)?;
        frames.extend(decoder.drain(|_, _| true));
        Ok(frames.pop())
    });
    decoded.unwrap_or_else(|error| {
        debug!(%error, "keyframe of the main stream damaged");
        None
    })
}
