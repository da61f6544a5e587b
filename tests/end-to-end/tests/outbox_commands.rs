//! `outbox requeue` and `drop`, beside a running agent and without one; and an agent that finds its database damaged.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_store::{OpenOptions, Store};
use kitchen_test_support::{Agent, AgentConfig, District, Finished, Mosquitto, run, videos, wait_until};
use serde_json::{Value, json};

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(60);
const HEALTHY: i32 = 0;
const PROBLEM_FOUND: i32 = 1;

fn stamp() -> Stamp {
    let wall: Wall = "2026-11-24T05:12:31.250Z".parse().unwrap();
    Stamp { mono: Mono::from_millis(60_000), wall, quality: TimeQuality::Ntp }
}

fn folder(directory: &Path) -> PathBuf {
    directory.join("state/store")
}

/// A store with one record that was set aside and one that waits; their ids.
fn prepared(directory: &Path) -> (String, String) {
    let folder = folder(directory);
    fs::create_dir_all(&folder).unwrap();
    let store = Store::open(OpenOptions { dir: &folder, device: DEVICE, boot_id: "boot-a" }).unwrap();
    let bad = store.append_record(stamp(), "clock.fix", json!({ "offset_ms": 1 })).unwrap().to_string();
    let good = store.append_record(stamp(), "clock.fix", json!({ "offset_ms": 2 })).unwrap().to_string();
    assert!(store.outbox_set_aside(&bad, "failed 8 times while others got through", stamp()).unwrap());
    (bad, good)
}

fn outbox(config: &AgentConfig, arguments: &[&str]) -> Finished {
    config.write();
    run(&mut config.command(&[&["outbox"], arguments].concat()))
}

fn state(config: &AgentConfig, id: &str) -> Option<String> {
    let listed = outbox(config, &["list", "--json"]).json();
    let messages = listed["messages"].as_array().unwrap();
    let message = messages.iter().find(|message| message["id"] == id)?;
    Some(message["state"].as_str().unwrap().to_owned())
}

#[test]
fn without_an_agent_they_write_to_the_database_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let (bad, good) = prepared(directory.path());
    let config = AgentConfig::new(DEVICE, directory.path());
    assert_eq!(state(&config, &bad).as_deref(), Some("set_aside"));
    let requeued = outbox(&config, &["requeue", &bad, "--json"]).expect_code(HEALTHY);
    assert_eq!(requeued.json(), json!({ "id": bad, "state": "waiting" }));
    assert_eq!(state(&config, &bad).as_deref(), Some("waiting"));

    let dropped = outbox(&config, &["drop", &good]).expect_code(HEALTHY);
    assert!(dropped.stdout.contains(&good), "{}", dropped.stdout);
    assert_eq!(state(&config, &good), None);
    let again = outbox(&config, &["drop", &good]).expect_code(PROBLEM_FOUND);
    assert!(again.stderr.contains("outbox list"), "the next step is told: {}", again.stderr);
}

#[test]
fn beside_a_running_agent_they_go_through_it_and_the_district_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (bad, _) = prepared(directory.path());
    let broker = Mosquitto::start();
    let config = AgentConfig::new(DEVICE, directory.path())
        .uplink(&broker)
        .camera("stove", &format!("file://{}", videos::people().display()));
    let agent = Agent::start(config);
    wait_until(BOUND, "the agent answers", || agent.command(&["status", "--json"]).code <= 1);
    let _ = outbox(agent.config(), &["requeue", &bad]).expect_code(HEALTHY);
    let dropped = outbox(agent.config(), &["drop", &bad, "--json"]).expect_code(HEALTHY);
    assert_eq!(dropped.json(), json!({ "id": bad, "state": "dropped" }));

    let mut district = District::start(&broker);
    let loss = district.wait_for_message(BOUND, "loss", |_| true);
    assert_eq!(loss["body"], json!({ "what": "record", "ids": [bad], "reason": "dropped by hand" }));
    wait_until(BOUND, "nothing waits any more", || {
        outbox(agent.config(), &["list", "--json"]).json()["messages"] == Value::Array(Vec::new())
    });
}

#[test]
fn an_agent_whose_database_is_damaged_starts_tells_the_district_and_sends_what_it_rescued() {
    let directory = tempfile::tempdir().unwrap();
    let (_, good) = prepared(directory.path());
    let database = folder(directory.path()).join("agent.db");
    let root: i64 = rusqlite::Connection::open(&database)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'outbox'", [], |row| row.get(0))
        .unwrap();
    let mut bytes = fs::read(&database).unwrap();
    let begin = usize::try_from(root - 1).unwrap() * 4096;
    bytes[begin..begin + 4096].fill(0xa5);
    fs::write(&database, &bytes).unwrap();

    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let config = AgentConfig::new(DEVICE, directory.path())
        .uplink(&broker)
        .camera("stove", &format!("file://{}", videos::people().display()));
    let mut agent = Agent::start(config);
    let loss = district.wait_for_message(BOUND, "loss", |_| true);
    assert_eq!(loss["body"]["what"], "database");
    assert_eq!(loss["body"]["set_aside"], "agent.db.damaged-1");
    let rescued = district.wait_for_message(BOUND, "clock.fix", |message| message["id"] == good);
    assert_eq!(rescued["body"]["offset_ms"], 2);
    agent.assert_running();
    assert_eq!(fs::read(folder(directory.path()).join("agent.db.damaged-1")).unwrap(), bytes, "as it was found");
}
