//! A disk that fails at the n-th call that changes it: what was said to be committed is there, the store opens again.
//! `EVERY_FAULT=1` tries every n of the run, otherwise every ninth.

#![expect(clippy::print_stdout, reason = "the child speaks to its parent, the test tells its figures")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kitchen_core::alert::AlertRecord;
use kitchen_core::budget::{Bucket, Traffic, TrafficClass};
use kitchen_core::outbox::Payload;
use kitchen_core::rules::RuleId;
use kitchen_core::wire::sha256_hex;
use kitchen_store::{OpenOptions, Quotas, Store};
use serde_json::json;
use support::{body, clip, deliver_clip, later, open, snapshot, stamp};
use tempfile::tempdir;

const DIRECTORY: &str = "KITCHEN_STORE_FAULTY_DIRECTORY";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Calls that fail in a row: a hiccup, and a disk that has died or is full for good.
const HICCUP: u64 = 1;
const FOR_GOOD: u64 = 1_000_000;
const CLIPS: Quotas = Quotas { clips_bytes: 150_000, snapshots_bytes: 1 << 30, database_bytes: 1 << 30 };

/// Not a test: what the tests below run on the faulty disk. Whatever fails, it goes on, as the agent does; what is
/// accepted is said.
#[test]
#[ignore = "run by the tests below"]
fn child_works_on_the_faulty_disk() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let options = OpenOptions { dir: Path::new(&directory), device: "mh07-000123", boot_id: "boot-a" };
    let Ok(store) = Store::open(options) else { return };
    for turn in 0..5 {
        let Ok(opened) = store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(turn))) else { continue };
        say("alert", &opened.alert_id.to_string());
        if let Ok(clip) = store.attach_clip(stamp(), &opened.alert_id, clip(turn), body(RuleId::Fire)) {
            say("clip", &clip.clip_id);
            if turn == 0 && deliver_clip(&store, &clip.clip_id, later(1)).is_ok() {
                say("stored", &clip.clip_id);
            }
        }
        let closed = store.append_alert_record(later(1), &opened.alert_id, AlertRecord::Closed, body(RuleId::Fire));
        if let Ok(id) = closed {
            say("record", &id.to_string());
        }
        if let Ok(id) = store.append_record(stamp(), "clock.fix", json!({})) {
            say("record", &id.to_string());
            let _ = store.outbox_sent(&[id.to_string()], later(2).wall);
        }
        if store.save_ledger(stamp(), &[hour(turn)], json!({ "turn": turn })).is_ok() {
            say("hour", &turn.to_string());
        }
        store.save_time(later(i64::from(turn)).wall);
        let _ = store.tidy(later(3), CLIPS);
    }
}

/// An hour of the account.
fn hour(turn: u8) -> Bucket {
    let at = later(i64::from(turn) * 3_600_000);
    let classes = [Traffic { bytes: 1_000 + u64::from(turn), ..Traffic::default() }; TrafficClass::COUNT];
    Bucket { boot: 1, first: at.mono, last: at.mono, label: at.wall, classes }
}

fn say(what: &str, id: &str) {
    println!("\n{what} {id}");
}

/// The library that makes the disk fail, built once for a test's process.
fn shim(folder: &Path) -> PathBuf {
    let (source, library) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faulty_disk.c"), folder.join("faulty_disk.so"));
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(built.expect("a C compiler: apt install gcc").success(), "faulty_disk.c compiles");
    library
}

struct Fault {
    at: u64,
    count: u64,
    errno: i32,
}

/// What the child said, and how many calls it made.
fn run(library: &Path, directory: &Path, fault: Option<&Fault>) -> (Vec<(String, String)>, u64) {
    let report = directory.with_extension("calls");
    let mut child = Command::new(std::env::current_exe().expect("own path"));
    child
        .args(["--exact", "child_works_on_the_faulty_disk", "--ignored", "--nocapture", "--test-threads=1"])
        .env("LD_PRELOAD", library)
        .env("FAULT_DIRECTORY", directory)
        .env("FAULT_REPORT", &report)
        .env(DIRECTORY, directory);
    if let Some(fault) = fault {
        child
            .env("FAULT_AT", fault.at.to_string())
            .env("FAULT_COUNT", fault.count.to_string())
            .env("FAULT_ERRNO", fault.errno.to_string());
    }
    let output = child.output().expect("own program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.lines().filter_map(|line| line.split_once(' '));
    let said = said.filter(|(what, _)| ["alert", "clip", "record", "stored", "hour"].contains(what));
    let said = said.map(|(what, id)| (what.to_owned(), id.to_owned())).collect();
    let calls = fs::read_to_string(&report).expect("report").trim().parse().expect("a number");
    (said, calls)
}

/// On a sound disk again: everything accepted is there with its files, and nothing had to be rescued.
fn check(directory: &Path, said: &[(String, String)], context: &str) {
    let store = open(directory, "boot-b");
    assert!(!directory.join("agent.db.damaged-1").exists(), "{context}: the database was damaged");
    let ids =
        |wanted: &str| said.iter().filter(|(what, _)| what == wanted).map(|(_, id)| id.clone()).collect::<Vec<_>>();
    let rows = store.alerts(usize::MAX).expect("alerts");
    for alert in ids("alert") {
        let row = rows.iter().find(|row| row.alert_id.to_string() == alert);
        let row = row.unwrap_or_else(|| panic!("{context}: alert {alert} was accepted and is gone"));
        if let Some(path) = &row.snapshot {
            let reference = row.body.snapshot.as_ref();
            let bytes = fs::read(path).unwrap_or_else(|error| panic!("{context}: {}: {error}", path.display()));
            assert!(reference.is_none_or(|reference| reference.sha256 == sha256_hex(&bytes)), "{context}");
        }
    }
    let waiting: Vec<String> =
        store.outbox_waiting(usize::MAX).expect("outbox").into_iter().map(|row| row.id).collect();
    let lost: Vec<String> = waiting.iter().filter_map(|id| lost_clips(&store, id)).flatten().collect();
    for id in ids("record") {
        assert!(waiting.contains(&id), "{context}: record {id} was accepted and is gone");
    }
    for id in ids("clip") {
        let is_told = lost.contains(&id) || ids("stored").contains(&id);
        assert!(is_told || waiting.contains(&id), "{context}: clip {id} was accepted and is gone");
    }
    for id in &waiting {
        match store.outbox_load(id) {
            Ok(Some(Payload::Clip { init, path })) => {
                let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{context}: {}: {error}", path.display()));
                assert_eq!(sha256_hex(&bytes), init.sha256, "{context}");
            }
            Ok(Some(_)) => {}
            other => panic!("{context}: {id}: {other:?}"),
        }
    }
    let ledger = store.ledger(stamp().wall).expect("ledger");
    for turn in ids("hour") {
        let hour = hour(turn.parse().expect("a turn"));
        assert!(ledger.contains(&hour), "{context}: hour {turn} was accepted and is gone");
    }
    let counted = store.counting().expect("counting").and_then(|counting| counting["turn"].as_u64());
    let newest = ledger.last().map(|hour| hour.classes[0].bytes - 1_000);
    assert_eq!(counted, newest, "{context}: counting and hours are of one save");
    store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(9))).expect("and it goes on");
}

fn lost_clips(store: &Store, id: &str) -> Option<Vec<String>> {
    let Ok(Some(Payload::Record { bytes, .. })) = store.outbox_load(id) else { return None };
    let envelope: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let ids = envelope["body"]["ids"].as_array().filter(|_| envelope["type"] == "loss")?;
    Some(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

#[test]
fn a_disk_that_fails_at_any_call_takes_nothing_back() {
    // In memory where there is room for it: thousands of syncs.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempdir()).expect("tempdir");
    let library = shim(folder.path());
    let (said, calls) = run(&library, &folder.path().join("sound"), None);
    check(&folder.path().join("sound"), &said, "without a fault");
    assert!(said.len() >= 20, "the run does something: {said:?}");
    let step = if std::env::var("EVERY_FAULT").is_ok() { 1 } else { 9 };
    let mut tried = 0;
    for (errno, count) in [(EIO, HICCUP), (ENOSPC, HICCUP), (EIO, FOR_GOOD), (ENOSPC, FOR_GOOD)] {
        // Other places for each kind.
        for at in (1 + tried % step..=calls).step_by(usize::try_from(step).expect("small")) {
            let directory = folder.path().join(format!("{errno}-{count}-{at}"));
            let (said, _) = run(&library, &directory, Some(&Fault { at, count, errno }));
            check(&directory, &said, &format!("errno {errno} at call {at} of {calls}, {count} times"));
            fs::remove_dir_all(&directory).expect("removed");
            tried += 1;
        }
    }
    println!("{calls} calls that change the disk; {tried} faults, nothing accepted was lost");
}
