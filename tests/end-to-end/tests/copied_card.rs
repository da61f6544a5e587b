//! A memory card that was copied: two boxes with one identity at a time, and a card put back to an earlier day. What
//! either of them stored arrives with its own bytes, and the district notes that ids came twice.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kitchen_core::wire::sha256_hex;
use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, videos, wait_until};
use rusqlite::Connection;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(120);
/// Two boxes that throw each other off wait longer and longer for the next connection.
const FIGHT_BOUND: Duration = Duration::from_secs(400);
const RULE: &str = "score = 0.5\nwindow_s = 1\ncool_down_s = 1\nevidence = \"clip\"";

fn config(folder: &Path, broker: &Mosquitto) -> AgentConfig {
    fs::create_dir_all(folder).unwrap();
    AgentConfig::new(DEVICE, folder)
        .uplink(broker)
        .set("uplink.keepalive_s", 10)
        .set("clip.pre_s", 1)
        .set("clip.post_s", 1)
        .camera("stove", &format!("file://{}", videos::people().display()))
        .rule("intrusion", RULE)
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}

/// Id and SHA-256 of all that a store ever queued.
fn messages(folder: &Path) -> BTreeSet<(String, String)> {
    const ALL: &str = "SELECT id, envelope, NULL FROM records UNION ALL SELECT id, NULL, sha256 FROM snapshots \
        UNION ALL SELECT clip_id, NULL, init ->> 'sha256' FROM clips";
    let connection = Connection::open(folder.join("state/store/agent.db")).unwrap();
    let mut query = connection.prepare(ALL).unwrap();
    let rows = query.query_map([], |row| {
        let (id, envelope, sha256): (_, Option<Vec<u8>>, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((id, envelope.map(|bytes| sha256_hex(&bytes)).or(sha256).unwrap()))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// The same of the district, its files' bytes looked at.
fn at_the_district(district: &District) -> BTreeSet<(String, String)> {
    let connection = Connection::open(district.store().join("district.sqlite")).unwrap();
    let mut held = BTreeSet::new();
    let mut records = connection.prepare("SELECT id, sha256 FROM records").unwrap();
    held.extend(records.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap));
    for query in ["SELECT id, path FROM snapshots", "SELECT clip_id, path FROM clips WHERE state = 'stored'"] {
        let mut files = connection.prepare(query).unwrap();
        let files = files.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
        held.extend(files.map(|file| file.map(|(id, path)| (id, sha256_hex(&fs::read(path).unwrap()))).unwrap()));
    }
    held
}

/// Each box raises an alert after each start.
fn raise(agents: &mut [&mut Agent], count: usize) {
    for _ in 0..count {
        let with_clips = |agent: &Agent| agent.alerts().iter().filter(|alert| !alert["clip"].is_null()).count();
        let before: Vec<usize> = agents.iter().map(|agent| with_clips(agent)).collect();
        agents.iter_mut().for_each(|agent| agent.restart());
        wait_until(BOUND, "an alert with its clip on each box", || {
            agents.iter().zip(&before).all(|(agent, before)| with_clips(agent) > *before)
        });
    }
}

fn wait_until_delivered(agents: &[&Agent], bound: Duration) {
    wait_until(bound, "all alerts are closed, and nothing waits any more", || {
        agents.iter().all(|agent| {
            // A box that has just gone quiet still has to close what was open, which is a message too.
            let is_closed = agent.alerts().iter().all(|alert| !alert["closed_at"].is_null());
            let listed = agent.command(&["outbox", "list", "--json"]);
            is_closed && listed.code == 0 && listed.json()["messages"].as_array().unwrap().is_empty()
        })
    });
}

/// From now on nothing new is raised.
fn go_quiet(agent: &mut Agent) {
    agent.terminate();
    agent.config().clone().set("rules.intrusion.enabled", false).write();
    agent.restart();
}

#[test]
fn two_boxes_with_one_card_deliver_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
    let mut broker = Mosquitto::start();
    let district = District::start(&broker);
    let mut box_a = Agent::start(config(&first, &broker));
    raise(&mut [&mut box_a], 1);
    box_a.terminate();
    fs::create_dir_all(&second).unwrap();
    copy(&first.join("state"), &second.join("state"));

    // Both raise alerts under the same ids while nobody listens.
    broker.kill();
    let mut box_b = Agent::start(config(&second, &broker));
    raise(&mut [&mut box_a, &mut box_b], 2);
    go_quiet(&mut box_a);
    go_quiet(&mut box_b);
    broker.restart();
    wait_until_delivered(&[&box_a, &box_b], FIGHT_BOUND);
    box_a.kill();
    box_b.kill();

    let (a, b, held) = (messages(&first), messages(&second), at_the_district(&district));
    let ids =
        |messages: &BTreeSet<(String, String)>| messages.iter().map(|(id, _)| id.clone()).collect::<BTreeSet<_>>();
    let differing = ids(&a).intersection(&ids(&b)).count() - a.intersection(&b).count();
    assert!(differing >= 2, "only {differing} ids with different bytes");
    let missing: Vec<_> = a.union(&b).filter(|message| !held.contains(*message)).collect();
    assert_eq!(missing, Vec::<&(String, String)>::new(), "not at the district");
    let conflicts = district.events_of("conflict").len();
    assert!(conflicts > 0, "the district noted the copy");
    println!("{} and {} messages, {differing} ids used twice, {conflicts} conflicts noted", a.len(), b.len());
}

#[test]
fn a_card_put_back_to_yesterday_repeats_no_id_for_long_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("box");
    let yesterday = directory.path().join("yesterday");
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let mut agent = Agent::start(config(&folder, &broker));
    raise(&mut [&mut agent], 1);
    agent.kill();
    copy(&folder.join("state"), &yesterday);
    raise(&mut [&mut agent], 2);
    go_quiet(&mut agent);
    wait_until_delivered(&[&agent], BOUND);
    let today = messages(&folder);
    agent.kill();
    let former = agent.alerts()[0]["alert_id"].as_str().unwrap().split('.').next().unwrap().to_owned();

    copy(&yesterday, &folder.join("state"));
    agent = Agent::start(config(&folder, &broker));
    let renewed = district.wait_for_message(BOUND, "store.renewed", |_| true);
    let store = renewed["body"]["store"].as_str().unwrap().to_owned();
    assert_eq!(renewed["body"]["former"], *former);
    wait_until(BOUND, "the box shows itself as the new store", || {
        let states = district.events_of("state");
        states
            .last()
            .is_some_and(|event| event["state"]["body"]["session"]["store"] == *store && event["online"] == true)
    });
    raise(&mut [&mut agent], 1);
    assert!(agent.alerts()[0]["alert_id"].as_str().unwrap().starts_with(&store));
    go_quiet(&mut agent);
    wait_until_delivered(&[&agent], BOUND);
    agent.kill();

    let (after, held) = (messages(&folder), at_the_district(&district));
    let missing: Vec<_> = today.union(&after).filter(|message| !held.contains(*message)).collect();
    assert_eq!(missing, Vec::<&(String, String)>::new(), "not at the district");
    let conflicts = district.events_of("conflict").len();
    assert!(conflicts > 0, "the district noted that ids came twice");
    let alarms = district.events_of("alarm");
    assert!(!alarms.is_empty(), "the chain of evidence shows it");
    println!("{} messages before, {} after, {conflicts} conflicts noted", today.len(), after.len());
}
