//! What the agent survives: a camera, a broker, a district and itself killed or hung, with nothing lost or doubled.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, RtspCamera, videos, wait_until};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
/// Reconnecting backs off: to the camera as well as to the broker.
const RECONNECT_BOUND: Duration = Duration::from_secs(90);

const OFFLINE: &str = "window_s = 3\ncool_down_s = 1";
const INTRUSION: &str = "score = 0.5\nwindow_s = 2\ncool_down_s = 1\nevidence = \"snapshot\"";

struct Site {
    camera: RtspCamera,
    broker: Mosquitto,
    district: District,
    agent: Agent,
    _directory: tempfile::TempDir,
}

impl Site {
    fn start(configure: impl FnOnce(AgentConfig) -> AgentConfig) -> Self {
        Self::with_video(&videos::people(), configure)
    }

    fn with_video(video: &Path, configure: impl FnOnce(AgentConfig) -> AgentConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let camera = RtspCamera::start(&[("view", video)]);
        let broker = Mosquitto::start();
        let district = District::start(&broker);
        let config = AgentConfig::new(DEVICE, directory.path())
            .rtsp_camera("stove", &camera.url("view"))
            .uplink(&broker)
            .set("uplink.keepalive_s", 10)
            .set("uplink.heartbeat_s", 10);
        let agent = Agent::start(configure(config));
        Self { camera, broker, district, agent, _directory: directory }
    }

    fn wait_for(&mut self, kind: &str, bound: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        self.agent.assert_running();
        self.district.wait_for_message(bound, kind, wanted)
    }

    fn wait_until_pictures_arrive(&mut self) {
        self.district.wait_for(BOUND, "a heartbeat that counts frames", |event| {
            event["heartbeat"]["body"]["cameras"][0]["frames"].as_u64().is_some_and(|frames| frames > 0)
        });
    }

    /// Everything the box opened is at the district, once, and the same.
    fn assert_nothing_lost_or_doubled(&mut self) {
        let opened_on_the_box = |agent: &Agent| -> BTreeSet<String> {
            agent.alerts().iter().map(|alert| alert["alert_id"].as_str().unwrap().to_owned()).collect()
        };
        let (agent, district) = (&self.agent, &self.district);
        wait_until(RECONNECT_BOUND, "every alert of the box is at the district", || {
            let opened = opened_on_the_box(agent);
            !opened.is_empty() && ids(&district.messages("alert.opened")).into_iter().collect::<BTreeSet<_>>() == opened
        });
        for kind in ["alert.opened", "alert.closed"] {
            let all = ids(&district.messages(kind));
            let different: BTreeSet<&String> = all.iter().collect();
            assert_eq!(all.len(), different.len(), "{kind} came twice: {all:?}");
        }
        for trouble in ["conflict", "alarm"] {
            assert_eq!(district.events_of(trouble), Vec::<Value>::new());
        }
    }
}

fn ids(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

fn is_rule(rule: &str) -> impl Fn(&Value) -> bool {
    move |record| record["body"]["rule"] == rule
}

#[test]
fn a_camera_that_is_killed_is_reported_and_watched_again_when_it_is_back() {
    let mut site = Site::start(|config| config.rule("camera_offline", OFFLINE));
    site.wait_until_pictures_arrive();
    site.camera.kill();
    let opened = site.wait_for("alert.opened", BOUND, is_rule("camera_offline"));
    site.camera.restart();
    let closed = site.wait_for("alert.closed", RECONNECT_BOUND, is_rule("camera_offline"));
    assert_eq!(closed["body"]["alert_id"], opened["id"]);
    assert_eq!(closed["body"]["reason"], "cleared");
    site.assert_nothing_lost_or_doubled();
}

#[test]
fn a_camera_that_hangs_is_reported_and_watched_again_when_it_goes_on() {
    let mut site = Site::start(|config| config.rule("camera_offline", OFFLINE).rule("intrusion", INTRUSION));
    site.wait_for("alert.opened", BOUND, is_rule("intrusion"));
    site.camera.hang();
    let offline = site.wait_for("alert.opened", BOUND, is_rule("camera_offline"));
    site.camera.resume();
    let closed = site.wait_for("alert.closed", RECONNECT_BOUND, is_rule("camera_offline"));
    assert_eq!(closed["body"]["alert_id"], offline["id"]);
    assert_eq!(closed["body"]["reason"], "cleared");
    site.assert_nothing_lost_or_doubled();
}

#[test]
fn a_lens_that_is_covered_is_reported_until_it_is_free_again() {
    let rule = "window_s = 4\ncool_down_s = 1";
    // A black picture at night is taken for the lights.
    let mut site = Site::with_video(&videos::lens_covered(), |config| {
        config.rule("lens_covered", rule).set("device.time_zone", zone_where_it_is_noon())
    });
    let opened = site.wait_for("alert.opened", BOUND, is_rule("lens_covered"));
    let closed = site.wait_for("alert.closed", RECONNECT_BOUND, is_rule("lens_covered"));
    assert_eq!(closed["body"]["alert_id"], opened["id"]);
    assert_eq!(closed["body"]["reason"], "cleared");
}

/// Of the zones with whole hours, the one with noon's hour now.
fn zone_where_it_is_noon() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let hour = i64::try_from(now.as_secs() / 3600 % 24).unwrap();
    // The names of these zones have the sign turned round.
    format!("Etc/GMT{:+}", hour - 12)
}

#[test]
fn a_frozen_picture_counts_as_an_offline_camera() {
    let mut site = Site::with_video(&videos::frozen(), |config| config.rule("camera_offline", OFFLINE));
    let opened = site.wait_for("alert.opened", BOUND, is_rule("camera_offline"));
    assert_eq!(opened["body"]["camera"], "stove");
}

#[test]
fn alerts_raised_while_the_broker_is_gone_arrive_once_it_is_back() {
    let mut site = Site::start(|config| config.rule("intrusion", INTRUSION).rule("camera_offline", OFFLINE));
    site.wait_until_pictures_arrive();
    site.broker.kill();
    let known = site.agent.alerts().len();
    // An alert that can only wait: the camera goes too.
    site.camera.kill();
    wait_until(BOUND, "an alert on the box without a broker", || site.agent.alerts().len() > known);
    site.broker.restart();
    site.wait_for("alert.opened", RECONNECT_BOUND, is_rule("camera_offline"));
    site.assert_nothing_lost_or_doubled();
}

#[test]
fn alerts_raised_while_the_district_is_gone_stay_on_the_box_until_it_is_back() {
    let mut site = Site::start(|config| config.rule("intrusion", INTRUSION));
    site.district.kill();
    wait_until(BOUND, "an alert on the box", || !site.agent.alerts().is_empty());
    let alert = site.agent.alerts().remove(0);
    assert!(alert["records"][0]["receipted_at"].is_null(), "a broker's PUBACK is no receipt: {alert:#}");
    site.district.restart();
    site.wait_for("alert.opened", RECONNECT_BOUND, is_rule("intrusion"));
    site.assert_nothing_lost_or_doubled();
}

#[test]
fn an_agent_that_is_killed_goes_on_with_what_it_knew() {
    let mut site = Site::start(|config| config.rule("intrusion", INTRUSION));
    let before = site.wait_for("alert.opened", BOUND, is_rule("intrusion"));
    site.agent.kill();
    site.agent.restart();
    let closed = site.wait_for("alert.closed", BOUND, |record| record["body"]["alert_id"] == before["id"]);
    assert_eq!(closed["body"]["reason"], "restart");
    let after = site.wait_for("alert.opened", BOUND, |record| record["id"] != before["id"]);
    let (before, after) = (before["id"].as_str().unwrap(), after["id"].as_str().unwrap());
    assert_eq!(before.split('.').next(), after.split('.').next(), "the same store");
    site.assert_nothing_lost_or_doubled();
}

#[test]
fn an_agent_killed_again_and_again_with_its_broker_loses_and_doubles_nothing() {
    let mut site = Site::start(|config| config.rule("intrusion", INTRUSION));
    for round in 0..4 {
        let known = site.agent.alerts().len();
        wait_until(BOUND, "a further alert on the box", || site.agent.alerts().len() > known);
        site.agent.kill();
        if round % 2 == 1 {
            site.broker.kill();
            site.broker.restart();
        }
        site.agent.restart();
    }
    wait_until(BOUND, "the alert after the last start", || site.agent.alerts().len() > 4);
    site.assert_nothing_lost_or_doubled();
}
