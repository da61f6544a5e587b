//! The model that is delivered, on both engines.

use std::path::PathBuf;

use kitchen_core::config::EngineChoice;
use kitchen_vision::detect::{Detector, ModelError, Network};

fn models_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

#[test]
fn both_engines_reproduce_the_golden_output_and_agree() {
    let mut found = Vec::new();
    for choice in [EngineChoice::Tract, EngineChoice::Rten] {
        let mut network = Network::load(&models_dir(), "objects", choice, 1).expect("loads");
        let report = network.verify_golden().expect("runs");
        assert!(report.ok, "{}: {report:?}", network.engine_name());
        let mut detector = Detector::load(&models_dir(), "objects", choice, 1).expect("loads");
        let picture = image::open(models_dir().join("objects/golden/input.png")).expect("a picture").to_rgb8();
        let detections = detector.detect_rgb(&picture).expect("runs");
        assert_eq!(detector.times().inference.runs, 1);
        assert!(detections.is_sorted_by(|a, b| a.score >= b.score));
        found.push(detections);
    }
    let [tract, rten] = found.as_slice() else { panic!("two engines") };
    assert_eq!(tract.len(), rten.len());
    for (a, b) in tract.iter().zip(rten) {
        assert!(a.label == b.label && (a.score - b.score).abs() < 0.01 && a.rect.iou(b.rect) > 0.95, "{a:?} {b:?}");
    }
}

#[test]
fn a_missing_model_is_named() {
    let error = Detector::load(&models_dir(), "absent", EngineChoice::Auto, 1).err().expect("absent");
    assert!(matches!(error, ModelError::Read { .. }));
    assert!(error.to_string().contains("absent/manifest.toml"), "{error}");
}
