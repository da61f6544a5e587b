//! Whatever is wrong from outside: the agent says what and what to do next, goes on with the rest, tells no secret.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kitchen_test_support::{
    Agent, AgentConfig, Breakage, District, Finished, Mosquitto, RtspCamera, repository, videos, wait_until,
};

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
const PROBLEM_FOUND: i32 = 1;
const WRONG_USE: i32 = 64;

fn file_camera(directory: &Path) -> AgentConfig {
    AgentConfig::new(DEVICE, directory).camera("stove", &format!("file://{}", videos::people().display()))
}

fn validate(config: &AgentConfig) -> Finished {
    config.run(&["config", "validate"])
}

/// `text` is refused by a message that holds all of `named` beside the file's name.
#[track_caller]
fn assert_refused(config: &AgentConfig, text: &str, named: &[&str]) {
    config.write_text(text);
    let refused = validate(config);
    assert!([PROBLEM_FOUND, WRONG_USE].contains(&refused.code), "{refused:#?}");
    for part in named.iter().chain(&["agent.toml"]) {
        assert!(refused.text().contains(part), "{part:?} is not named: {refused:#?}");
    }
    assert!(!refused.text().contains("panicked"), "{refused:#?}");
}

fn valid_text(config: &AgentConfig) -> String {
    fs::read_to_string(config.write()).unwrap()
}

#[test]
fn a_valid_configuration_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    config.write();
    let _ = validate(&config).expect_code(0);
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    let text = valid_text(&config);
    assert_refused(&config, &text.replace("[device]", "[device]\ncolour = \"red\""), &["colour"]);
    assert_refused(&config, &format!("{text}\n[kitchen]\nsize = 3\n"), &["kitchen"]);
    assert_refused(&config, &text.replace("rules.intrusion", "rules.intruder"), &["intruder"]);
}

#[test]
fn a_wrong_value_is_named_with_what_is_expected() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    let zone = |polygon: &str| {
        let text = valid_text(&config);
        format!("{text}\n[[camera.zone]]\nid = \"cooking\"\npolygon = {polygon}\n")
    };
    assert_refused(&config, &zone("[[0.1, 0.2], [0.9, 0.2]]"), &["polygon"]);
    assert_refused(&config, &zone("[[0.1, 0.2], [1.7, 0.2], [0.9, 0.9]]"), &["polygon", "1.7"]);
    let with = |key: &str, value: toml::Value| valid_text(&file_camera(directory.path()).set(key, value));
    assert_refused(&config, &with("device.id", "MH 07".into()), &["device.id", "MH 07"]);
    assert_refused(&config, &with("device.time_zone", "Asia/Atlantis".into()), &["time_zone", "Asia/Atlantis"]);
    assert_refused(&config, &with("rules.intrusion.score", 1.5.into()), &["score", "1.5"]);
    assert_refused(&config, &with("rules.intrusion.schedule", "25:00-26:00".into()), &["schedule", "25:00"]);
    assert_refused(&config, &with("detector.engine", "warp".into()), &["engine", "warp", "tract"]);
    assert_refused(&config, &with("uplink.broker", "mqtt://broker.example:1883".into()), &["broker", "mqtts"]);
    assert_refused(&config, "[device\nid = 3", &[]);
}

#[test]
fn a_missing_configuration_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let refused = validate(&AgentConfig::new(DEVICE, directory.path()));
    assert_ne!(refused.code, 0, "{refused:#?}");
    assert!(refused.text().contains("agent.toml"), "{refused:#?}");
}

#[test]
fn an_unknown_command_is_wrong_use() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    config.write();
    let _ = config.run(&["brew"]).expect_code(WRONG_USE);
    let _ = config.run(&["replay"]).expect_code(WRONG_USE);
}

/// A copy of the pack, changed by `change`.
fn pack(directory: &Path, change: impl FnOnce(&Path)) -> PathBuf {
    let pack = directory.join("models");
    copy(&repository().join("models/objects"), &pack.join("objects"));
    change(&pack.join("objects"));
    pack
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (source, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

#[track_caller]
fn assert_model_refused(change: impl FnOnce(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack(directory.path(), change);
    let config = file_camera(directory.path()).set("detector.models_dir", pack.to_str().unwrap());
    config.write();
    let refused = config.run(&["model", "verify", "--json"]).expect_code(PROBLEM_FOUND);
    let _ = refused.json();
    assert!(refused.text().contains("objects"), "the model is not named: {refused:#?}");
    assert!(!refused.text().contains("panicked"), "{refused:#?}");
}

#[test]
fn a_damaged_classifier_costs_its_own_rules_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let pack = pack(directory.path(), |_| {});
    let classifier = pack.join("head_attributes");
    copy(&repository().join("models/head_attributes"), &classifier);
    fs::write(classifier.join("head_attributes.onnx"), "GIF89a, not a network").unwrap();
    let config = file_camera(directory.path())
        .set("detector.models_dir", pack.to_str().unwrap())
        .rule("intrusion", "score = 0.5")
        .rule("no_mask", "score = 0.65");
    let mut agent = Agent::start(config);
    wait_until(BOUND, "the camera is watched", || {
        let status = agent.command(&["status", "--json"]);
        status.code != 2 && status.json()["cameras"][0]["analysed"].as_u64() > Some(0)
    });
    let status = agent.command(&["status", "--json"]).json();
    assert_eq!(status["rules"]["no_mask"], "unavailable", "{status:#}");
    assert_eq!(status["rules"]["intrusion"], "on", "{status:#}");
    let checked = agent.command(&["check", "detector.load", "--json"]).expect_code(PROBLEM_FOUND);
    assert!(checked.text().contains("head_attributes"), "{checked:#?}");
    assert!(agent.terminate().success());
}

#[test]
fn a_missing_model_is_refused() {
    assert_model_refused(|objects| fs::remove_file(objects.join("objects.onnx")).unwrap());
}

#[test]
fn a_truncated_model_is_refused() {
    assert_model_refused(|objects| {
        let whole = fs::read(objects.join("objects.onnx")).unwrap();
        fs::write(objects.join("objects.onnx"), &whole[..whole.len() / 2]).unwrap();
    });
}

#[test]
fn a_foreign_file_as_a_model_is_refused() {
    assert_model_refused(|objects| fs::write(objects.join("objects.onnx"), "GIF89a, not a network").unwrap());
}

#[test]
fn a_model_whose_outputs_differ_from_the_golden_ones_is_refused() {
    assert_model_refused(|objects| {
        let path = objects.join("golden/output.f32");
        let mut output = fs::read(&path).unwrap();
        output[..4].copy_from_slice(&1000.0_f32.to_le_bytes());
        fs::write(path, output).unwrap();
    });
}

#[test]
fn a_video_that_was_cut_off_is_replayed_as_far_as_it_goes_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path()).rule("intrusion", "score = 0.5\nwindow_s = 3\nevidence = \"none\"");
    config.write();
    let video = videos::truncated(directory.path(), 400_000);
    let finished = config.run(&["replay", video.to_str().unwrap(), "--json", "--detections"]);
    assert!((0..=2).contains(&finished.code), "{finished:#?}");
    assert!(!finished.text().contains("panicked"), "{finished:#?}");
    let frames = finished.json_lines().into_iter().filter(|record| record["type"] == "frame").count();
    assert!(frames > 0 || finished.stderr.contains("truncated.mp4"), "{finished:#?}");
}

#[test]
fn a_file_that_is_no_video_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let config = file_camera(directory.path());
    config.write();
    let file = directory.path().join("menu.mp4");
    for content in [&b""[..], b"braised pork 38 yuan", &[0; 4096]] {
        fs::write(&file, content).unwrap();
        let refused = config.run(&["replay", file.to_str().unwrap(), "--json"]);
        assert!([PROBLEM_FOUND, 2].contains(&refused.code), "{refused:#?}");
        assert!(refused.stderr.contains("menu.mp4"), "{refused:#?}");
        assert!(!refused.text().contains("panicked"), "{refused:#?}");
    }
}

/// The agent runs on `camera`, tells the district that it is offline, and lives on. Its log.
fn log_of_an_offline_camera(configure: impl FnOnce(AgentConfig) -> AgentConfig) -> String {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::plain();
    let mut district = District::start(&broker);
    let config = configure(AgentConfig::new(DEVICE, directory.path()).uplink(&broker));
    let mut agent = Agent::start(config.rule("camera_offline", "window_s = 3\ncool_down_s = 600"));
    let opened = district.wait_for_message(BOUND, "alert.opened", |record| record["body"]["rule"] == "camera_offline");
    assert_eq!(opened["body"]["camera"], "stove");
    agent.assert_running();
    assert!(agent.terminate().success());
    let log = agent.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains(RtspCamera::PASSWORD), "a password in the log:\n{log}");
    log
}

#[test]
fn a_camera_that_answers_nonsense_is_reported_offline() {
    let camera = RtspCamera::broken(Breakage::Answers);
    let _ = log_of_an_offline_camera(|config| config.rtsp_camera("stove", &camera.url("view")));
}

#[test]
fn a_camera_that_streams_nonsense_is_reported_offline() {
    let camera = RtspCamera::broken(Breakage::Stream);
    let _ = log_of_an_offline_camera(|config| config.rtsp_camera("stove", &camera.url("view")));
}

#[test]
fn a_wrong_password_is_logged_with_what_to_change_and_without_the_password() {
    let camera = RtspCamera::start(&[("view", &videos::people())]);
    let wrong = "Wrong-Secret-4410";
    let log = log_of_an_offline_camera(|config| config.camera_with_password("stove", &camera.url("view"), wrong));
    assert!(!log.contains(wrong), "a password in the log:\n{log}");
    assert!(log.contains("password_file") || log.contains("username"), "the key to change is not named:\n{log}");
}

#[test]
fn credentials_inside_of_an_url_are_refused_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "In-The-Url-9921";
    let config = AgentConfig::new(DEVICE, directory.path())
        .camera("stove", &format!("rtsp://admin:{secret}@192.168.8.64/Streaming/Channels/102"));
    let text = valid_text(&config);
    assert_refused(&config, &text, &["camera.stove.url", "password_file"]);
    for arguments in [["config", "validate"], ["config", "show"], ["model", "list"]] {
        let shown = config.run(&arguments);
        assert!(!shown.text().contains(secret), "{shown:#?}");
    }
    let shown = config.run(&["run"]).expect_code(PROBLEM_FOUND);
    assert!(!shown.text().contains(secret), "{shown:#?}");
}

#[test]
fn an_h265_camera_is_logged_with_how_to_switch_it() {
    let camera = RtspCamera::start(&[("view", &videos::h265())]);
    let log = log_of_an_offline_camera(|config| config.rtsp_camera("stove", &camera.url("view")));
    assert!(log.contains("H.265") && log.contains("H.264"), "{log}");
}

#[test]
fn an_agent_with_a_rejected_certificate_keeps_its_alerts_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let foreign = broker.certificates().foreign_device(DEVICE);
    let config = file_camera(directory.path())
        .uplink(&broker)
        .set("uplink.certificate_file", foreign.certificate.to_str().unwrap())
        .set("uplink.key_file", foreign.key.to_str().unwrap())
        .rule("intrusion", "score = 0.5\nwindow_s = 2\nevidence = \"none\"");
    let mut agent = Agent::start(config);
    wait_until(BOUND, "an alert on the box", || !agent.alerts().is_empty());
    wait_until(BOUND, "the log names the certificate", || agent.log().to_lowercase().contains("certificate"));
    agent.assert_running();
}
