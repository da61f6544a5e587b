//! What a technician in China reads: no command answers with an English sentence when Chinese is asked for.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use kitchen_test_support::{AgentConfig, Finished, repository, videos};

const DEVICE: &str = "mh07-000123";
/// Words of English that make a sentence; names of keys, files, units and rules hold none of them alone.
const ENGLISH: [&str; 24] = [
    "the", "is", "are", "not", "can't", "and", "or", "of", "to", "with", "from", "found", "expected", "check", "see",
    "no", "it", "this", "was", "wrong", "missing", "unknown", "default", "usage",
];

fn file_camera(directory: &Path) -> AgentConfig {
    AgentConfig::new(DEVICE, directory).camera("stove", &format!("file://{}", videos::people().display()))
}

/// Runs a command with `--lang zh`; it says something, in Chinese alone.
#[track_caller]
fn assert_chinese(config: &AgentConfig, arguments: &[&str]) -> Finished {
    let finished = config.run(&[arguments, &["--lang", "zh"]].concat());
    let text = finished.text();
    assert!(text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "no Chinese: {finished:#?}");
    for line in text.lines() {
        let words = line.split(|c: char| c.is_whitespace() || "，。：；（）()[],:;".contains(c));
        let english: Vec<&str> = words.filter(|word| ENGLISH.contains(&word.to_lowercase().as_str())).collect();
        // A configuration may use one of these words as a value; a sentence has more of them.
        assert!(english.len() < 2, "{english:?} in {line:?} of {arguments:?}: {finished:#?}");
    }
    finished
}

#[test]
fn commands_answer_in_chinese() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    config.write();
    let picture = repository().join("models/objects/golden/input.png");
    let _ = assert_chinese(&config, &["config", "validate"]).expect_code(0);
    let _ = assert_chinese(&config, &["config", "show"]).expect_code(0);
    let _ = assert_chinese(&config, &["model", "verify"]).expect_code(0);
    let _ = assert_chinese(&config, &["detect", picture.to_str().unwrap()]).expect_code(0);
    let config = config.rule("intrusion", "score = 0.5\nwindow_s = 3\nevidence = \"none\"");
    config.write();
    let replayed = assert_chinese(&config, &["replay", videos::people().to_str().unwrap()]).expect_code(0);
    assert!(replayed.stdout.contains("非工作时段闯入"), "{replayed:#?}");
}

#[test]
fn help_is_chinese() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    config.write();
    for command in [&["--help"][..], &["status", "--help"], &["replay", "--help"], &["model", "bench", "--help"]] {
        let _ = assert_chinese(&config, command).expect_code(0);
    }
    for wrong in [&["brew"][..], &["status", "--wach"], &["replay"], &["demo", "--seconds", "soon"]] {
        let finished = assert_chinese(&config, wrong).expect_code(64);
        assert!(finished.stderr.contains("下一步："), "{finished:#?}");
    }
}

#[test]
fn failures_are_chinese_with_a_code_and_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    config.write();
    let missing = directory.path().join("none.mp4");
    let menu = directory.path().join("menu.mp4");
    fs::write(&menu, "braised pork 38 yuan").unwrap();
    let h265 = videos::h265();
    for (arguments, code) in [
        (&["status"][..], "K-SVC-01"),
        (&["alerts", "list"], "K-SVC-01"),
        (&["replay", missing.to_str().unwrap()], "K-CAM-09"),
        (&["replay", menu.to_str().unwrap()], "K-CAM-09"),
        (&["replay", h265.to_str().unwrap()], "K-CAM-03"),
    ] {
        let finished = assert_chinese(&config, arguments);
        assert!(finished.stderr.contains(code) && finished.stderr.contains("下一步："), "{finished:#?}");
        assert_ne!(finished.code, 0, "{finished:#?}");
    }
    let text = fs::read_to_string(config.path()).unwrap();
    for wrong in [
        text.replace("[device]", "[device]\ncolour = \"red\""),
        text.replace("mh07-000123", "MH 07"),
        text.replace("[device]", "[device"),
    ] {
        config.write_text(&wrong);
        let _ = assert_chinese(&config, &["config", "validate"]).expect_code(1);
        let finished = assert_chinese(&config, &["model", "list"]).expect_code(1);
        assert!(finished.stderr.contains("K-CFG-02") && finished.stderr.contains("下一步："), "{finished:#?}");
    }
}

#[test]
fn a_bare_box_speaks_the_language_of_its_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path()).set("device.language", "zh");
    config.write();
    let bare = |config: &AgentConfig| {
        let mut command = config.command(&["config", "validate"]);
        kitchen_test_support::run(command.env("LANG", "C"))
    };
    assert!(bare(&config).stdout.contains("有效"));
    let english = config.set("device.language", "en");
    english.write();
    assert!(bare(&english).stdout.contains("valid"));
}
