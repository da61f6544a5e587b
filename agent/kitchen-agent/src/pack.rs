//! The model pack on this box: which models lie there, and all of them loaded for one camera.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use kitchen_core::alert::ModelRef;
use kitchen_core::attributes::Judging;
use kitchen_core::closer;
use kitchen_core::config::Config;
use kitchen_core::detection::{Attributes, Detection, Label, suppress};
use kitchen_core::rules::RuleId;
use kitchen_core::time::Mono;
use kitchen_core::tracker::{Track, Tracker};
use kitchen_vision::detect::{Classifier, Detector, Manifest};
use kitchen_vision::frame::Frame;
use tracing::error;

use crate::cli::Problem;
use crate::engine_choice::Choice;
use crate::fault::Fault;
use crate::notice::notice;
use crate::{config_file, engine_choice};

/// The model that sees people and things. Without it the agent can't run; the others are extra.
pub const OBJECTS: &str = "objects";

/// Heads of a still image at which cigarettes are looked for closely.
const CLOSER_LOOKS: usize = 4;

/// The detector, and what judges the people and heads that it finds.
pub struct Pack {
    pub detector: Detector,
    pub classifiers: Vec<Classifier>,
}

impl Pack {
    /// Loads every model of the pack that this agent has a use for. A classifier that can't be used is left out.
    ///
    /// # Errors
    /// When the detector is missing, damaged, or its engine can't run it.
    pub fn load(config: &Config) -> Result<Self> {
        let models_dir = config_file::models_dir(config);
        let engine = |name: &str| engine_choice::in_force(config, name);
        let Choice { engine: own, threads } = engine(OBJECTS);
        let detector = Detector::load(&models_dir, OBJECTS, own, threads)?;
        let classifier = |name: &str| {
            let is_classifier = Manifest::read(&models_dir.join(name))?.is_classifier();
            let Choice { engine, threads } = engine(name);
            is_classifier.then(|| Classifier::load(&models_dir, name, engine, threads)).transpose()
        };
        let mut classifiers = Vec::new();
        for name in names(&models_dir)?.iter().filter(|name| *name != OBJECTS) {
            match classifier(name) {
                Ok(loaded) => classifiers.extend(loaded),
                Err(error) => error!(model = name, %error, "model can't be used: its rules are unavailable"),
            }
        }
        Ok(Self { detector, classifiers })
    }

    /// The whole pack on a still image: boxes by falling score, and what the classifiers say of each person or head.
    ///
    /// # Errors
    /// When an engine fails.
    pub fn look_at(&mut self, image: &image::RgbImage) -> Result<Vec<(Detection, Attributes)>> {
        let mut detections = self.detector.detect_rgb(image)?;
        let Some(frame) = Frame::from_rgb(image) else { return Ok(Vec::new()) };
        for centre in closer::mouths(&detections).into_iter().take(CLOSER_LOOKS) {
            let found = self.detector.detect_around(&frame, centre)?;
            detections.extend(found.into_iter().filter(|one| one.label == Label::Cigarette));
        }
        let detections = suppress(detections, self.detector.task().iou);
        let mut tracks = Tracker::default().handle_detections(&detections, Mono::ZERO);
        for classifier in &mut self.classifiers {
            let mut judging = judging(classifier);
            for subject in judging.due(&tracks, image.dimensions(), Mono::ZERO) {
                judging.handle_scores(subject, classifier.judge(&frame, subject.rect)?, Mono::ZERO);
            }
            judging.attach(&mut tracks, Mono::ZERO);
        }
        Ok(with_attributes(&detections, &tracks))
    }

    /// The models on whose word each rule acts, as its alerts name them.
    #[must_use]
    pub fn models(&self) -> BTreeMap<RuleId, ModelRef> {
        let classifiers = self.classifiers.iter().map(Classifier::manifest);
        let manifests: Vec<&Manifest> = std::iter::once(self.detector.manifest()).chain(classifiers).collect();
        let model = |rule: RuleId| {
            let label = rule.deciding_label()?;
            let manifest = manifests.iter().find(|manifest| manifest.labels().contains(&label))?;
            let Manifest { name, version, sha256, .. } = manifest;
            Some(ModelRef { name: name.clone(), version: version.clone(), sha256: sha256.clone() })
        };
        RuleId::all().filter_map(|rule| Some((rule, model(rule)?))).collect()
    }

    /// What the models' cards vouch for.
    #[must_use]
    pub fn good_labels(&self) -> Vec<Label> {
        let classifiers = self.classifiers.iter().flat_map(|classifier| classifier.manifest().good_labels());
        self.detector.manifest().good_labels().into_iter().chain(classifiers).collect()
    }
}

/// Whom the classifier is to look at, and from which size on.
#[must_use]
pub fn judging(classifier: &Classifier) -> Judging {
    let task = classifier.task();
    Judging::new(task.crop.of, task.attributes.iter().map(|attribute| attribute.min_px).min().unwrap_or(0))
}

/// Each detection with the attributes of the track that it continued.
#[must_use]
pub fn with_attributes(detections: &[Detection], tracks: &[Track]) -> Vec<(Detection, Attributes)> {
    let attributes = |detection: &Detection| {
        let track = tracks.iter().find(|track| track.detection() == *detection);
        track.map(|track| track.attributes.clone()).unwrap_or_default()
    };
    detections.iter().map(|detection| (*detection, attributes(detection))).collect()
}

/// Names of the models in the pack: folders with a manifest.
///
/// # Errors
/// When there is none.
pub fn names(models_dir: &Path) -> Result<Vec<String>> {
    let what = || notice!("models-unreadable", Fault::ModelMissing, path = models_dir.display());
    let entries = std::fs::read_dir(models_dir).with_context(what).context(Problem)?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("manifest.toml").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    if names.is_empty() {
        let notice = notice!("models-none", Fault::ModelMissing, path = models_dir.display());
        return Err(anyhow::Error::new(notice).context(Problem));
    }
    Ok(names)
}
