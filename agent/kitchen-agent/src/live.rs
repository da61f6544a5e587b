//! One camera looked at by people rather than by rules: its own stream beside a running agent's, two pictures a second,
//! in the terminal or as a page on loopback. Pictures go nowhere else, and none is kept.

pub mod page;
pub mod terminal;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use kitchen_core::sample::Sampler;
use kitchen_core::time::{Clock, Mono};
use kitchen_vision::camera::{self, CameraEvent, CameraSource};
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::picture;
use kitchen_vision::privacy_mask::PrivacyMask;
use tokio::sync::{mpsc, watch};

use crate::explain;
use crate::notice::{Notice, notice};

/// Between two pictures.
pub const PACE: Duration = Duration::from_millis(500);
const PICTURES_A_SECOND: f32 = 2.0;
const UNITS: usize = 64;
/// An older picture is not shown as if it were the present.
const STALE: Duration = Duration::from_secs(3);

/// What there is to show.
#[derive(Clone, Debug)]
pub enum Scene {
    Opening,
    Online(Arc<Shot>),
    Lost(Notice),
}

/// A picture, encoded when somebody asks for it.
#[derive(Debug)]
pub struct Shot {
    pub frame: Frame,
    jpeg: OnceLock<Option<Bytes>>,
}

impl Shot {
    fn new(frame: Frame) -> Self {
        Self { frame, jpeg: OnceLock::new() }
    }

    #[must_use]
    pub fn jpeg(&self) -> Option<Bytes> {
        let encode = || picture::clean(&self.frame).ok().map(|jpeg| Bytes::from(jpeg.bytes));
        self.jpeg.get_or_init(encode).clone()
    }
}

/// What a viewer reads.
#[derive(Clone)]
pub struct View {
    scene: watch::Receiver<Scene>,
    clock: Arc<dyn Clock>,
}

impl View {
    /// What is to be shown now; a picture that has become old is a loss.
    #[must_use]
    pub fn scene(&self) -> Scene {
        let scene = self.scene.borrow().clone();
        match &scene {
            Scene::Online(shot) if self.clock.mono().since(shot.frame.captured) > STALE => {
                Scene::Lost(notice!("live-stale", None, seconds = STALE.as_secs()))
            }
            _ => scene,
        }
    }
}

/// The view, and the task that feeds it until `stop` turns true; it opens the camera again when it was lost.
pub fn watch(
    source: CameraSource,
    mask: PrivacyMask,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
) -> (View, impl Future<Output = ()>) {
    let (sender, scene) = watch::channel(Scene::Opening);
    let view = View { scene, clock: Arc::clone(&clock) };
    let feeding = async move {
        let (units, mut events) = mpsc::channel(UNITS);
        let camera = camera::run(source, Arc::clone(&clock), units, stop);
        let looking = async move {
            let mut eye = Eye { decoder: None, sampler: Sampler::new(PICTURES_A_SECOND), mask, sender };
            while let Some(event) = events.recv().await {
                eye.handle_event(event);
            }
        };
        tokio::join!(camera, looking);
    };
    (view, feeding)
}

struct Eye {
    decoder: Option<Decoder>,
    sampler: Sampler,
    mask: PrivacyMask,
    sender: watch::Sender<Scene>,
}

impl Eye {
    fn handle_event(&mut self, event: CameraEvent) {
        match event {
            CameraEvent::Opened(_) => self.decoder = Decoder::new().ok(),
            CameraEvent::Unit(unit) => {
                let Self { decoder: Some(decoder), sampler, .. } = self else { return };
                // A damaged picture is skipped; when none comes any more, the view tells it.
                let frames = decoder.decode(&unit, |_, received: Mono| sampler.take(received)).unwrap_or_default();
                frames.into_iter().for_each(|frame| self.show(frame));
            }
            CameraEvent::Lost { error } => {
                self.sender.send_replace(Scene::Lost(explain::camera(&error)));
            }
        }
    }

    /// The one place through which every picture goes that a viewer sees.
    fn show(&self, frame: Frame) {
        self.sender.send_replace(Scene::Online(Arc::new(Shot::new(self.mask.burn(frame)))));
    }
}
