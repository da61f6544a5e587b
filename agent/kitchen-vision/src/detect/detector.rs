//! Finds labelled boxes in a frame, or in a part of one at its own resolution.

use std::path::Path;

use kitchen_core::config::EngineChoice;
use kitchen_core::detection::{Detection, Rect};

use super::engine::EngineError;
use super::letterbox::{Placement, Window};
use super::manifest::{DetectorTask, Manifest, ModelError, Task};
use super::network::Network;
use super::yolox;
use crate::frame::Frame;
use crate::stage_timer::StageTimes;

/// One model on one engine. Holds its buffers: one thread at a time.
pub struct Detector {
    network: Network,
    task: DetectorTask,
    letterbox: StageTimes,
    decode: StageTimes,
}

/// Cost of the stages of [`Detector::detect`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectorTimes {
    pub letterbox: StageTimes,
    pub inference: StageTimes,
    /// From the raw output to detections.
    pub decode: StageTimes,
}

impl Detector {
    /// Loads `models_dir/name`, checking manifest and SHA-256.
    ///
    /// # Errors
    /// [`ModelError`], also for a model that is no detector.
    pub fn load(models_dir: &Path, name: &str, choice: EngineChoice, threads: u32) -> Result<Self, ModelError> {
        let network = Network::load(models_dir, name, choice, threads)?;
        let Task::Detector(task) = network.manifest().task.clone() else {
            return Err(ModelError::Task { name: name.to_owned(), expected: "detector" });
        };
        Ok(Self { network, task, letterbox: StageTimes::default(), decode: StageTimes::default() })
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.network.manifest()
    }

    /// Its classes, in the order of the outputs.
    #[must_use]
    pub fn task(&self) -> &DetectorTask {
        &self.task
    }

    /// `tract` or `rten`.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        self.network.engine_name()
    }

    /// Since the detector was loaded.
    #[must_use]
    pub fn times(&self) -> DetectorTimes {
        DetectorTimes { letterbox: self.letterbox, inference: self.network.inference, decode: self.decode }
    }

    /// Detections by falling score, calibrated, rectangles as fractions of the frame.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn detect(&mut self, frame: &Frame) -> Result<Vec<Detection>, EngineError> {
        let Self { network, letterbox, .. } = self;
        let placement = letterbox.measure(|| network.letterbox.fill(frame))?;
        self.infer(placement)
    }

    /// The same for a window of the frame, of `centre` (fractions of the frame) and of the network's own size, so that
    /// nothing is scaled down. Rectangles are fractions of the whole frame.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn detect_around(&mut self, frame: &Frame, centre: [f32; 2]) -> Result<Vec<Detection>, EngineError> {
        let input = &self.network.manifest().input;
        let window = around(frame, centre, (input.width, input.height));
        let Self { network, letterbox, .. } = self;
        let placement = letterbox.measure(|| network.letterbox.fill_window(frame, window))?;
        let mut detections = self.infer(placement)?;
        for detection in &mut detections {
            detection.rect = in_frame(detection.rect, frame, window);
        }
        Ok(detections)
    }

    /// [`Detector::detect`] for a still image.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn detect_rgb(&mut self, image: &image::RgbImage) -> Result<Vec<Detection>, EngineError> {
        let Self { network, letterbox, .. } = self;
        let placement = letterbox.measure(|| network.letterbox.fill_rgb(image))?;
        self.infer(placement)
    }

    fn infer(&mut self, placement: Placement) -> Result<Vec<Detection>, EngineError> {
        let Self { network, task, decode, .. } = self;
        network.run()?;
        Ok(decode.measure(|| yolox::detections(network.output(), &network.manifest().input, task, placement)))
    }
}

/// A window of `size`, as near to `centre` as it can lie inside of the frame.
fn around(frame: &Frame, [x, y]: [f32; 2], size: (u32, u32)) -> Window {
    let along = |centre: f32, side: u32, whole: u32| {
        let length = f64::from(side.min(whole));
        let first = f64::from(centre) * f64::from(whole) - length / 2.0;
        // Whole pixels: nothing has to be interpolated.
        (first.round().clamp(0.0, f64::from(whole) - length), length)
    };
    let ((left, width), (top, height)) = (along(x, size.0, frame.width), along(y, size.1, frame.height));
    Window { left, top, width, height }
}

#[expect(clippy::cast_possible_truncation, reason = "fractions")]
fn in_frame(rect: Rect, frame: &Frame, window: Window) -> Rect {
    let (width, height) = (f64::from(frame.width), f64::from(frame.height));
    let x = (window.left + f64::from(rect.x) * window.width) / width;
    let y = (window.top + f64::from(rect.y) * window.height) / height;
    let (w, h) = (f64::from(rect.w) * window.width / width, f64::from(rect.h) * window.height / height);
    Rect::new(x as f32, y as f32, w as f32, h as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::painted;

    #[test]
    fn a_window_keeps_its_size_and_stays_inside() {
        let frame = painted(1920, 1080, |_, _| 100);
        for (centre, left, top) in [([0.5, 0.5], 752.0, 412.0), ([0.0, 1.0], 0.0, 824.0), ([1.0, 0.0], 1504.0, 0.0)] {
            let window = around(&frame, centre, (416, 256));
            assert_eq!(window, Window { left, top, width: 416.0, height: 256.0 });
        }
        let small = around(&painted(320, 240, |_, _| 100), [0.9, 0.9], (416, 256));
        assert_eq!(small, Window { left: 0.0, top: 0.0, width: 320.0, height: 240.0 });
    }

    #[test]
    fn a_box_in_a_window_is_told_in_the_frame() {
        let frame = painted(1920, 1080, |_, _| 100);
        let window = Window { left: 960.0, top: 540.0, width: 480.0, height: 270.0 };
        assert_eq!(in_frame(Rect::new(0.5, 0.0, 0.5, 1.0), &frame, window), Rect::new(0.625, 0.5, 0.125, 0.25));
    }
}
