//! Alerts, records, pictures and clips as an outsider sees them: payloads, rows and files.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kitchen_core::alert::{AlertRecord, CloseReason};
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::rules::RuleId;
use kitchen_core::wire::{Envelope, MessageId, Receipt, sha256_hex};
use kitchen_store::{Store, StoreError};
use support::{body, clip, deliver, deliver_clip, later, open, snapshot, stamp, wall};
use tempfile::tempdir;

fn ids(store: &Store) -> Vec<String> {
    store.outbox_waiting(100).expect("outbox").into_iter().map(|waiting| waiting.id).collect()
}

fn record(store: &Store, id: &str) -> (String, Vec<u8>) {
    match store.outbox_load(id).expect("load") {
        Some(Payload::Record { topic_leaf, bytes }) => (topic_leaf, bytes),
        other => panic!("{id}: {other:?}"),
    }
}

#[test]
fn an_opened_alert_waits_as_envelope_and_picture() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let opened = store.open_alert(stamp(), body(RuleId::Rodent), Some(snapshot(7))).expect("alert");
    let waiting = store.outbox_waiting(10).expect("outbox");
    assert_eq!(
        waiting.iter().map(|w| (w.kind, w.priority)).collect::<Vec<_>>(),
        [(OutboxKind::Alert, 0), (OutboxKind::Snapshot, 3)]
    );
    assert_eq!(waiting[0].id, opened.alert_id.to_string());
    assert_eq!(waiting[0].created, wall());

    let (leaf, bytes) = record(&store, &waiting[0].id);
    assert_eq!(leaf, "alert/rodent");
    assert_eq!(bytes.len() as u64, waiting[0].bytes);
    let envelope: Envelope = serde_json::from_slice(&bytes).expect("envelope");
    assert_eq!((envelope.id, envelope.kind.as_str()), (opened.alert_id.clone(), "alert.opened"));
    assert_eq!(envelope.device, "mh07-000123");
    assert_eq!(envelope.body["alert_id"], opened.alert_id.to_string());
    let reference = opened.snapshot.expect("reference");
    assert_eq!(envelope.body["snapshot"]["sha256"], reference.sha256);
    assert_eq!(envelope.body["snapshot"]["original_sha256"], sha256_hex(&snapshot(7).original));

    let Some(Payload::Snapshot { topic_leaf, bytes, properties }) = store.outbox_load(&waiting[1].id).expect("load")
    else {
        panic!("no snapshot");
    };
    assert_eq!(topic_leaf, format!("snapshot/{}", opened.alert_id));
    assert_eq!(bytes, snapshot(7).sent);
    let expected = [
        ("id", waiting[1].id.clone()),
        ("alert_id", opened.alert_id.to_string()),
        ("sha256", sha256_hex(&bytes)),
        ("width", "640".to_owned()),
        ("height", "360".to_owned()),
    ];
    assert_eq!(properties, expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn resent_bytes_are_the_same_also_after_a_restart() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let id = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id.to_string();
    let first = record(&store, &id);
    store.outbox_sent(std::slice::from_ref(&id), later(1000).wall).expect("sent");
    assert_eq!(record(&store, &id), first);
    drop(store);
    let store = open(dir.path(), "boot-b");
    assert_eq!(record(&store, &id), first);
    let waiting = &store.outbox_waiting(1).expect("outbox")[0];
    assert_eq!((waiting.attempts, waiting.sent), (1, Some(later(1000).wall)));
}

#[test]
fn ids_never_repeat_and_order_by_boot_and_sequence() {
    let dir = tempdir().expect("tempdir");
    let mut ids: Vec<MessageId> = Vec::new();
    for boot_id in ["boot-a", "boot-a", "boot-b", "boot-b", "boot-c"] {
        let store = open(dir.path(), boot_id);
        for _ in 0..70 {
            ids.push(store.next_id().expect("id"));
        }
        ids.push(store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id);
        ids.push(store.append_record(stamp(), "loss", serde_json::json!({})).expect("record"));
    }
    assert!(ids.windows(2).all(|pair| (pair[0].boot, pair[0].sequence) < (pair[1].boot, pair[1].sequence)));
    assert_eq!((ids[0].boot, ids.last().expect("some").boot), (1, 3));
    assert!(ids.iter().all(|id| id.store == ids[0].store));
    assert_eq!(ids[0].to_string().parse::<MessageId>().expect("valid id"), ids[0]);
}

#[test]
fn a_new_database_has_a_new_store_id_and_sessions_go_on() {
    let (one, other) = (tempdir().expect("tempdir"), tempdir().expect("tempdir"));
    let store = open(one.path(), "boot-a");
    let id = store.store_id();
    assert_ne!(id, open(other.path(), "boot-a").store_id());
    assert_eq!((store.next_session().expect("session").n, store.next_session().expect("session").n), (1, 2));
    drop(store);
    let store = open(one.path(), "boot-a");
    let session = store.next_session().expect("session");
    assert_eq!((session.store, session.n, store.boot()), (id, 3, 1));
}

#[test]
fn open_alerts_survive_and_can_be_closed_once() {
    let dir = tempdir().expect("tempdir");
    let opened = open(dir.path(), "boot-a").open_alert(stamp(), body(RuleId::Fire), Some(snapshot(1))).expect("alert");
    let store = open(dir.path(), "boot-b");
    store.open_alert(stamp(), body(RuleId::Phone), None).expect("another");
    let open_alerts = store.open_alerts().expect("open alerts");
    assert_eq!(open_alerts.len(), 2);
    assert_eq!(open_alerts[0].body.snapshot, opened.snapshot);

    let mut closing = open_alerts[0].body.clone();
    closing.reason = Some(CloseReason::Restart);
    let close = || store.append_alert_record(later(5000), &opened.alert_id, AlertRecord::Closed, closing.clone());
    let closed_id = close().expect("closes");
    assert!(matches!(close(), Err(StoreError::AlreadyClosed { .. })));
    assert_eq!(store.open_alerts().expect("open alerts").len(), 1);

    let row = store.alerts(10).expect("alerts").pop().expect("oldest");
    assert_eq!((row.closed_at, row.close_reason), (Some(later(5000).wall), Some(CloseReason::Restart)));
    assert_eq!(row.records.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>(), ["alert.opened", "alert.closed"]);
    let envelope: Envelope = serde_json::from_slice(&record(&store, &closed_id.to_string()).1).expect("envelope");
    assert_eq!(envelope.body["reason"], "restart");
}

#[test]
fn a_record_of_an_unknown_alert_is_refused_and_leaves_nothing() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let unknown = store.next_id().expect("id");
    let updated = store.append_alert_record(stamp(), &unknown, AlertRecord::Updated, body(RuleId::Fire));
    assert!(matches!(updated, Err(StoreError::UnknownAlert { .. })), "{updated:?}");
    let attached = store.attach_clip(stamp(), &unknown, clip(1), body(RuleId::Fire));
    assert!(matches!(attached, Err(StoreError::UnknownAlert { .. })), "{attached:?}");
    assert!(ids(&store).is_empty());
    assert_eq!(fs::read_dir(dir.path().join("clips")).expect("clips").count(), 0);
}

#[test]
fn a_clip_waits_last_and_its_file_stays_after_the_district_has_it() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert_id = store.open_alert(stamp(), body(RuleId::Fire), None).expect("alert").alert_id;
    let reference = store.attach_clip(stamp(), &alert_id, clip(9), body(RuleId::Fire)).expect("clip");
    let waiting = store.outbox_waiting(10).expect("outbox");
    assert_eq!(
        waiting.iter().map(|w| w.kind).collect::<Vec<_>>(),
        [OutboxKind::Alert, OutboxKind::Alert, OutboxKind::Clip]
    );
    let envelope: Envelope = serde_json::from_slice(&record(&store, &waiting[1].id).1).expect("envelope");
    assert_eq!((envelope.kind.as_str(), &envelope.body["clip_status"]), ("alert.clip", &"attached".into()));
    assert_eq!(envelope.body["clip"], serde_json::to_value(&reference).expect("json"));

    let Some(Payload::Clip { init, path }) = store.outbox_load(&reference.clip_id).expect("load") else {
        panic!("no clip");
    };
    assert_eq!(waiting[2].clip.as_ref(), Some(&init));
    assert_eq!((init.bytes, init.priority, init.chunk_bytes), (70_000, 4, 32_768));
    assert_eq!(init.expires, later(7 * support::DAY_MS).wall);
    assert_eq!(sha256_hex(&fs::read(&path).expect("file")), init.sha256);

    assert_eq!(deliver(&store, std::slice::from_ref(&init.clip_id), stamp()).expect("receipt").removed, 0);
    assert!(deliver_clip(&store, &init.clip_id, stamp()).expect("stored"));
    assert!(deliver_clip(&store, &init.clip_id, stamp()).expect("again"));
    assert!(store.outbox_load(&init.clip_id).expect("load").is_none());
    assert_eq!(store.alerts(1).expect("alerts")[0].clip.as_deref(), Some(path.as_path()));
    assert!(path.exists());
}

#[test]
fn alerts_are_listed_as_the_command_line_shows_them() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert_id = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(3))).expect("alert").alert_id;
    let id = alert_id.to_string();
    store.outbox_sent(std::slice::from_ref(&id), later(1000).wall).expect("sent");
    store.outbox_receipted(&[Receipt::of(&id)], later(2000).wall).expect("receipt");
    // While the agent has it open.
    let rows = Store::read_only(dir.path()).expect("reader").alerts(10).expect("alerts");
    assert_eq!(
        serde_json::to_value(&rows).expect("json"),
        serde_json::json!([{
            "alert_id": id, "rule": "phone", "tier": 3, "camera": "stove",
            "opened_at": "2026-11-24T05:12:31.250Z", "closed_at": null, "close_reason": null,
            "records": [{ "id": id, "type": "alert.opened", "sent": "2026-11-24T05:12:32.250Z",
                "receipted_at": "2026-11-24T05:12:33.250Z" }],
            "snapshot": dir.path().join("snapshots").join(format!("{id}.jpg")), "clip": null,
        }])
    );
    drop(store);
    // While it is down, and for somebody who may not write.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).expect("read-only");
    let reader = Store::read_only(dir.path()).expect("reader");
    assert_eq!(reader.alerts(10).expect("alerts"), rows);
    assert_eq!(reader.alerts_since(wall()).expect("count"), 1);
    assert_eq!(reader.alerts_since(later(1).wall).expect("count"), 0);
    assert_eq!(reader.outbox_waiting(10).expect("outbox").len(), 1);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("writable");
}

#[test]
fn reading_makes_no_database() {
    let dir = tempdir().expect("tempdir");
    let error = Store::read_only(dir.path()).expect_err("missing");
    assert!(matches!(error, StoreError::Missing { .. }));
    assert!(error.to_string().contains("agent.db"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0);
}

#[test]
fn a_second_agent_is_refused_until_the_first_has_gone() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let clone = store.clone();
    drop(store);
    let options = kitchen_store::OpenOptions { dir: dir.path(), device: "mh07-000123", boot_id: "boot-a" };
    assert!(matches!(Store::open(options), Err(StoreError::InUse { .. })));
    drop(clone);
    Store::open(options).expect("free again");
}

#[test]
fn a_database_of_a_newer_agent_is_refused() {
    let dir = tempdir().expect("tempdir");
    drop(open(dir.path(), "boot-a"));
    let connection = rusqlite::Connection::open(dir.path().join("agent.db")).expect("database");
    connection.pragma_update(None, "user_version", 99).expect("pragma");
    let options = kitchen_store::OpenOptions { dir: dir.path(), device: "mh07-000123", boot_id: "boot-a" };
    drop(Store::open(options).expect("an update that can be taken back"));
    connection.execute("UPDATE compatibility SET oldest_program = 98", []).expect("update");
    drop(connection);
    let error = Store::open(options).expect_err("newer");
    assert!(matches!(error, StoreError::SchemaNewer { found: 99, .. }), "{error}");
    assert!(matches!(Store::read_only(dir.path()), Err(StoreError::SchemaNewer { .. })));
}

#[test]
fn files_without_a_row_go_at_the_next_start_and_those_of_another_store_stay() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(3))).expect("alert");
    let snapshots = dir.path().join("snapshots");
    let orphan = snapshots.join(format!("{}.1.999999.jpg", store.store_id()));
    let temporary = snapshots.join("other.jpg.tmp");
    let foreign = snapshots.join("zzzzzzz.1.2.jpg");
    for path in [&orphan, &temporary, &foreign] {
        fs::write(path, b"jpeg").expect("written");
    }
    drop(store);
    let store = open(dir.path(), "boot-a");
    assert!(!orphan.exists() && !temporary.exists() && foreign.exists());
    let row = &store.alerts(1).expect("alerts")[0];
    assert_eq!(row.alert_id, alert.alert_id);
    assert!(row.snapshot.as_ref().is_some_and(|path| path.exists()));
    assert!(row.original.as_ref().is_some_and(|path| path.exists()));
}

#[test]
fn the_saved_time_is_there_after_a_restart() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    assert_eq!(store.saved_time(), None);
    store.save_time(wall());
    drop(store);
    assert_eq!(open(dir.path(), "boot-b").saved_time(), Some(wall()));
}
