//! One network, three engines, one answer: tract and rten as they ship, ONNX Runtime as the judge from outside.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use kitchen_test_support::{AgentConfig, repository, run, target};

#[test]
fn the_engines_that_ship_agree_with_the_golden_output() {
    let directory = tempfile::tempdir().unwrap();
    let config = AgentConfig::new("mh07-000123", directory.path());
    config.write();
    let verified = config.run(&["model", "verify", "--json"]).expect_code(0).json();
    let objects = verified["models"].as_array().unwrap().iter().find(|model| model["name"] == "objects").unwrap();
    let engines = objects["engines"].as_array().unwrap();
    for engine in ["tract", "rten"] {
        let result = engines.iter().find(|result| result["engine"] == engine).unwrap_or_else(|| panic!("no {engine}"));
        let (difference, tolerance) =
            (result["max_difference"].as_f64().unwrap(), result["tolerance"].as_f64().unwrap());
        assert!(difference <= tolerance, "{result:#}");
    }
}

#[test]
fn onnx_runtime_agrees_with_the_golden_output() {
    let python = target().join("test-python/bin/python");
    assert!(python.is_file(), "{} is missing: run tests/run.sh, which makes it", python.display());
    let script = repository().join("tests/end-to-end/onnxruntime_golden.py");
    let judged = run(Command::new(python).arg(script).arg(repository().join("models"))).expect_code(0).json();
    let models = judged["models"].as_array().unwrap();
    assert!(models.iter().any(|model| model["name"] == "objects"), "{judged:#}");
    for model in models {
        let (difference, tolerance) = (model["max_difference"].as_f64().unwrap(), model["tolerance"].as_f64().unwrap());
        assert!(difference <= tolerance, "{model:#}");
    }
}
