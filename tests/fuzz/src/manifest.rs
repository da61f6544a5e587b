//! `manifest.toml` of a model folder. What is accepted stays inside its folder and describes an output of known size;
//! what is refused says why in words.

use std::path::{Component, Path};

use kitchen_vision::detect::Manifest;
use kitchen_vision::detect::manifest::{Calibration, Task};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let manifest = match Manifest::parse(text) {
        Ok(manifest) => manifest,
        Err(reason) => {
            assert!(!reason.trim().is_empty(), "refused without a reason");
            return;
        }
    };
    for file in [&manifest.file, &manifest.golden.input, &manifest.golden.output] {
        let path = Path::new("/models/objects").join(file);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        assert!(path.starts_with("/models/objects") && !climbs && !file.contains('\0'), "{file:?} leaves the folder");
    }
    assert_eq!(manifest.golden.shape.iter().try_fold(1, |product: usize, side| product.checked_mul(*side)), {
        Some(manifest.output_len())
    });
    let labels = manifest.labels();
    assert!(!labels.is_empty() && manifest.good_labels().iter().all(|label| labels.contains(label)));
    let calibrations: Vec<Calibration> = match &manifest.task {
        Task::Detector(task) => task.classes.iter().map(|class| class.calibration).collect(),
        Task::Classifier(task) => task.attributes.iter().map(|attribute| attribute.calibration).collect(),
    };
    for raw in [0.0, 0.25, 1.0] {
        let all = calibrations.iter().map(|calibration| calibration.of_score(raw));
        all.for_each(|score| assert!((0.0..=1.0).contains(&score), "a score of {score}"));
    }
}
