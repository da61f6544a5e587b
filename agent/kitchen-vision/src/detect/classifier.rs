//! Judges attributes of one subject: a part of a frame goes in, a score for each of what it may have or lack comes out.

use std::path::Path;

use kitchen_core::config::EngineChoice;
use kitchen_core::detection::{Attributes, Label, Rect};

use super::engine::EngineError;
use super::letterbox::Window;
use super::manifest::{ClassifierTask, Crop, Manifest, ModelError, Task};
use super::network::Network;
use crate::frame::Frame;
use crate::stage_timer::StageTimes;

/// One model on one engine. Holds its buffers: one thread at a time.
pub struct Classifier {
    network: Network,
    task: ClassifierTask,
    crop: StageTimes,
}

impl Classifier {
    /// Loads `models_dir/name`, checking manifest and SHA-256.
    ///
    /// # Errors
    /// [`ModelError`], also for a model that is no classifier.
    pub fn load(models_dir: &Path, name: &str, choice: EngineChoice, threads: u32) -> Result<Self, ModelError> {
        let network = Network::load(models_dir, name, choice, threads)?;
        let Task::Classifier(task) = network.manifest().task.clone() else {
            return Err(ModelError::Task { name: name.to_owned(), expected: "classifier" });
        };
        Ok(Self { network, task, crop: StageTimes::default() })
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.network.manifest()
    }

    /// What it judges, and of whom.
    #[must_use]
    pub fn task(&self) -> &ClassifierTask {
        &self.task
    }

    /// Cutting and scaling, and the network.
    #[must_use]
    pub fn times(&self) -> [StageTimes; 2] {
        [self.crop, self.network.inference]
    }

    /// Judges the subject in the box `subject`, fractions of the frame.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn judge(&mut self, frame: &Frame, subject: Rect) -> Result<Attributes, EngineError> {
        let (width, height) = (f64::from(frame.width), f64::from(frame.height));
        let shorter = (f64::from(subject.w) * width).min(f64::from(subject.h) * height);
        if !self.is_large_enough(shorter) {
            return Ok(unknown());
        }
        let window = window(&self.task.crop, subject, width, height);
        let Self { network, crop, .. } = self;
        crop.measure(|| network.letterbox.fill_window(frame, window))?;
        self.infer(shorter)
    }

    /// Judges a still image that is the crop already.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn judge_rgb(&mut self, image: &image::RgbImage) -> Result<Attributes, EngineError> {
        let shorter = f64::from(image.width().min(image.height()));
        if !self.is_large_enough(shorter) {
            return Ok(unknown());
        }
        let Self { network, crop, .. } = self;
        crop.measure(|| network.letterbox.fill_rgb(image))?;
        self.infer(shorter)
    }

    /// Whether anything can be said of a subject whose shorter side has so many pixels.
    fn is_large_enough(&self, shorter_px: f64) -> bool {
        self.task.attributes.iter().any(|attribute| shorter_px >= f64::from(attribute.min_px))
    }

    fn infer(&mut self, shorter_px: f64) -> Result<Attributes, EngineError> {
        self.network.run()?;
        Ok(attributes(self.network.output(), &self.task, shorter_px))
    }
}

/// The output as scores. Of a network that gives no numbers nothing is known.
fn attributes(output: &[f32], task: &ClassifierTask, shorter_px: f64) -> Attributes {
    let [known, logits @ ..] = output else { return unknown() };
    let known = task.known.of_logit(*known);
    if !known.is_finite() || logits.iter().any(|logit| !logit.is_finite()) {
        return unknown();
    }
    let mut scores = Attributes::from([(Label::Unknown, 1.0 - known)]);
    for (attribute, logit) in task.attributes.iter().zip(logits) {
        if shorter_px >= f64::from(attribute.min_px) {
            let present = attribute.calibration.of_logit(*logit);
            scores.insert(attribute.present, known * present);
            scores.insert(attribute.absent, known * (1.0 - present));
        }
    }
    scores
}

fn unknown() -> Attributes {
    Attributes::from([(Label::Unknown, 1.0)])
}

/// The part of the picture, in pixels, that the classifier is shown of a box.
fn window(crop: &Crop, subject: Rect, width: f64, height: f64) -> Window {
    let [left, top, right, bottom] = crop.region.map(f64::from);
    let (x, y) = (f64::from(subject.x) * width, f64::from(subject.y) * height);
    let (w, h) = (f64::from(subject.w) * width, f64::from(subject.h) * height);
    let window = Window { left: x + left * w, top: y + top * h, width: (right - left) * w, height: (bottom - top) * h };
    if !crop.square {
        return window;
    }
    let side = window.width.max(window.height);
    let (left, top) = (window.left - (side - window.width) / 2.0, window.top - (side - window.height) / 2.0);
    Window { left, top, width: side, height: side }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::CLASSIFIER;
    use super::*;

    fn task() -> ClassifierTask {
        let Task::Classifier(task) = Manifest::parse(CLASSIFIER).expect("valid").task else { panic!("no classifier") };
        task
    }

    #[test]
    fn an_attribute_its_opposite_and_unknown_add_up_to_one() {
        let scores = attributes(&[1.0, 2.0, -3.0], &task(), 40.0);
        let sum = |present, absent| scores[&present] + scores[&absent] + scores[&Label::Unknown];
        assert!(
            (sum(Label::Mask, Label::NoMask) - 1.0).abs() < 1e-6 && (sum(Label::Hat, Label::NoHat) - 1.0).abs() < 1e-6
        );
        assert!(scores[&Label::Mask] > scores[&Label::NoMask] && scores[&Label::NoHat] > scores[&Label::Hat]);
    }

    #[test]
    fn what_is_too_small_for_an_attribute_is_not_said() {
        let scores = attributes(&[1.0, 2.0, -3.0], &task(), 28.0);
        assert!(!scores.contains_key(&Label::NoMask) && scores.contains_key(&Label::NoHat), "{scores:?}");
    }

    #[test]
    fn a_network_that_gives_no_numbers_is_no_judge() {
        assert_eq!(attributes(&[1.0, f32::NAN, 0.0], &task(), 40.0), unknown());
        assert_eq!(attributes(&[], &task(), 40.0), unknown());
    }

    #[test]
    fn the_crop_is_a_square_about_the_subject() {
        let crop = Crop { of: Label::Head, region: [-0.5, 0.0, 1.5, 1.0], square: true };
        let subject = Rect::new(0.5, 0.5, 0.1, 0.4);
        let window = window(&crop, subject, 400.0, 200.0);
        let expected = Window { left: 180.0, top: 100.0, width: 80.0, height: 80.0 };
        for (found, expected) in
            [(window.left, expected.left), (window.top, expected.top), (window.width, 80.0), (window.height, 80.0)]
        {
            assert!((found - expected).abs() < 1e-3, "{window:?}");
        }
    }
}
