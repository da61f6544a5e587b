//! A camera's main stream, of which only the newest keyframe is kept: encoded, and decoded when somebody wants a closer
//! look than the sub-stream gives. Between keyframes and on a still scene it costs nothing but the transfer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kitchen_core::time::Mono;
use kitchen_vision::access_unit::AccessUnit;
use kitchen_vision::camera::CameraEvent;
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::privacy_mask::PrivacyMask;
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
    mask: Arc<PrivacyMask>,
    /// When the keyframe arrived that was decoded last, and what it shows; nothing where it was damaged.
    decoded: Option<(Mono, Option<Frame>)>,
}

impl CloseView {
    #[must_use]
    pub fn new(newest: Arc<NewestKeyframe>, mask: Arc<PrivacyMask>) -> Self {
        Self { newest, mask, decoded: None }
    }

    /// The newest keyframe, where one arrived lately and can be decoded.
    pub fn frame(&mut self, now: Mono) -> Option<&Frame> {
        let unit = self.newest.lock().clone().filter(|unit| now.since(unit.received) <= FRESH)?;
        if self.decoded.as_ref().is_none_or(|(received, _)| *received != unit.received) {
            self.decoded = Some((unit.received, decode(&unit).map(|frame| self.mask.burn(frame))));
        }
        self.decoded.as_ref().and_then(|(_, frame)| frame.as_ref())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use kitchen_vision::camera::FileVideo;

    use super::*;

    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/people.mp4");

    /// The demo's first units as if they had arrived at `received`.
    fn units(received: Mono) -> Vec<AccessUnit> {
        let video = FileVideo::open(Path::new(DEMO)).expect("the demo's video");
        let units = video.units().expect("readable").take(5);
        units.map(|unit| AccessUnit { received, ..unit.expect("readable") }).collect()
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn view() -> (Arc<NewestKeyframe>, CloseView) {
        let newest = Arc::<NewestKeyframe>::default();
        (Arc::clone(&newest), CloseView::new(newest, Arc::default()))
    }

    #[test]
    fn a_keyframe_is_shown_while_it_is_fresh() {
        let (newest, mut view) = view();
        assert!(view.frame(at(0)).is_none(), "nothing has arrived");
        for unit in units(at(1000)) {
            newest.handle_event("stove", CameraEvent::Unit(unit));
        }
        let frame = view.frame(at(6000)).expect("five seconds old");
        assert_eq!((frame.width, frame.height, frame.captured), (640, 360, at(1000)));
        assert!(view.frame(at(6001)).is_none(), "older than that it shows another moment");
    }

    #[test]
    fn the_newest_keyframe_counts_and_what_lies_between_keyframes_does_not() {
        let (newest, mut view) = view();
        let mut between = units(at(1000));
        let keyframe = between.remove(0);
        assert!(keyframe.keyframe && between.iter().all(|unit| !unit.keyframe));
        for unit in between {
            newest.handle_event("stove", CameraEvent::Unit(unit));
        }
        assert!(view.frame(at(1000)).is_none());
        for ms in [2000, 3000] {
            newest.handle_event("stove", CameraEvent::Unit(AccessUnit { received: at(ms), ..keyframe.clone() }));
        }
        assert_eq!(view.frame(at(3000)).map(|frame| frame.captured), Some(at(3000)));
    }

    #[test]
    fn a_damaged_keyframe_shows_nothing_and_the_next_one_does() {
        let (newest, mut view) = view();
        let good = units(at(2000)).remove(0);
        let torn = AccessUnit { data: Bytes::from_static(b"\0\0\0\x01\x65torn"), received: at(1000), ..good };
        newest.handle_event("stove", CameraEvent::Unit(torn));
        assert!(view.frame(at(1000)).is_none());
        newest.handle_event("stove", CameraEvent::Unit(good));
        assert!(view.frame(at(2000)).is_some());
    }
}
