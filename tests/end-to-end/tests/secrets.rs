//! No secret leaves its file: not to a log, a message, a command's output, an error or a support bundle, neither whole
//! nor in part, plain, percent-encoded or in base64.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kitchen_core::alert::AlertBody;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_store::{OpenOptions, Store};
use kitchen_test_support::{
    AgentConfig, District, Finished, Journal, Mosquitto, Process, RtspCamera, run, system, videos, wait_until,
};
use serde_json::json;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(90);
const STOP_BOUND: Duration = Duration::from_secs(20);
const BUNDLE_LIMIT: u64 = 5_000_000;
/// A part of a secret that is so long is one itself.
const PART: usize = 8;
/// Stands in everything, also in a password.
const PUBLIC: &str = "kitchen-agent";
/// Every command that shows what the box knows.
const COMMANDS: [&[&str]; 12] = [
    &["status"],
    &["status", "--json"],
    &["config", "show"],
    &["config", "show", "--json"],
    &["config", "validate"],
    &["config", "validate", "--json"],
    &["model", "list"],
    &["alerts", "list"],
    &["alerts", "list", "--json"],
    &["outbox", "list"],
    &["outbox", "list", "--json"],
    &["log"],
];

/// What must not be found, in every form.
struct Secrets(Vec<String>);

impl Secrets {
    #[track_caller]
    fn assert_absent(&self, place: &str, text: &str) {
        let lower = text.to_ascii_lowercase();
        for secret in &self.0 {
            for form in forms(secret) {
                let found = lower.find(&form.to_ascii_lowercase());
                assert!(found.is_none(), "{form:?} of a secret in {place}: {}", around(text, found.unwrap_or(0)));
            }
        }
    }

    #[track_caller]
    fn assert_absent_below(&self, place: &str, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.assert_absent_below(place, &path);
            } else {
                let bytes = fs::read(&path).unwrap();
                self.assert_absent(&format!("{place} {}", path.display()), &String::from_utf8_lossy(&bytes));
            }
        }
    }

    /// Runs every command and a bundle; nothing of them may show a secret.
    #[track_caller]
    fn assert_absent_from_commands(&self, config: &AgentConfig, moment: &str) {
        for arguments in COMMANDS {
            let finished = config.run(arguments);
            self.assert_absent(&format!("{arguments:?} {moment}"), &finished.text());
            assert!(!finished.text().contains("panicked"), "{finished:#?}");
        }
        let _ = self.bundle(config, moment);
    }

    /// The text of everything in a new bundle, after it was looked through.
    #[track_caller]
    fn bundle(&self, config: &AgentConfig, moment: &str) -> String {
        let path = config.directory().join("bundle.tar.gz");
        let made = config.run(&["bundle", "--json", "--out", path.to_str().unwrap()]).expect_code(0);
        self.assert_absent(&format!("what bundle says {moment}"), &made.text());
        assert!(path.metadata().unwrap().len() <= BUNDLE_LIMIT);
        let files = made.json()["files"].as_array().unwrap().clone();
        let unpacked = run(Command::new(system("tar", "tar")).arg("-xzOf").arg(&path)).expect_code(0);
        let bytes: u64 = files.iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, unpacked.stdout.len() as u64, "what is told of the bundle is not what is in it");
        self.assert_absent(&format!("the bundle {moment}"), &unpacked.stdout);
        unpacked.stdout
    }
}

fn forms(secret: &str) -> Vec<String> {
    let windows = secret.as_bytes().windows(PART.min(secret.len()));
    let parts = windows.map(|part| String::from_utf8(part.to_vec()).unwrap());
    let mut forms: Vec<String> = parts.filter(|part| !PUBLIC.contains(part.as_str())).collect();
    forms.push(secret.bytes().map(|byte| format!("%{byte:02x}")).collect());
    let sign =
        |sign: char| if sign.is_ascii_alphanumeric() { sign.to_string() } else { format!("%{:02x}", sign as u32) };
    forms.push(secret.chars().map(sign).collect());
    for offset in 0..3 {
        let padded = [vec![0; offset], secret.as_bytes().to_vec()].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded);
        forms.push(encoded[(offset * 8).div_ceil(6)..padded.len() * 8 / 6].to_owned());
    }
    forms
}

fn around(text: &str, at: usize) -> String {
    let start = text.floor_char_boundary(at.saturating_sub(200));
    text[start..text.ceil_char_boundary((at + 200).min(text.len()))].to_owned()
}

/// The lines of a PEM file that are secret.
fn key_lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with("-----") && line.len() >= PART).map(str::to_owned).collect()
}

#[test]
fn no_secret_of_a_running_agent_is_shown_sent_logged_or_bundled() {
    let wrong = "Wok&Dampf/44%10 #Tor";
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let camera = RtspCamera::start(&[("view", &videos::people())]);
    let config = AgentConfig::new(DEVICE, directory.path())
        .uplink(&broker)
        .rtsp_camera("stove", &camera.url("view"))
        .camera_with_password("door", &camera.url("view"), wrong)
        .rule("intrusion", "score = 0.5\nwindow_s = 3\nevidence = \"clip\"")
        .rule("camera_offline", "window_s = 3\ncool_down_s = 600");
    config.write();
    let mut secrets = Secrets(vec![RtspCamera::PASSWORD.to_owned(), wrong.to_owned()]);
    secrets.0.extend(key_lines(&broker.device(DEVICE).unwrap().key));

    let mut command = config.command(&["run"]);
    command.env("KITCHEN_AGENT_LOG", "trace");
    let panic = format!("detect=5*off->1*panic(rtsp://admin:{}@camera was lost)->off", RtspCamera::PASSWORD);
    command.env("FAILPOINTS", panic);
    let mut agent = Process::start("agent", command, directory.path());
    let opened = |rule: &'static str| move |record: &serde_json::Value| record["body"]["rule"] == rule;
    district.wait_for_message(BOUND, "alert.opened", opened("intrusion"));
    let offline = district.wait_for_message(BOUND, "alert.opened", opened("camera_offline"));
    assert_eq!(offline["body"]["camera"], "door");
    secrets.assert_absent_from_commands(&config, "while the agent runs");
    assert!(secrets.bundle(&config, "while the agent runs").contains("\"device\":\"mh07-000123\""));
    agent.assert_running();
    assert!(agent.terminate(STOP_BOUND).success());
    assert!(agent.stderr().contains("TRACE") || agent.stderr().contains("DEBUG"), "{}", agent.stderr());
    assert!(agent.stderr().contains("@camera was lost"), "no panic in the log");
    secrets.assert_absent("the log", &agent.stderr());
    let events: Vec<String> = district.events().iter().map(ToString::to_string).collect();
    secrets.assert_absent("the district's events", &events.join("\n"));
    secrets.assert_absent_below("the district's store", &district.store());
}

#[test]
fn a_secret_in_the_database_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stove.password");
    let config = AgentConfig::new(DEVICE, directory.path()).camera_with_password(
        "stove",
        "rtsp://127.0.0.1:1/view",
        "Aus-Der-Datei-77",
    );
    config.write();
    assert!(file.exists());
    let secrets = Secrets(vec!["In-Der-Zeile-5521".to_owned(), "Aus-Der-Datei-77".to_owned()]);
    let detail = "can't open rtsp://admin:In-Der-Zeile-5521@192.168.8.64/102, nor with Aus-Der-Datei-77";
    let alert_id = seed(&config, detail);
    secrets.assert_absent_from_commands(&config, "with a secret in the database");
    for arguments in [["alerts", "show", &alert_id], ["outbox", "show", &alert_id]] {
        let shown = config.run(&arguments).expect_code(0);
        secrets.assert_absent(&format!("{arguments:?}"), &shown.text());
        assert!(shown.stdout.contains("rtsp://***@192.168.8.64/102"), "{shown:#?}");
        let shown = config.run(&[&arguments[..], &["--json"]].concat()).expect_code(0);
        secrets.assert_absent(&format!("{arguments:?} --json"), &shown.text());
        assert_eq!(shown.json().get("records").is_some(), arguments[0] == "alerts", "{shown:#?}");
    }
    let message = config.run(&["outbox", "show", &alert_id, "--json"]).json();
    assert_eq!(message["topic"], "kitchen/v1/mh07-000123/up/alert/camera_offline");
    assert_eq!(message["body"]["type"], "alert.opened");
    assert_eq!((&message["state"], &message["attempts"]), (&json!("waiting"), &json!(0)));
    let part = &alert_id[..8];
    assert_eq!(config.run(&["alerts", "show", part, "--json"]).json()["alert_id"], json!(alert_id));
    let unknown = config.run(&["alerts", "show", "zzzzzz.1.1"]).expect_code(1);
    assert!(unknown.stderr.contains("alerts list"), "{unknown:#?}");
}

/// An alert in the box's database that waits to be sent; its id.
fn seed(config: &AgentConfig, detail: &str) -> String {
    let folder = config.directory().join("state/store");
    let store = Store::open(OpenOptions { dir: &folder, device: DEVICE, boot_id: "a boot" }).unwrap();
    let opened_at = Wall::from_unix_millis(1_795_497_151_250);
    let body: AlertBody = serde_json::from_value(json!({
        "rule": "camera_offline", "tier": 2, "camera": "stove", "zone": null, "opened_at": opened_at,
        "duration_ms": 3000, "boxes": [], "snapshot": null, "clip": null, "clip_status": "none", "detail": detail,
    }))
    .unwrap();
    let stamp = Stamp { mono: Mono::from_millis(5000), wall: opened_at, quality: TimeQuality::Ntp };
    store.open_alert(stamp, body, None).unwrap().alert_id.to_string()
}

#[test]
fn a_secret_where_it_does_not_belong_is_refused_without_being_shown() {
    let secret = "Fehl-Am-Platz-9921";
    let secrets = Secrets(vec![secret.to_owned()]);
    let directory = tempfile::tempdir().unwrap();
    let plain = || AgentConfig::new(DEVICE, directory.path());
    let camera = |url: &str| fs::read_to_string(plain().camera("stove", url).write()).unwrap();
    let broker = |url: &str| fs::read_to_string(plain().set("uplink.broker", url).write()).unwrap();
    for text in [
        camera(&format!("rtsp://admin:{secret}@192.168.8.64/102")),
        camera(&format!("rtsp://admin:12/{secret}@192.168.8.64/102")),
        camera(&format!("http://admin:{secret}@192.168.8.64/102")),
        camera(&format!("admin:{secret}@192.168.8.64/102")),
        broker(&format!("mqtts://box:{secret}@broker.example:8883")),
        broker(&format!("mqtt://box:{secret}@localhost:1883")),
        camera("rtsp://192.168.8.64/102").replace("url =", &format!("password = \"{secret}\"\nurl =")),
        format!("{}\n[uplink\nbroker = \"mqtts://box:{secret}@broker\"", camera("rtsp://192.168.8.64/102")),
    ] {
        let config = plain();
        config.write_text(&text);
        let refused = config.run(&["config", "validate"]).expect_code(1);
        assert!(refused.text().contains("agent.toml"), "{refused:#?}");
        let started = config.run(&["run"]).expect_code(1);
        secrets.assert_absent("what run says", &started.text());
        secrets.assert_absent_from_commands(&config, &format!("with {text}"));
    }
    let config = plain().camera("stove", "rtsp://192.168.8.64/102");
    config.write();
    for (name, value) in [
        ("KITCHEN_AGENT__CAMERA__0__PASSWORD", secret.to_owned()),
        ("KITCHEN_AGENT__CAMERA__9__PASSWORD", secret.to_owned()),
        ("KITCHEN_AGENT__UPLINK__BROKER", format!("mqtts://box:{secret}@broker.example:8883")),
        ("KITCHEN_AGENT__CAMERA__0__URL", format!("rtsp://admin:{secret}@192.168.8.64/102")),
    ] {
        let out = directory.path().join("environment.tar.gz");
        let bundle = ["bundle", "--out", out.to_str().unwrap()];
        for arguments in [&["config", "validate"][..], &["config", "show"], &["run"], &["status"], &bundle] {
            let finished = Finished::from(config.command(arguments).env(name, &value).output().unwrap());
            secrets.assert_absent(&format!("{arguments:?} with {name}"), &finished.text());
        }
        let unpacked = run(Command::new(system("tar", "tar")).arg("-xzOf").arg(&out)).expect_code(0);
        secrets.assert_absent(&format!("a bundle with {name}"), &unpacked.stdout);
    }
}

#[test]
fn the_journal_is_shown_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::start();
    let secret = "Aus-Der-Datei-77";
    let config = AgentConfig::new(DEVICE, directory.path())
        .camera_with_password("stove", "rtsp://127.0.0.1:1/view", secret)
        .rule("camera_offline", "window_s = 3");
    config.write();
    let secrets = Secrets(vec![secret.to_owned(), "Im-Journal-8832".to_owned()]);
    let mut command = config.command(&["run"]);
    // The inference engine's own debug lines would exceed journald's rate limit.
    command.env("KITCHEN_AGENT_LOG", "info,kitchen_agent=debug,kitchen_vision=debug");
    let mut agent = Process::start("agent", journal.as_service("kitchen-agent", &command), directory.path());
    let log = |arguments: &[&str]| journal.run(&config.command(&[&["log"][..], arguments].concat()));
    wait_until(BOUND, "the agent's entries in the journal", || {
        agent.assert_running();
        log(&["--json"]).stdout.contains("\"message\":\"camera lost\"")
    });
    let mut said = Command::new("echo");
    said.arg(format!("open rtsp://admin:Im-Journal-8832@192.168.8.64/102 with {secret}"));
    let _ = run(&mut journal.as_service("kitchen-agent", &said)).expect_code(0);
    wait_until(BOUND, "that line in the journal", || log(&[]).stdout.contains("open rtsp://***@192.168.8.64/102"));
    let entries = log(&["--json", "--since", "1h"]).expect_code(0).json_lines();
    let lost = entries.iter().find(|entry| entry["message"] == "camera lost").unwrap();
    assert_eq!((&lost["level"], &lost["fields"]["camera"]), (&json!("warn"), &json!("stove")));
    assert!(log(&["--level", "warn"]).stdout.lines().all(|line| !line.contains("agent running")));
    let out = directory.path().join("journal.tar.gz");
    let bundle = journal.run(&config.command(&["bundle", "--out", out.to_str().unwrap()])).expect_code(0);
    let unpacked = run(Command::new(system("tar", "tar")).arg("-xzOf").arg(&out)).expect_code(0);
    assert!(unpacked.stdout.contains("camera lost"), "the journal is not in the bundle");
    let shown = [log(&[]), log(&["--json"]), bundle, unpacked];
    shown.iter().for_each(|finished| secrets.assert_absent("the journal", &finished.text()));
    assert!(agent.terminate(STOP_BOUND).success());
}

#[test]
fn a_box_without_a_journal_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let config = AgentConfig::new(DEVICE, directory.path());
    config.write();
    for arguments in [&["log"][..], &["log", "-f"]] {
        let empty = [arguments, &["--directory", directory.path().to_str().unwrap()]].concat();
        let refused = config.run(&empty).expect_code(2);
        assert!(refused.stderr.contains("sudo"), "{refused:#?}");
    }
}
