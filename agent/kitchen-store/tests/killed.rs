//! The process is killed at any instant: what it has said to be committed is there, with its files.

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kitchen_core::alert::AlertBody;
use kitchen_core::outbox::Payload;
use kitchen_core::rules::RuleId;
use kitchen_core::wire::{MessageId, sha256_hex};
use kitchen_store::Store;
use support::{body, clip, open, snapshot, stamp};
use tempfile::tempdir;

const ROUNDS: usize = 12;
const DIRECTORY: &str = "KITCHEN_STORE_KILLED_DIRECTORY";
const BOOT: &str = "KITCHEN_STORE_KILLED_BOOT";

/// Not a test: the process that the test below kills.
#[test]
#[ignore = "run by the test below"]
fn child_opens_alerts() {
    let (Ok(directory), Ok(boot)) = (std::env::var(DIRECTORY), std::env::var(BOOT)) else { return };
    let store = open(Path::new(&directory), &boot);
    for turn in 0..=u8::MAX {
        let opened = store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(turn))).expect("alert");
        say("alert", &opened.alert_id.to_string());
        if turn % 3 == 0 {
            let with_snapshot = AlertBody { snapshot: opened.snapshot.clone(), ..body(RuleId::Fire) };
            let clip = store.attach_clip(stamp(), &opened.alert_id, clip(turn), with_snapshot).expect("clip");
            say("clip", &clip.clip_id);
        }
        if turn % 5 == 0 {
            store.outbox_sent(&[opened.alert_id.to_string()], stamp().wall).expect("sent");
            say("seen", &store.next_id().expect("id").to_string());
        }
    }
}

fn say(what: &str, id: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{what} {id}\n").as_bytes()).and_then(|()| out.flush()).expect("parent reads");
}

fn start_child(directory: &Path, boot: &str) -> Child {
    Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "child_opens_alerts", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(BOOT, boot)
        .stdout(Stdio::piped())
        .spawn()
        .expect("own program starts")
}

/// What the child said before it was killed `delay` after its first commit.
fn killed_after(delay: Duration, directory: &Path, boot: &str) -> Vec<(String, String)> {
    let mut child = start_child(directory, boot);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut said = Vec::new();
    let mut hear = |line: String| {
        if let Some((what @ ("alert" | "clip" | "seen"), id)) = line.split_once(' ') {
            said.push((what.to_owned(), id.to_owned()));
        }
    };
    for line in lines.by_ref().map_while(Result::ok) {
        let is_first = line.starts_with("alert ");
        hear(line);
        if is_first {
            break;
        }
    }
    let killer = std::thread::spawn(move || {
        std::thread::sleep(delay);
        child.kill().expect("kill");
        child.wait().expect("wait");
    });
    lines.map_while(Result::ok).for_each(&mut hear);
    killer.join().expect("killer");
    said
}

fn check(directory: &Path, boot: &str, said: &[(String, String)]) {
    let store = open(directory, boot);
    let rows = store.alerts(usize::MAX).expect("alerts");
    let stored: HashSet<String> = rows.iter().map(|row| row.alert_id.to_string()).collect();
    for (what, id) in said {
        match what.as_str() {
            "alert" => assert!(stored.contains(id), "alert {id} was committed and is gone"),
            "clip" => assert!(store.outbox_load(id).expect("load").is_some(), "clip {id} was committed and is gone"),
            _ => {}
        }
    }
    for row in &rows {
        let reference = row.body.snapshot.as_ref().expect("reference");
        let sent = fs::read(row.snapshot.as_ref().expect("snapshot row")).expect("snapshot file");
        let original = fs::read(row.original.as_ref().expect("original row")).expect("original file");
        assert_eq!(sha256_hex(&sent), reference.sha256);
        assert_eq!(sha256_hex(&original), reference.original_sha256);
    }
    for waiting in store.outbox_waiting(usize::MAX).expect("outbox") {
        match store.outbox_load(&waiting.id).expect("load") {
            Some(Payload::Clip { init, path }) => assert_eq!(sha256_hex(&fs::read(path).expect("clip")), init.sha256),
            Some(Payload::Record { .. } | Payload::Snapshot { .. }) => {}
            None => panic!("{} waits and has no payload", waiting.id),
        }
    }
    drop(store);
    let connection = rusqlite::Connection::open(directory.join("agent.db")).expect("database");
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
    assert_eq!(verdict, "ok");
    let broken: Option<String> = connection.query_row("PRAGMA foreign_key_check", [], |row| row.get(0)).ok();
    assert_eq!(broken, None);
}

#[test]
fn what_was_committed_survives_a_kill_at_any_instant() {
    let dir = tempdir().expect("tempdir");
    let mut said: Vec<(String, String)> = Vec::new();
    let mut last: Option<MessageId> = None;
    for round in 0..ROUNDS {
        let boot = format!("boot-{}", round / 3);
        let new = killed_after(Duration::from_millis(fastrand::u64(0..150)), dir.path(), &boot);
        assert!(!new.is_empty(), "the child said nothing");
        for (what, id) in &new {
            let id: MessageId = id.parse().expect("id");
            assert!(what == "clip" || last.as_ref().is_none_or(|last| *last < id), "{id} after {last:?}");
            last = last.max(Some(id));
        }
        said.extend(new);
        check(dir.path(), &boot, &said);
    }
    let leftovers = ["snapshots", "clips"].map(|folder| {
        let entries = fs::read_dir(dir.path().join(folder)).expect("folder");
        entries.filter(|entry| entry.as_ref().expect("entry").path().extension().is_some_and(|e| e == "tmp")).count()
    });
    assert_eq!(leftovers, [0, 0]);
    drop(Store::read_only(dir.path()).expect("still readable"));
}
