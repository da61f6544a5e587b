//! `model eval` and `detect --model` on the shipped model and its golden picture: what is right counts, what is wrong is
//! named.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kitchen_test_support::{AgentConfig, Finished, repository};
use serde_json::{Value, json};

fn config(directory: &Path) -> AgentConfig {
    let config = AgentConfig::new("mh07-000123", directory);
    config.write();
    config
}

fn golden() -> PathBuf {
    repository().join("models/objects/golden/input.png")
}

fn eval(config: &AgentConfig, folder: &Path, model: &str) -> Finished {
    config.run(&["model", "eval", folder.to_str().unwrap(), "--model", model, "--json"])
}

/// The people that the model surely sees in its golden picture.
fn people(config: &AgentConfig) -> Vec<Value> {
    let seen =
        config.run(&["detect", golden().to_str().unwrap(), "--model", "objects", "--json"]).expect_code(0).json();
    let found = seen["detections"].as_array().unwrap().iter();
    found.filter(|one| one["label"] == "person" && one["score"].as_f64().unwrap() >= 0.65).cloned().collect()
}

/// A folder with the golden picture, labelled with these boxes, each moved to the right by a share of its width.
fn labelled(directory: &Path, people: &[Value], moved: f64) -> PathBuf {
    let folder = directory.join(format!("labelled-{moved}"));
    for part in ["images", "labels"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    // A class that the model does not know stands before the one that it knows.
    fs::write(folder.join("classes.txt"), "unicorn\nperson\n").unwrap();
    fs::copy(golden(), folder.join("images/street.png")).unwrap();
    let mut lines = "0 0.5 0.5 0.1 0.1\n".to_owned();
    for person in people {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| person[side].as_f64().unwrap());
        writeln!(lines, "1 {} {} {w} {h}", x + w / 2.0 + moved * w, y + h / 2.0).unwrap();
    }
    fs::write(folder.join("labels/street.txt"), lines).unwrap();
    folder
}

#[test]
fn boxes_where_the_model_sees_them_are_all_right_and_one_elsewhere_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let people = people(&config);
    assert!(people.len() >= 2, "the golden picture shows a street: {people:?}");

    let right = eval(&config, &labelled(directory.path(), &people, 0.0), "objects").expect_code(0).json();
    let person = &right["classes"]["person"];
    assert_eq!((&right["model"], &right["pictures"]), (&json!("objects"), &json!(1)));
    assert_eq!(person["count"], people.len());
    for figure in ["precision", "recall", "f1", "precision50", "recall50"] {
        assert_eq!(person[figure], 1.0, "{figure}: {person:#}");
    }
    assert!(person["ap30"].as_f64().unwrap() > 0.99 && person["ap50"].as_f64().unwrap() > 0.99, "{person:#}");
    assert_eq!(right["false_positives_per_1000"]["person"], 0.0);
    assert!(right["classes"].get("unicorn").is_none(), "{right:#}");

    // Nobody stands in the upper left corner.
    let mut elsewhere = people[0].clone();
    (elsewhere["x"], elsewhere["y"]) = (json!(0.0), json!(0.0));
    let wrong = eval(&config, &labelled(directory.path(), &[elsewhere], 0.0), "objects").expect_code(0).json();
    let person = &wrong["classes"]["person"];
    assert_eq!((&person["count"], &person["recall"]), (&json!(1), &json!(0.0)), "{person:#}");
    let per_thousand = people.len() as f64 * 1000.0;
    assert_eq!(wrong["false_positives_per_1000"]["person"].as_f64().unwrap(), per_thousand, "{wrong:#}");
}

#[test]
fn a_loose_box_counts_at_the_lower_overlap_only() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let people = people(&config);
    // Shifted by 0.45 of its width a box overlaps the true one by 0.55 / 1.45 = 0.38.
    let loose = eval(&config, &labelled(directory.path(), &people[..1], 0.45), "objects").expect_code(0).json();
    let person = &loose["classes"]["person"];
    assert_eq!((&person["recall"], &person["recall50"]), (&json!(1.0), &json!(0.0)), "{person:#}");
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let folder = labelled(directory.path(), &[], 0.0);
    let refused = |named: &[&str]| {
        let finished = eval(&config, &folder, "objects");
        assert_ne!(finished.code, 0, "{finished:#?}");
        for part in named {
            assert!(finished.stderr.contains(part), "{part:?} is not named: {finished:#?}");
        }
    };
    fs::write(folder.join("labels/street.txt"), "1 0.5 0.5 0.1 0.1\n1 50 50 10 10\n").unwrap();
    refused(&["street.txt", "line 2"]);
    fs::write(folder.join("labels/street.txt"), "2 0.5 0.5 0.1 0.1\n").unwrap();
    refused(&["street.txt", "line 1"]);
    fs::remove_file(folder.join("classes.txt")).unwrap();
    refused(&["classes.txt", "labels/"]);
}

#[test]
fn a_damaged_picture_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let folder = labelled(directory.path(), &[], 0.0);
    fs::write(folder.join("images/torn.png"), b"no picture").unwrap();
    let finished = eval(&config, &folder, "objects");
    assert_ne!(finished.code, 0, "{finished:#?}");
    assert!(finished.stderr.contains("torn.png"), "{finished:#?}");
}

#[test]
fn a_model_that_is_not_in_the_pack_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let folder = labelled(directory.path(), &[], 0.0);
    let detect = config.run(&["detect", golden().to_str().unwrap(), "--model", "oracle"]);
    for finished in [eval(&config, &folder, "oracle"), detect] {
        assert_ne!(finished.code, 0, "{finished:#?}");
        assert!(finished.stderr.contains("oracle") && !finished.stderr.contains("panicked"), "{finished:#?}");
    }
}

#[test]
fn the_whole_pack_sees_what_its_detector_sees() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let seen = config.run(&["detect", golden().to_str().unwrap(), "--json"]).expect_code(0).json();
    let all = seen["detections"].as_array().unwrap();
    for person in people(&config) {
        let same = |one: &&Value| ["label", "x", "y", "w", "h"].iter().all(|key| one[key] == person[key]);
        assert!(all.iter().any(|one| same(&one)), "{person} is not in {seen:#}");
    }
}
