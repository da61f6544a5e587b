//! What leaves the outbox and what stays: receipts, rejections, order and expiry.

mod support;

use kitchen_core::alert::AlertRecord;
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::wire::{ClipReceiptState, Envelope, MessageId, OutboxHealth, Receipt, sha256_hex, short_digest};
use kitchen_store::{Receipted, Store, StoreError};
use serde_json::json;
use support::{DAY_MS, answer, body, clip, later, open, snapshot, stamp, wall};
use tempfile::tempdir;

fn kinds(store: &Store) -> Vec<OutboxKind> {
    store.outbox_waiting(100).expect("outbox").into_iter().map(|waiting| waiting.kind).collect()
}

fn newest_record(store: &Store) -> Envelope {
    let waiting = store.outbox_waiting(1000).expect("outbox");
    let newest = waiting.iter().rfind(|waiting| waiting.kind == OutboxKind::Record).expect("a record");
    match store.outbox_load(&newest.id).expect("load") {
        Some(Payload::Record { topic_leaf, bytes }) => {
            assert_eq!(topic_leaf, "record");
            serde_json::from_slice(&bytes).expect("envelope")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_outbox_is_in_the_contracts_order() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let phone = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert").alert_id;
    store.attach_clip(stamp(), &phone, clip(1), body(RuleId::Phone)).expect("clip");
    let fire = store.open_alert(stamp(), body(RuleId::Fire), Some(snapshot(2))).expect("alert").alert_id;
    store.attach_clip(stamp(), &fire, clip(2), body(RuleId::Fire)).expect("clip");
    store.append_record(stamp(), "loss", json!({})).expect("record");
    let priorities: Vec<u8> =
        store.outbox_waiting(100).expect("outbox").iter().map(|waiting| waiting.priority).collect();
    assert_eq!(priorities, [0, 0, 1, 1, 1, 3, 3, 4, 6]);
    assert_eq!(store.outbox_waiting(2).expect("outbox")[0].id, fire.to_string());
}

#[test]
fn a_receipt_removes_exactly_its_row() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alerts: Vec<String> = (0..4)
        .map(|_| store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id.to_string())
        .collect();
    store.outbox_sent(&alerts, later(8).wall).expect("sent");
    let receipts = [&alerts[1], "k7f3qa.17.42", &alerts[1], "nonsense'"].map(Receipt::of);
    let receipted = |removed| Receipted { removed, still_waiting: Vec::new() };
    assert_eq!(store.outbox_receipted(&receipts, later(9).wall).expect("receipted"), receipted(1));
    assert_eq!(store.outbox_receipted(&receipts, later(9).wall).expect("receipted"), receipted(0));
    let left: Vec<String> = store.outbox_waiting(10).expect("outbox").into_iter().map(|waiting| waiting.id).collect();
    assert_eq!(left, [alerts[0].clone(), alerts[2].clone(), alerts[3].clone()]);
    assert!(store.outbox_load(&alerts[1]).expect("load").is_none());
    let receipted: Vec<bool> =
        store.alerts(10).expect("alerts").iter().map(|row| row.records[0].receipted_at.is_some()).collect();
    assert_eq!(receipted, [false, false, true, false]);
}

#[test]
fn a_receipt_for_what_was_never_sent_or_has_other_bytes_removes_nothing() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert").alert_id;
    let clip_id = store.attach_clip(stamp(), &alert, clip(1), body(RuleId::Phone)).expect("clip").clip_id;
    let list = store.outbox_waiting(10).expect("outbox");
    let ids: Vec<String> = list.iter().map(|row| row.id.clone()).collect();
    let (messages, clip_row) = (&ids[..3], &list[3]);
    assert_eq!(clip_row.id, clip_id);
    let sha256_of = |id: &str| match store.outbox_load(id).expect("load").expect("waits") {
        Payload::Record { bytes, .. } | Payload::Snapshot { bytes, .. } => sha256_hex(&bytes),
        Payload::Clip { init, .. } => init.sha256,
    };
    let hashes: Vec<String> = ids.iter().map(|id| sha256_of(id)).collect();
    let receipt = |index: usize, digest: String| Receipt { id: ids[index].clone(), digest: Some(digest) };
    let right: Vec<Receipt> = (0..3).map(|index| receipt(index, short_digest(&hashes[index]))).collect();
    let wrong: Vec<Receipt> = (0..3).map(|index| receipt(index, short_digest(&hashes[(index + 1) % 3]))).collect();
    let stored = |sha256: &str| answer(&clip_id, ClipReceiptState::Stored, Some(sha256));
    let all_wait = || Receipted { removed: 0, still_waiting: messages.to_vec() };

    assert_eq!(store.outbox_receipted(&right, later(1).wall).expect("never sent"), all_wait());
    assert!(!store.outbox_clip_stored(&stored(&hashes[3]), later(1).wall).expect("never sent"));
    store.outbox_sent(&ids, later(2).wall).expect("sent");
    assert_eq!(store.outbox_receipted(&wrong, later(3).wall).expect("other bytes"), all_wait());
    assert!(!store.outbox_clip_stored(&stored(&hashes[0]), later(3).wall).expect("another clip"));
    let rejected = answer(&clip_id, ClipReceiptState::Rejected, Some(&hashes[0]));
    assert!(!store.outbox_clip_rejected(&rejected, later(3)).expect("another clip"));
    assert_eq!(store.outbox_waiting(10).expect("outbox").len(), 4);

    // Of both messages of an id in one acknowledgement.
    let both: Vec<Receipt> = wrong.into_iter().zip(right).flat_map(|(wrong, right)| [wrong, right]).collect();
    let receipted = Receipted { removed: 3, still_waiting: Vec::new() };
    assert_eq!(store.outbox_receipted(&both, later(4).wall).expect("receipted"), receipted);
    assert!(store.outbox_clip_stored(&stored(&hashes[3]), later(4).wall).expect("stored"));
    assert_eq!(store.outbox_waiting(10).expect("outbox"), []);
}

#[test]
fn a_store_whose_ids_another_used_takes_a_new_name_and_tells_it() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let former = store.store_id();
    let alert = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id.to_string();
    let foreign = ["k7f3qa.1.1".to_owned(), "nonsense".to_owned()];
    assert!(!store.outbox_conflicted(&foreign, later(1)).expect("conflicted"), "ids of other stores");

    let ids = [alert.clone()];
    assert!(store.outbox_conflicted(&ids, later(1)).expect("conflicted"));
    assert!(!store.outbox_conflicted(&ids, later(2)).expect("again"), "once is enough");
    let renewed = store.store_id();
    assert_ne!(renewed, former);
    let record = newest_record(&store);
    assert_eq!((record.kind.as_str(), &record.id.store), ("store.renewed", &renewed));
    assert_eq!(record.body, json!({ "store": renewed, "former": former, "ids": ids }));
    assert_eq!(store.outbox_waiting(10).expect("outbox")[0].id, alert, "what waits keeps its id and bytes");

    let session = store.next_session().expect("session");
    assert_eq!((session.store.as_str(), session.n), (renewed.as_str(), 1));
    let next: MessageId = store.next_id().expect("id");
    drop(store);
    let store = open(dir.path(), "boot-a");
    assert_eq!((store.store_id(), &next.store), (renewed.clone(), &renewed));
    assert!(store.next_id().expect("id").sequence > next.sequence);
}

#[test]
fn a_rejected_clip_is_set_aside_and_recorded_once() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id;
    let clip_id = store.attach_clip(stamp(), &alert, clip(1), body(RuleId::Phone)).expect("clip").clip_id;
    store.outbox_sent(std::slice::from_ref(&clip_id), later(1).wall).expect("sent");
    for (id, at) in [(&*clip_id, 1), (&clip_id, 2), ("k7f3qa.17.42", 2)] {
        let rejected = answer(id, ClipReceiptState::Rejected, None);
        assert!(store.outbox_clip_rejected(&rejected, later(at)).expect("rejected"));
    }
    assert_eq!(kinds(&store), [OutboxKind::Alert, OutboxKind::Alert, OutboxKind::Record]);
    assert!(store.outbox_load(&clip_id).expect("load").is_none());
    let record = newest_record(&store);
    assert_eq!(record.kind, "set_aside");
    assert_eq!(record.body, json!({ "id": clip_id, "kind": "clip", "reason": "too large" }));
}

#[test]
fn a_damaged_picture_is_not_sent() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert");
    let path = store.alerts(1).expect("alerts")[0].snapshot.clone().expect("path");
    let id = store.outbox_waiting(10).expect("outbox")[1].id.clone();
    std::fs::write(&path, b"other").expect("written");
    assert!(matches!(store.outbox_load(&id), Err(StoreError::Damaged { .. })));
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(store.outbox_load(&id), Err(StoreError::File { .. })));
    assert!(store.outbox_set_aside(&id, "file lost", later(1)).expect("set aside"));
    assert_eq!(kinds(&store), [OutboxKind::Alert, OutboxKind::Record]);
}

#[test]
fn health_counts_what_waits() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    assert_eq!(store.outbox_health(wall()).expect("health"), OutboxHealth::default());
    store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert");
    let text = store.outbox_waiting(1).expect("outbox")[0].bytes;
    let health = store.outbox_health(later(61_500).wall).expect("health");
    assert_eq!(health, OutboxHealth { count: 2, bytes: text + 3000, oldest_s: 61 });
    // A clock that was set back makes nothing older.
    assert_eq!(store.outbox_health(Wall::from_unix_millis(0)).expect("health").oldest_s, 0);
}

#[test]
fn clips_expire_after_7_days_pictures_after_30_and_texts_never() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert").alert_id;
    let clip_id = store.attach_clip(stamp(), &alert, clip(1), body(RuleId::Phone)).expect("clip").clip_id;
    store.append_alert_record(stamp(), &alert, AlertRecord::Updated, body(RuleId::Phone)).expect("update");
    assert_eq!(store.expire(later(7 * DAY_MS - 1)).expect("expire"), 0);
    let untrusted = Stamp { quality: TimeQuality::Floor, ..later(400 * DAY_MS) };
    assert_eq!(store.expire(untrusted).expect("expire"), 0);

    assert_eq!(store.expire(later(7 * DAY_MS)).expect("expire"), 1);
    let record = newest_record(&store);
    assert_eq!(record.kind, "expired");
    assert_eq!(record.body, json!({ "kind": "clip", "count": 1, "ids": [clip_id] }));
    assert_eq!(store.expire(later(30 * DAY_MS)).expect("expire"), 1);
    assert_eq!(newest_record(&store).body["kind"], "snapshot");
    assert_eq!(store.expire(later(4000 * DAY_MS)).expect("expire"), 0);
    assert_eq!(kinds(&store).iter().filter(|kind| **kind == OutboxKind::Alert).count(), 3);
    let row = &store.alerts(1).expect("alerts")[0];
    assert!(row.snapshot.as_ref().is_some_and(|path| path.exists()), "the picture stays on the box");
}

#[test]
fn a_label_of_an_untrusted_clock_expires_by_uptime() {
    let dir = tempdir().expect("tempdir");
    let at = |days: u64, wall: Wall, quality| Stamp { mono: Mono::from_millis(days * 86_400_000), wall, quality };
    let store = open(dir.path(), "boot-a");
    let floor = at(1, Wall::from_unix_millis(0), TimeQuality::Floor);
    store.open_alert(floor, body(RuleId::Phone), Some(snapshot(1))).expect("alert");
    // The right time arrives: the label looks half a century old, the picture is a minute old.
    assert_eq!(store.expire(at(1, wall(), TimeQuality::Ntp)).expect("expire"), 0);
    assert_eq!(store.expire(at(21, wall(), TimeQuality::Ntp)).expect("expire"), 0);
    drop(store);
    let store = open(dir.path(), "boot-b");
    assert_eq!(store.expire(at(9, wall(), TimeQuality::Ntp)).expect("expire"), 0);
    assert_eq!(store.expire(at(10, wall(), TimeQuality::Ntp)).expect("expire"), 1);
}

const YEARS_10: i64 = 3_652 * DAY_MS;

/// `later(ms)` on a wall clock that is off by `off_ms` and still looks right.
fn off(ms: i64, off_ms: i64) -> Stamp {
    let stamp = later(ms);
    Stamp { wall: Wall::from_unix_millis(stamp.wall.as_unix_millis() + off_ms), ..stamp }
}

#[test]
fn a_clock_that_jumps_ten_years_ahead_expires_nothing() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert");
    drop(store);
    let store = open(dir.path(), "boot-b");
    store.open_alert(later(1), body(RuleId::Phone), Some(snapshot(2))).expect("alert");
    assert_eq!(store.expire(off(2, YEARS_10)).expect("expire"), 0);
    drop(store);
    // The agent alone starts again while the clock is wrong.
    let store = open(dir.path(), "boot-b");
    assert_eq!(store.expire(off(3, YEARS_10)).expect("expire"), 0);
    assert_eq!(store.expire(later(29 * DAY_MS)).expect("expire"), 0);
    assert_eq!(
        store.expire(later(30 * DAY_MS)).expect("expire"),
        1,
        "of the first boot, by the time that is right again"
    );
    assert_eq!(store.expire(later(30 * DAY_MS + 1)).expect("expire"), 1);
}

#[test]
fn a_label_of_ten_years_ahead_does_not_wait_for_them() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    store.open_alert(off(0, YEARS_10), body(RuleId::Phone), Some(snapshot(1))).expect("alert");
    assert_eq!(store.expire(later(29 * DAY_MS)).expect("expire"), 0);
    drop(store);
    let store = open(dir.path(), "boot-b");
    // Thirty days of uptime in both boots together.
    assert_eq!(store.expire(later(DAY_MS)).expect("expire"), 1);
}

#[test]
fn an_expiry_of_many_is_told_in_short_records() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    for _ in 0..230 {
        store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(1))).expect("alert");
    }
    assert_eq!(store.expire(later(31 * DAY_MS)).expect("expire"), 230);
    let records: Vec<u64> = store
        .outbox_waiting(1000)
        .expect("outbox")
        .iter()
        .filter(|waiting| waiting.kind == OutboxKind::Record)
        .map(|waiting| waiting.bytes)
        .collect();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|bytes| *bytes < 2048), "{records:?}");
}
