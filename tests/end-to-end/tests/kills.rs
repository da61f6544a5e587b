//! The agent killed at random instants of a run that raises alerts with pictures and clips: its database stays sound,
//! and everything that it had stored arrives once. `KILLS` and `KILL_SEED` in the environment make it longer, or repeat
//! a run.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use kitchen_store::{AlertRow, Store};
use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, preload, videos, wait_until};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(180);
/// Kills between two that wait for an alert first.
const ALERT_EVERY: u64 = 7;
const KILLS_A_DAY: u64 = 14;
const WRONG_CLOCK: &str = "tests/end-to-end/tests/wrong_clock.c";
const RULE: &str = "score = 0.5\nwindow_s = 1\ncool_down_s = 1\nevidence = \"clip\"";

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Mostly short lives: starting is when most is written at once; some long enough for a clip.
fn life(random: &mut fastrand::Rng) -> Duration {
    let longest_ms = [300, 800, 1500, 3000][random.usize(..4)];
    Duration::from_millis(20 + random.u64(..longest_ms))
}

fn stored(folder: &Path) -> Vec<AlertRow> {
    if !folder.join("agent.db").exists() {
        return Vec::new();
    }
    match Store::read_only(folder) {
        Ok(reader) => {
            assert_eq!(reader.damage_in_full().unwrap(), None, "the database is sound");
            reader.alerts(100_000).unwrap()
        }
        // Killed before the first schema was there.
        Err(error) => panic!("{error}"),
    }
}

fn ids(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_agent_killed_at_random_instants_loses_and_doubles_nothing() {
    let (kills, seed) = (number("KILLS", 50), number("KILL_SEED", u64::from(std::process::id())));
    println!("KILLS={kills} KILL_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let offset = directory.path().join("clock-offset");
    let broker = Mosquitto::start();
    let district = District::start(&broker);
    let config = AgentConfig::new(DEVICE, directory.path())
        .uplink(&broker)
        .set("uplink.keepalive_s", 10)
        .set("clip.pre_s", 1)
        .set("clip.post_s", 1)
        .camera("stove", &format!("file://{}", videos::people().display()))
        .rule("intrusion", RULE)
        .environment("LD_PRELOAD", preload(WRONG_CLOCK, directory.path()).to_str().unwrap())
        .environment("CLOCK_OFFSET_FILE", offset.to_str().unwrap());
    let folder = directory.path().join("state/store");
    let turn_to_day = |day: u64| fs::write(&offset, (day * 86_400).to_string()).unwrap();
    turn_to_day(0);
    let began = Instant::now();
    let mut agent = Agent::start(config);
    wait_until(BOUND, "the store is made", || Store::read_only(&folder).is_ok());
    let mut known = BTreeSet::new();
    for kill in 0..kills {
        // A day brings a limited number of alerts.
        turn_to_day(kill / KILLS_A_DAY);
        if kill % ALERT_EVERY == 0 {
            // However slow the machine is, the run shall raise alerts.
            let before = known.len();
            wait_until(BOUND, "a further alert", || {
                Store::read_only(&folder).unwrap().alerts(100_000).unwrap().len() > before
            });
        }
        sleep(life(&mut random));
        agent.kill();
        let rows = stored(&folder);
        let now: BTreeSet<String> = rows.iter().map(|row| row.alert_id.to_string()).collect();
        assert!(known.is_subset(&now), "kill {kill}: {:?} is gone", known.difference(&now));
        for row in &rows {
            for file in row.snapshot.iter().chain(&row.original).chain(&row.clip) {
                assert!(file.is_file(), "kill {kill}: {} is named and not there", file.display());
            }
        }
        known = now;
        agent.restart();
    }
    wait_until(BOUND, "everything stored is at the district", || {
        let status = agent.command(&["status", "--json"]);
        let waits = status.code <= 1 && status.json()["outbox"]["count"] != 0;
        !waits && stored(&folder).iter().all(|row| row.records[0].receipted_at.is_some())
    });
    agent.kill();
    let rows = stored(&folder);
    let opened: BTreeSet<String> = rows.iter().map(|row| row.alert_id.to_string()).collect();
    for kind in ["alert.opened", "alert.closed"] {
        let all = ids(&district.messages(kind));
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "{kind} came twice");
    }
    let arrived: BTreeSet<String> = ids(&district.messages("alert.opened")).into_iter().collect();
    assert!(opened.is_subset(&arrived), "at the district: {arrived:?}, on the box: {opened:?}");
    assert!(arrived.is_subset(&opened), "nothing was sent that was not stored: {:?}", arrived.difference(&opened));
    for trouble in ["conflict", "alarm"] {
        assert_eq!(district.events_of(trouble), Vec::<Value>::new());
    }
    assert!(!folder.join("agent.db.damaged-1").exists(), "no database had to be set aside");
    let clips = rows.iter().filter(|row| row.clip.is_some()).count();
    println!(
        "{kills} kills in {:.0} s: {} alerts, {clips} with clips, none lost, none doubled",
        began.elapsed().as_secs_f64(),
        rows.len()
    );
}
