//! Each stage made to panic and to hang: it is found and started again alone, the district sees it, nothing is lost.
//! Failpoints inside of the agent are the only way to a stage's panic; they are left out of the box's program.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, RtspCamera, videos, wait_until};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(90);
const INTRUSION: &str = "score = 0.5\nwindow_s = 2\ncool_down_s = 1\nevidence = \"snapshot\"";

struct Site {
    _camera: RtspCamera,
    _broker: Mosquitto,
    district: District,
    agent: Agent,
    _directory: tempfile::TempDir,
}

impl Site {
    /// An agent in whose program `fault` is set, e.g. `detect=10*off->1*panic->off`.
    fn with(fault: &str) -> Self {
        Self::with_rule(fault, INTRUSION)
    }

    fn with_rule(fault: &str, rule: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let camera = RtspCamera::start(&[("view", &videos::people_after_a_while())]);
        let broker = Mosquitto::start();
        let district = District::start(&broker);
        let config = AgentConfig::new(DEVICE, directory.path())
            .rtsp_camera("stove", &camera.url("view"))
            .uplink(&broker)
            .set("uplink.heartbeat_s", 10)
            .rule("intrusion", rule)
            .environment("FAILPOINTS", fault);
        let agent = Agent::start(config);
        Self { _camera: camera, _broker: broker, district, agent, _directory: directory }
    }

    /// The district hears in a heartbeat that `stage` was started again.
    fn wait_until_restarted(&mut self, stage: &str) {
        self.district.wait_for(BOUND, &format!("a heartbeat that counts a restart of {stage}"), |event| {
            event["heartbeat"]["body"]["restarts"][stage].as_u64().is_some_and(|count| count > 0)
        });
        self.agent.assert_running();
    }

    /// One more alert than now reaches the district, and each alert of the box is there once.
    fn wait_for_another_alert(&mut self) {
        let known = ids(&self.district.messages("alert.opened"));
        self.district.wait_for_message(BOUND, "alert.opened", |alert| {
            !known.contains(&alert["id"].as_str().unwrap().to_owned())
        });
        let (agent, district) = (&self.agent, &self.district);
        wait_until(BOUND, "every alert of the box is at the district", || {
            let of_box: Vec<Value> = agent.alerts();
            let opened: BTreeSet<String> =
                of_box.iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()).collect();
            let received = ids(&district.messages("alert.opened"));
            received.iter().cloned().collect::<BTreeSet<_>>() == opened && received.len() == opened.len()
        });
        assert_eq!(self.district.events_of("conflict"), Vec::<Value>::new());
    }
}

fn ids(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_recovers(fault: &str, stage: &str) {
    let mut site = Site::with(fault);
    site.wait_until_restarted(stage);
    site.wait_for_another_alert();
}

#[test]
fn a_capture_that_panics_is_started_again() {
    assert_recovers("capture=30*off->1*panic->off", "capture-stove");
}

#[test]
fn a_capture_that_hangs_is_started_again() {
    assert_recovers("capture=30*off->1*sleep(600000)->off", "capture-stove");
}

#[test]
fn a_detector_that_panics_is_started_again_and_its_open_alerts_are_closed() {
    let mut site = Site::with("detect=20*off->1*panic->off");
    let first = site.district.wait_for_message(BOUND, "alert.opened", |_| true);
    site.wait_until_restarted("detect-stove");
    let closed = site.district.wait_for_message(BOUND, "alert.closed", |_| true);
    assert_eq!(closed["body"]["alert_id"], first["id"]);
    assert_eq!(closed["body"]["reason"], "restart");
    site.wait_for_another_alert();
}

#[test]
fn a_detector_that_hangs_is_started_again() {
    assert_recovers("detect=20*off->1*sleep(600000)->off", "detect-stove");
}

#[test]
fn an_uplink_that_panics_is_started_again() {
    assert_recovers("uplink=5*off->1*panic->off", "uplink");
}

#[test]
fn an_uplink_that_hangs_is_started_again() {
    assert_recovers("uplink=5*off->1*sleep(600000)->off", "uplink");
}

#[test]
fn a_call_of_the_store_that_panics_is_rolled_back_and_the_store_goes_on() {
    assert_recovers("store=30*off->1*panic->off", "store");
}

#[test]
fn a_store_that_hangs_ends_the_agent_which_goes_on_where_it_was() {
    let mut site = Site::with("store=30*off->1*sleep(600000)->off");
    let ended = site.agent.wait_for_end(BOUND);
    assert!(!ended.success(), "systemd must see a failure: {ended:?}");
    site.agent.restart();
    site.wait_for_another_alert();
}

#[test]
fn a_violation_on_which_the_desk_panics_is_lost_alone() {
    let mut site = Site::with("violation=1*panic->off");
    site.wait_for_another_alert();
    assert!(site.agent.log().contains("one violation is lost"), "{}", site.agent.log());
}

#[test]
fn an_alert_desk_that_ends_ends_the_agent_which_goes_on_where_it_was() {
    let mut site = Site::with("alerts=10*off->1*panic->off");
    let ended = site.agent.wait_for_end(BOUND);
    assert!(!ended.success(), "systemd must see a failure: {ended:?}");
    site.district.wait_for(BOUND, "a state that says why", |event| {
        event["state"]["body"]["online"] == false && event["state"]["body"]["reason"] == "failed: alerts"
    });
    site.agent.restart();
    site.wait_for_another_alert();
}

#[test]
fn a_stage_that_fails_again_and_again_ends_the_agent_and_the_district_is_told() {
    let mut site = Site::with("detect=panic");
    let ended = site.agent.wait_for_end(Duration::from_secs(150));
    assert!(!ended.success(), "systemd must see a failure: {ended:?}");
    site.district.wait_for(BOUND, "a state that says why", |event| {
        event["state"]["body"]["online"] == false && event["state"]["body"]["reason"] == "failed: detect-stove"
    });
}

#[test]
fn heat_slows_detection_and_is_reported_until_the_box_has_cooled() {
    let directory = tempfile::tempdir().unwrap();
    let zone = directory.path().join("sys/class/thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).unwrap();
    let set_temperature = |thousandths: &str| std::fs::write(zone.join("temp"), thousandths).unwrap();
    set_temperature("91000\n");
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let config = AgentConfig::new(DEVICE, directory.path())
        .camera("stove", &format!("file://{}", videos::empty_room().display()))
        .uplink(&broker)
        .rule("box_health", "window_s = 3\ncool_down_s = 1")
        .environment("KITCHEN_AGENT_SYSFS", directory.path().join("sys").to_str().unwrap());
    let agent = Agent::start(config);

    let opened = district.wait_for_message(BOUND, "alert.opened", |alert| alert["body"]["rule"] == "box_health");
    assert_eq!(opened["body"]["camera"], "box");
    assert_eq!(opened["body"]["detail"], "91 °C");
    let status = agent.command(&["status", "--json"]).json();
    assert_eq!(status["slowed_by"], "91 °C", "{status:#}");
    set_temperature("52000\n");
    let closed = district.wait_for_message(BOUND, "alert.closed", |alert| alert["body"]["rule"] == "box_health");
    assert_eq!(closed["body"]["alert_id"], opened["id"]);
    let status = agent.command(&["status", "--json"]).json();
    assert_eq!(status["slowed_by"], Value::Null, "{status:#}");
}

#[test]
fn a_closed_alert_whose_clip_was_under_way_when_the_agent_was_killed_says_that_it_has_none() {
    let rule = "score = 0.5\nwindow_s = 2\ncool_down_s = 600\nevidence = \"clip\"";
    let mut site = Site::with_rule("clips=pause", rule);
    let closed = site.district.wait_for_message(BOUND, "alert.closed", |_| true);
    assert_eq!(closed["body"]["clip_status"], "recording", "{closed:#}");
    site.agent.kill();
    site.agent.restart();
    let ended = site.district.wait_for_message(BOUND, "alert.clip", |_| true);
    assert_eq!(ended["body"]["alert_id"], closed["body"]["alert_id"]);
    let status = ended["body"]["clip_status"].as_str().unwrap();
    assert!(status.starts_with("failed: the agent was started anew"), "{status}");
    assert!(ended["body"].get("reason").is_none(), "only a closing record has one: {ended:#}");
}
