//! The evidence chain: every record of an alert is linked and signed, over restarts, and a key that is damaged is told.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kitchen_core::alert::AlertRecord;
use kitchen_core::evidence::{Hash, Link, check};
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::rules::RuleId;
use kitchen_core::wire::ChainHead;
use kitchen_store::Store;
use serde_json::{Value, json};
use support::{body, clip, later, open, snapshot, stamp};
use tempfile::tempdir;

/// What waits, as it is sent, in the order of its ids.
fn records(store: &Store) -> Vec<(OutboxKind, Value)> {
    let mut waiting = store.outbox_waiting(1000).expect("outbox");
    waiting.sort_by_key(|row| row.id.rsplit('.').next().and_then(|number| number.parse::<u64>().ok()));
    let load = |id: &str| match store.outbox_load(id).expect("load") {
        Some(Payload::Record { bytes, .. }) => Some(serde_json::from_slice(&bytes).expect("an envelope")),
        _ => None,
    };
    waiting.iter().filter_map(|row| Some((row.kind, load(&row.id)?))).collect()
}

#[test]
fn every_record_of_an_alert_is_a_signed_link_behind_the_one_before() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    assert_eq!(
        store.chain_head().expect("head"),
        ChainHead { store: store.store_id(), count: 0, hash: Hash::ZERO },
        "nothing yet"
    );
    let alert = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert").alert_id;
    store.append_record(stamp(), "clock.fix", json!({})).expect("record");
    store.attach_clip(later(1), &alert, clip(1), body(RuleId::Phone)).expect("clip");
    let key = store.evidence_key();
    drop(store);
    let store = open(dir.path(), "boot-b");
    assert_eq!(store.evidence_key(), key, "the same box");
    store.append_alert_record(later(2), &alert, AlertRecord::Closed, body(RuleId::Phone)).expect("closed");

    let mut last = Hash::ZERO;
    let mut links: Vec<Link> = Vec::new();
    for (kind, record) in records(&store) {
        if kind != OutboxKind::Alert {
            assert!(record["body"].get("evidence").is_none(), "{record}");
            continue;
        }
        let link = check(&record, Some(&key)).expect("sound");
        assert_eq!(link.prev, last);
        last = link.hash;
        links.push(link);
    }
    assert_eq!(links.len(), 3);
    assert_eq!(
        store.chain_head().expect("head"),
        ChainHead { store: store.store_id(), count: 3, hash: last },
        "the head is the newest link"
    );
}

#[test]
fn a_store_that_takes_another_id_begins_a_new_chain_with_its_old_key() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id;
    let key = store.evidence_key();
    assert!(store.outbox_conflicted(&[alert.to_string()], later(1)).expect("conflicted"));
    assert_eq!(store.chain_head().expect("head").count, 0);
    store.append_alert_record(later(2), &alert, AlertRecord::Closed, body(RuleId::Phone)).expect("closed");
    let closed = records(&store).into_iter().map(|(_, record)| record).find(|record| record["type"] == "alert.closed");
    assert_eq!(check(&closed.expect("waits"), Some(&key)).expect("sound").prev, Hash::ZERO);
    assert_eq!(store.chain_head().expect("head").count, 1);
}

#[test]
fn the_key_is_for_its_owner_only_and_a_damaged_one_is_set_aside_and_told() {
    let dir = tempdir().expect("tempdir");
    let path = dir.path().join("evidence.key");
    let key = open(dir.path(), "boot-a").evidence_key();
    let mode = fs::metadata(&path).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&path, "half a ke").expect("written");

    let store = open(dir.path(), "boot-a");
    assert_ne!(store.evidence_key(), key);
    assert!(dir.path().join("evidence.key.damaged").exists());
    assert_eq!(store.tell_losses(later(1)).expect("told"), 1);
    let told = records(&store);
    assert_eq!((&told[0].1["type"], &told[0].1["body"]["what"]), (&"loss".into(), &"evidence_key".into()));
    assert!(!told[0].1.to_string().contains("half a ke"));
}

#[test]
fn a_flipped_bit_in_the_newest_link_keeps_no_alert_from_being_stored() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    for _ in 0..3 {
        store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert");
    }
    drop(store);
    let database = rusqlite::Connection::open(dir.path().join("agent.db")).expect("opens");
    database
        .execute_batch("UPDATE chain SET hash = CAST(X'ff' || CAST(hash AS BLOB) AS TEXT) WHERE number = 3")
        .expect("altered");
    drop(database);
    let store = open(dir.path(), "boot-a");
    store.open_alert(stamp(), body(RuleId::Phone), None).expect("an alert is stored all the same");
    let links: Vec<Link> = records(&store)
        .iter()
        .map(|(_, record)| check(record, Some(&store.evidence_key())).expect("each is sound by itself"))
        .collect();
    assert_eq!(links[3].prev, links[1].hash, "behind the newest that can be read");
    assert_eq!(store.chain_head().expect("head").count, 4);
}

#[test]
fn a_key_that_is_no_text_at_all_is_a_damaged_one_too() {
    let dir = tempdir().expect("tempdir");
    drop(open(dir.path(), "boot-a"));
    fs::write(dir.path().join("evidence.key"), [0xff; 40]).expect("no text at all");
    let store = open(dir.path(), "boot-a");
    assert_eq!(store.tell_losses(later(1)).expect("told"), 1);
}
