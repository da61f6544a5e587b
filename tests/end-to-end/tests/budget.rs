//! The month's money on real servers: a box that has used it says so, keeps what it has, and sends the gravest texts as
//! long as their reserve lasts; what waits says why; what was not counted is charged; an ended month is told once.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kitchen_core::alert::AlertRecord;
use kitchen_core::budget::{Bucket, ByClass, Traffic, TrafficClass, Yuan};
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_store::{OpenOptions, Store};
use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, stored_alert, wait_for, wait_until};
use serde_json::{Value, json};
use toml::Table;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Wall::from_unix_millis(i64::try_from(since.as_millis()).unwrap())
}

fn stamp() -> Stamp {
    Stamp { mono: Mono::from_millis(60_000), wall: now(), quality: TimeQuality::Floor }
}

fn open(directory: &Path) -> Store {
    let dir = directory.join("state/store");
    fs::create_dir_all(&dir).unwrap();
    Store::open(OpenOptions { dir: &dir, device: DEVICE, boot_id: "an-earlier-boot" }).unwrap()
}

/// The store of a box that has used so many megabytes at 100 yuan a gigabyte, and was shut down cleanly since.
fn used(store: &Store, megabytes: f64, at: Wall) {
    let bytes = (megabytes * 1e6) as u64;
    let price = |bytes: u64| Yuan::whole(100).times_gigabytes(bytes);
    let mut classes = ByClass::default();
    let (yuan, worst_yuan) = (price(bytes), price(bytes + bytes.div_ceil(19)));
    classes[TrafficClass::Other as usize] = Traffic { bytes, free_bytes: 0, yuan, worst_yuan };
    let (first, last) = (Mono::from_millis(1_000), Mono::from_millis(2_000));
    let bucket = Bucket { boot: 1, first, last, label: at, classes };
    store.save_ledger(stamp(), &[bucket], json!({ "is_clean": true, "boot": 1 })).unwrap();
}

/// A closed alert with a picture and a clip of so many bytes.
fn alert(store: &Store, rule: RuleId, picture: Option<usize>, clip: Option<usize>) -> String {
    let bytes = |length: usize| vec![7; length];
    let (alert_id, body) = stored_alert(store, stamp(), rule, picture.map(bytes), clip.map(bytes));
    store.append_alert_record(stamp(), &alert_id, AlertRecord::Closed, body).unwrap();
    alert_id.to_string()
}

/// 10 yuan a month at 100 yuan a gigabyte: 95 MB, of which 9.5 are the reserve.
fn config(directory: &Path, broker: &Mosquitto) -> AgentConfig {
    let step: Table = toml::from_str("yuan_per_gb = 100").unwrap();
    AgentConfig::new(DEVICE, directory)
        .uplink(broker)
        .set("budget.yuan_per_year", 120)
        .set("budget.tariff", vec![toml::Value::from(step)])
}

fn asked(agent: &Agent, command: &[&str]) -> Value {
    agent.command(command).json()
}

#[test]
fn out_of_the_reserve_a_grave_text_goes_and_the_box_says_until_when_it_is_off() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let store = open(directory.path());
    used(&store, 88.0, now());
    alert(&store, RuleId::Phone, Some(20_000), None);
    let rat = alert(&store, RuleId::Rodent, Some(20_000), None);
    drop(store);
    let agent = Agent::start(config(directory.path(), &broker));

    let opened = district.wait_for_message(BOUND, "alert.opened", |_| true);
    assert_eq!((opened["body"]["rule"].as_str(), opened["id"].as_str()), (Some("rodent"), Some(rat.as_str())));
    let state = district.wait_for(BOUND, "the box says that it is off", |event| {
        event["event"] == "state" && event["online"] == false && event["state"]["body"]["reason"] == "budget"
    });
    let until: Wall = state["state"]["body"]["until"].as_str().unwrap().parse().unwrap();
    assert!(until > now() && until.as_unix_millis() < now().as_unix_millis() + 32 * DAY_MS, "{until}");
    assert!(district.messages("alert.opened").len() == 1 && district.events_of("snapshot").is_empty());

    let status = asked(&agent, &["status", "--json"]);
    assert_eq!((&status["budget"]["step"], &status["link"]["connected_since"]), (&json!("reserve"), &Value::Null));
    assert_eq!(status["link"]["resting_until"], json!(until));
    let classes = &status["budget"]["classes"];
    assert!(classes["alert"]["bytes"].as_u64().unwrap() > 5_000, "with its connection: {classes}");
    assert_eq!(classes["protocol"]["bytes"], 0);
    let listed = asked(&agent, &["outbox", "list", "--json"]);
    let held: Vec<&Value> = listed["messages"].as_array().unwrap().iter().collect();
    assert!(held.iter().any(|message| message["kind"] == "snapshot"), "{listed}");
    assert!(
        held.iter().all(|message| message["state"] == "held" && message["reason"] == "budget: reserve"),
        "{listed}"
    );
    let shown = agent.command(&["status"]).stdout;
    assert!(shown.contains("not connected, to keep the ceiling"), "{shown}");
}

#[test]
fn a_box_at_its_ceiling_stays_off_and_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let district = District::start(&broker);
    let store = open(directory.path());
    used(&store, 95.2, now());
    let rat = alert(&store, RuleId::Rodent, None, None);
    drop(store);
    let agent = Agent::start(config(directory.path(), &broker));
    wait_until(BOUND, "the agent rests", || {
        let status = agent.command(&["status", "--json"]);
        status.code <= 1 && status.json()["link"]["resting_until"].is_string()
    });
    let budget = agent.command(&["budget", "--json"]).expect_code(1).json();
    assert_eq!(
        (&budget["step"], &budget["link"], &budget["used_percent"]),
        (&json!("off"), &json!("off"), &json!(100))
    );
    let shown = agent.command(&["budget"]).expect_code(1).stdout;
    assert!(shown.contains("nothing more this month") && shown.contains("Ceiling 10.00 yuan"), "{shown}");
    let check = agent.command(&["check", "budget", "--json"]).expect_code(1);
    assert!(check.stdout.contains("K-BUD-01"), "{}", check.stdout);
    let outbox = asked(&agent, &["outbox", "list", "--json"]);
    assert!(outbox["messages"].as_array().unwrap().iter().any(|message| message["id"] == rat.as_str()));
    assert!(district.events().iter().all(|event| event["event"] != "state"), "it never connected");
}

#[test]
fn a_clip_that_the_money_does_not_cover_is_on_request_and_all_else_goes() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let store = open(directory.path());
    used(&store, 85.5 - 7.5, now());
    let phone = alert(&store, RuleId::Phone, Some(20_000), Some(9_000_000));
    drop(store);
    let agent = Agent::start(config(directory.path(), &broker));
    let record = district.wait_for_message(BOUND, "alert.clip", |record| record["body"]["clip_status"] == "on_request");
    assert_eq!(record["body"]["alert_id"], phone.as_str());
    assert!(record["body"]["clip"]["bytes"] == 9_000_000 && !record["body"]["evidence"].is_null());
    district.wait_for(BOUND, "the picture", |event| event["event"] == "snapshot");
    assert!(district.events_of("clip").is_empty());
    let listed = wait_for(BOUND, "only the clip waits", || {
        let listed = asked(&agent, &["outbox", "list", "--json"]);
        (listed["messages"].as_array().unwrap().len() == 1).then_some(listed)
    });
    let clip = &listed["messages"][0];
    assert_eq!(
        (&clip["kind"], &clip["state"], &clip["next_attempt_s"]),
        (&json!("clip"), &json!("held"), &Value::Null)
    );
    assert!(clip["until"].is_string() && clip["reason"].as_str().unwrap().starts_with("budget: "), "{clip}");
}

#[test]
fn what_a_killed_agent_may_not_have_saved_is_charged_and_a_stop_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let mut agent = Agent::start(config(directory.path(), &broker).rule("box_health", "window_s = 60"));
    let other = |agent: &Agent| asked(agent, &["budget", "--json"])["classes"]["other"]["bytes"].as_u64().unwrap();
    district.wait_for(BOUND, "the box is there", |event| event["online"] == true);
    let before = asked(&agent, &["budget", "--json"]);
    assert!(before["bytes"].as_u64().unwrap() > 5_000 && other(&agent) == 0, "{before}");
    assert!(agent.terminate().success());
    agent.restart();
    wait_until(BOUND, "it answers", || agent.command(&["status", "--json"]).code <= 1);
    assert_eq!(other(&agent), 0);
    let counted = asked(&agent, &["budget", "--json"])["bytes"].as_u64().unwrap();
    assert!(counted >= before["bytes"].as_u64().unwrap(), "nothing is forgotten over a restart");
    agent.kill();
    agent.restart();
    wait_until(BOUND, "it answers", || agent.command(&["status", "--json"]).code <= 1);
    assert_eq!(other(&agent), 256_000);
}

#[test]
fn an_ended_month_is_told_once_and_eighty_per_cent_are_an_alert() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let store = open(directory.path());
    used(&store, 40.0, Wall::from_unix_millis(now().as_unix_millis() - 10 * DAY_MS));
    drop(store);
    // A clock that systemd has set.
    let run = directory.path().join("run/systemd/timesync");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("synchronized"), "").unwrap();
    let shanghai = kitchen_core::time::TimeZone::named("Asia/Shanghai").unwrap();
    let three_days_ago = Wall::from_unix_millis(now().as_unix_millis() - 3 * DAY_MS).local_text(&shanghai);
    let start_day: i64 = three_days_ago[8..10].parse().unwrap();
    let mut agent = Agent::start(
        config(directory.path(), &broker)
            .set("budget.start_day", start_day)
            .rule("box_health", "window_s = 60")
            .environment("KITCHEN_AGENT_RUN", directory.path().join("run").to_str().unwrap()),
    );
    let month = district.wait_for_message(BOUND, "budget.month", |_| true);
    let body = &month["body"];
    assert_eq!(
        (&body["bytes"], &body["yuan"], &body["correction"]),
        (&json!(40_000_000), &json!("4.00"), &json!(false))
    );
    assert_eq!(body["classes"]["other"], json!({ "bytes": 40_000_000, "yuan": "4.00" }));
    assert!(body["period"]["to"].as_str().unwrap() < now().to_string().as_str());

    assert!(agent.terminate().success());
    let store = open(directory.path());
    used(&store, 77.0, now());
    drop(store);
    agent.restart();
    let alert = district.wait_for_message(BOUND, "alert.opened", |_| true);
    assert_eq!((&alert["body"]["rule"], &alert["body"]["zone"]), (&json!("box_health"), &json!("budget_80")));
    assert!(alert["body"]["detail"].as_str().unwrap().contains('%'), "{alert}");
    assert_eq!(district.messages("budget.month").len(), 1, "told once");
}
