//! A database that is damaged: set aside, what can be read goes on, the loss is told.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kitchen_core::alert::AlertRecord;
use kitchen_core::outbox::Payload;
use kitchen_core::rules::RuleId;
use kitchen_core::wire::Envelope;
use kitchen_store::{OpenOptions, Store};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{body, clip, deliver, later, open, snapshot, stamp};
use tempfile::{TempDir, tempdir};

/// A store with alerts of all fates, closed; and the bytes of what waits, by id.
fn filled() -> (TempDir, BTreeMap<String, Vec<u8>>) {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    for number in 0..20 {
        let alert = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(number))).expect("alert").alert_id;
        if number % 3 == 0 {
            store.attach_clip(stamp(), &alert, clip(number), body(RuleId::Phone)).expect("clip");
        }
        store.append_alert_record(later(10), &alert, AlertRecord::Closed, body(RuleId::Phone)).expect("closed");
        if number % 2 == 0 {
            deliver(&store, &[alert.to_string()], later(20)).expect("receipted");
        }
        store.append_record(stamp(), "clock.fix", json!({ "padding": "x".repeat(900) })).expect("record");
    }
    store.save_time(later(5000).wall);
    let waiting = waiting(&store);
    (dir, waiting)
}

/// What waits: the bytes of records, the path of the rest.
fn waiting(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let load = |id: &str| match store.outbox_load(id).expect("load").expect("waits") {
        Payload::Record { bytes, .. } | Payload::Snapshot { bytes, .. } => bytes,
        Payload::Clip { path, .. } => fs::read(path).expect("clip"),
    };
    store.outbox_waiting(1000).expect("outbox").into_iter().map(|row| (row.id.clone(), load(&row.id))).collect()
}

fn losses(store: &Store) -> Vec<Value> {
    store.tell_losses(later(6000)).expect("told");
    let envelopes = waiting(store).into_values().filter_map(|bytes| serde_json::from_slice::<Envelope>(&bytes).ok());
    envelopes.filter(|envelope| envelope.kind == "loss").map(|envelope| envelope.body).collect()
}

fn database(dir: &Path) -> PathBuf {
    dir.join("agent.db")
}

fn set_aside(dir: &Path) -> PathBuf {
    dir.join("agent.db.damaged-1")
}

/// Opens the store after its database was damaged, and compares what waits with what waited.
fn reopened(dir: &Path, before: &BTreeMap<String, Vec<u8>>) -> (Store, Vec<Value>, usize) {
    let store = open(dir, "boot-b");
    let losses = losses(&store);
    let after = waiting(&store);
    for (id, bytes) in &after {
        if let Some(before) = before.get(id) {
            assert_eq!(before, bytes, "{id}");
        }
    }
    let missing = before.keys().filter(|id| !after.contains_key(*id)).count();
    (store, losses, missing)
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_a_fresh_store_takes_over() {
    let (dir, before) = filled();
    fs::write(database(dir.path()), b"not a database at all".repeat(1000)).expect("write");
    let former = fs::read(database(dir.path())).expect("read");
    let (store, losses, missing) = reopened(dir.path(), &before);
    assert_eq!(missing, before.len());
    assert_eq!(fs::read(set_aside(dir.path())).expect("set aside"), former, "the damaged file stays as it was");
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0]["set_aside"], "agent.db.damaged-1");
    assert_eq!(losses[0]["rescued"]["waiting"], 0);
    store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(9))).expect("goes on");
    drop(store);
    let store = open(dir.path(), "boot-b");
    assert_eq!(store.alerts(10).expect("alerts").len(), 1);
    assert!(!dir.path().join("agent.db.damaged-2").exists());
}

#[test]
fn a_truncated_database_gives_back_what_lies_in_its_rest() {
    let (dir, before) = filled();
    let length = fs::metadata(database(dir.path())).expect("there").len();
    let file = fs::OpenOptions::new().write(true).open(database(dir.path())).expect("open");
    file.set_len(length * 2 / 3).expect("truncate");
    let (_, losses, missing) = reopened(dir.path(), &before);
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert!(missing < before.len(), "something was rescued: {losses:?}");
    assert!(losses[0]["rescued"]["waiting"].as_u64() > Some(0));
}

#[test]
fn a_page_of_the_outbox_that_is_wiped_loses_no_message_that_its_record_still_holds() {
    let (dir, before) = filled();
    let root: i64 = rusqlite::Connection::open(database(dir.path()))
        .and_then(|connection| {
            connection.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'outbox'", [], |row| row.get(0))
        })
        .expect("root page");
    let file = fs::OpenOptions::new().write(true).open(database(dir.path())).expect("open");
    file.write_all_at(&[0; 4096], u64::try_from(root - 1).expect("page") * 4096).expect("wipe");
    let (store, losses, missing) = reopened(dir.path(), &before);
    assert_eq!(missing, 0, "{losses:?}");
    assert_eq!(losses.len(), 1);
    assert!(losses[0]["lost"]["incomplete"].as_array().expect("tables").contains(&json!("outbox")));
    assert_eq!(store.saved_time(), Some(later(5000).wall), "the clock's floor is kept");
}

#[test]
fn ids_of_the_new_store_are_not_those_of_the_former() {
    let (dir, before) = filled();
    let former = open(dir.path(), "boot-a").store_id();
    fs::OpenOptions::new()
        .write(true)
        .open(database(dir.path()))
        .and_then(|file| file.write_all_at(&[0xff; 64], 100))
        .expect("damage");
    let (store, ..) = reopened(dir.path(), &before);
    assert_ne!(store.store_id(), former);
    assert_eq!(store.boot(), 1);
}

#[test]
fn a_database_that_has_lost_its_version_is_rescued() {
    for version in [0, 1] {
        let (dir, before) = filled();
        let connection = rusqlite::Connection::open(database(dir.path())).expect("database");
        connection.pragma_update(None, "user_version", version).expect("pragma");
        drop(connection);
        let (_, losses, missing) = reopened(dir.path(), &before);
        assert_eq!((losses.len(), missing), (1, 0), "version {version}: {losses:?}");
    }
}

#[test]
fn a_mark_left_by_a_running_check_is_enough() {
    let (dir, before) = filled();
    let store = open(dir.path(), "boot-a");
    store.mark_damaged("row 3 missing from index outbox_order").expect("mark");
    drop(store);
    let (store, losses, missing) = reopened(dir.path(), &before);
    assert_eq!(missing, 0);
    assert_eq!(losses[0]["reason"], "row 3 missing from index outbox_order");
    drop(store);
    let store = open(dir.path(), "boot-b");
    assert!(!dir.path().join("agent.db.damaged-2").exists(), "once is enough");
    assert_eq!(store.boot(), 1);
}

#[test]
fn a_rescue_that_was_interrupted_is_done_again_or_ended() {
    let (dir, before) = filled();
    fs::write(dir.path().join("agent.db.rescue"), b"half filled").expect("write");
    let (store, losses, missing) = reopened(dir.path(), &before);
    assert_eq!((losses.len(), missing), (0, 0), "the database is sound");
    drop(store);
    assert!(!dir.path().join("agent.db.rescue").exists());

    // Killed after the new database was complete, before the damaged one went aside.
    let store = open(dir.path(), "boot-b");
    store.mark_damaged("test").expect("mark");
    drop(store);
    let store = open(dir.path(), "boot-b");
    let rescued = waiting(&store);
    drop(store);
    fs::rename(database(dir.path()), dir.path().join("agent.db.rescued")).expect("rename");
    fs::rename(set_aside(dir.path()), database(dir.path())).expect("rename");
    let store = open(dir.path(), "boot-b");
    assert_eq!(waiting(&store), rescued);
    assert!(set_aside(dir.path()).exists());
}

#[test]
fn only_the_newest_damaged_databases_are_kept() {
    let dir = tempdir().expect("tempdir");
    for _ in 0..4 {
        drop(open(dir.path(), "boot-a"));
        fs::write(database(dir.path()), [1; 5000]).expect("damage");
    }
    drop(open(dir.path(), "boot-a"));
    let kept = |number: u32| dir.path().join(format!("agent.db.damaged-{number}")).exists();
    assert_eq!([1, 2, 3, 4].map(kept), [false, false, true, true]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever bytes change: the store opens, lists what waits and goes on.
    #[test]
    fn no_flipped_bytes_keep_the_store_from_opening(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        let (dir, _) = filled();
        let path = database(dir.path());
        let mut bytes = fs::read(&path).expect("read");
        for (place, value) in &places {
            let place = place.index(bytes.len());
            bytes[place] = *value;
        }
        fs::write(&path, &bytes).expect("write");
        let options = OpenOptions { dir: dir.path(), device: "mh07-000123", boot_id: "boot-b" };
        let store = Store::open(options).expect("opens whatever happened");
        store.tell_losses(later(6000)).expect("losses told");
        let waiting = store.outbox_waiting(1000).expect("the outbox can be listed");
        for row in &waiting {
            // What was altered within a row is found when it is loaded, and set aside by who loads it.
            if let Ok(Some(Payload::Record { bytes, .. })) = store.outbox_load(&row.id) {
                prop_assert!(serde_json::from_slice::<Envelope>(&bytes).is_ok());
            }
        }
        store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(9))).expect("goes on");
    }
}
