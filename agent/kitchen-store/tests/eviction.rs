//! What goes when there is too much of it, or no room on the disk, and what is told of it.

mod support;

use std::fs;
use std::path::Path;

use kitchen_core::alert::AlertRecord;
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::recording::Segment;
use kitchen_core::rules::RuleId;
use kitchen_core::wire::Envelope;
use kitchen_store::{Quotas, RecordingFolder, Store, Tidied};
use serde_json::{Value, json};
use support::{body, clip, deliver, deliver_clip, later, open, snapshot, stamp};
use tempfile::tempdir;

const PLENTY: Quotas = Quotas { clips_bytes: 1 << 30, snapshots_bytes: 1 << 30, database_bytes: 1 << 30 };

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).expect("folder").count()
}

fn waiting(store: &Store, kind: OutboxKind) -> Vec<String> {
    let waiting = store.outbox_waiting(1000).expect("outbox").into_iter();
    waiting.filter(|row| row.kind == kind).map(|row| row.id).collect()
}

fn losses(store: &Store) -> Vec<Value> {
    let records = waiting(store, OutboxKind::Record).into_iter().map(|id| store.outbox_load(&id).expect("load"));
    let envelopes = records.filter_map(|payload| match payload {
        Some(Payload::Record { bytes, .. }) => Some(serde_json::from_slice::<Envelope>(&bytes).expect("envelope")),
        _ => None,
    });
    envelopes.filter(|envelope| envelope.kind == "loss").map(|envelope| envelope.body).collect()
}

/// Segments as the recording's thread writes them.
fn record(store: &Store, folder: &RecordingFolder, count: i64) -> Vec<Segment> {
    let segment = |second: i64| Segment {
        camera: "stove".to_owned(),
        boot: 1,
        boot_id: "8f3a2b1c".to_owned(),
        start: later(second),
        duration_ms: 10_000,
        opened: later(0).mono,
        first_pts_90k: 0,
        parameters: "0a1b2c3d".to_owned(),
        bytes: 600_000,
    };
    let segments: Vec<Segment> = (1..=count).map(segment).collect();
    for segment in &segments {
        folder.write(segment, &vec![5; 600_000]).expect("written");
    }
    store.note_recording(&segments, &[]).expect("noted");
    segments
}

#[test]
fn what_was_recorded_is_read_again_by_the_next_start_and_by_a_reader() {
    let dir = tempdir().expect("tempdir");
    let (state, folder) = (dir.path().join("store"), RecordingFolder::new(&dir.path().join("recording")));
    let store = open(&state, "boot-a");
    let segments = record(&store, &folder, 3);
    assert_eq!(store.oldest_recording(2).expect("listed"), segments[..2]);
    store.note_recording(&[], &segments[..1]).expect("noted");
    drop(store);
    let reader = Store::read_only(&state).expect("readable");
    assert_eq!(reader.recording().expect("listed"), segments[1..]);
    let held = reader.recording_held().expect("measured");
    assert_eq!((held[0].segments, held[0].bytes, held[0].duration_ms), (2, 1_200_000, 20_000));
    assert_eq!((held[0].oldest.start, held[0].newest.start), (segments[1].start, segments[2].start));
    assert_eq!(folder.with_unindexed(reader.recording().expect("listed")).expect("read"), segments, "what has no row");
}

#[test]
fn clips_that_the_district_has_go_first_and_those_that_wait_are_told() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id;
    let clips: Vec<String> = (0..5)
        .map(|seed| store.attach_clip(stamp(), &alert, clip(seed), body(RuleId::Phone)).expect("clip").clip_id)
        .collect();
    deliver_clip(&store, &clips[3], later(1)).expect("stored");

    let four = Quotas { clips_bytes: 4 * 70_000, ..PLENTY };
    assert_eq!(store.tidy(later(2), four).expect("tidy"), Tidied { clips: 1, ..Tidied::default() });
    assert_eq!(waiting(&store, OutboxKind::Clip).len(), 4);
    assert!(losses(&store).is_empty(), "the district has it");

    let two = Quotas { clips_bytes: 2 * 70_000 + 10, ..PLENTY };
    assert_eq!(store.tidy(later(3), two).expect("tidy"), Tidied { clips: 2, unsent: 2, ..Tidied::default() });
    assert_eq!(waiting(&store, OutboxKind::Clip), [clips[2].clone(), clips[4].clone()], "the oldest went");
    assert_eq!(losses(&store), [json!({ "what": "clips", "ids": [clips[0], clips[1]], "reason": "quota" })]);
    assert_eq!(files(&dir.path().join("clips")), 2);
    assert_eq!(store.tidy(later(4), two).expect("tidy"), Tidied::default(), "nothing more to do");
}

#[test]
fn pictures_of_open_alerts_stay() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alerts: Vec<_> = (0..3)
        .map(|seed| store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(seed))).expect("alert").alert_id)
        .collect();
    store.append_alert_record(later(1), &alerts[1], AlertRecord::Closed, body(RuleId::Phone)).expect("closed");
    let none = Quotas { snapshots_bytes: 0, ..PLENTY };
    assert_eq!(store.tidy(later(2), none).expect("tidy"), Tidied { snapshots: 1, unsent: 1, ..Tidied::default() });
    let rows = store.alerts(10).expect("alerts");
    assert_eq!(rows.iter().map(|row| row.snapshot.is_some()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(files(&dir.path().join("snapshots")), 4, "sent and clean one of each");
    assert_eq!(waiting(&store, OutboxKind::Alert).len(), 4, "the texts stay");
}

#[test]
fn old_alerts_are_forgotten_only_once_the_district_has_all_of_them() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let mut done = Vec::new();
    for number in 0..80 {
        let alert = store.open_alert(stamp(), body(RuleId::Phone), Some(snapshot(number))).expect("alert").alert_id;
        store.append_alert_record(later(1), &alert, AlertRecord::Closed, body(RuleId::Phone)).expect("closed");
        if number >= 10 {
            done.push(alert);
        }
    }
    let ids: Vec<String> = store.outbox_waiting(1000).expect("outbox").into_iter().map(|row| row.id).collect();
    let kept: Vec<String> =
        store.alerts(100).expect("alerts")[70..].iter().map(|row| row.alert_id.to_string()).collect();
    let receipts: Vec<String> = ids.into_iter().filter(|id| !kept.contains(id)).collect();
    deliver(&store, &receipts, later(2)).expect("receipted");

    let none = Quotas { database_bytes: 0, ..PLENTY };
    assert_eq!(store.tidy(later(3), none).expect("tidy").alerts, 50, "a part of the work at a time");
    assert_eq!(store.tidy(later(4), none).expect("tidy").alerts, 20);
    assert_eq!(store.tidy(later(5), none).expect("tidy").alerts, 0);
    let left: Vec<String> = store.alerts(100).expect("alerts").iter().map(|row| row.alert_id.to_string()).collect();
    assert_eq!(left, kept);
    assert_eq!(files(&dir.path().join("snapshots")), 20);
}

#[test]
fn files_whose_removal_was_cut_off_go_at_the_next_start() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id;
    let file = store.attach_clip(stamp(), &alert, clip(1), body(RuleId::Phone)).expect("clip").clip_id + ".mp4";
    drop(store);
    let connection = rusqlite::Connection::open(dir.path().join("agent.db")).expect("database");
    connection
        .execute_batch(&format!(
            "UPDATE clips SET evicted_at = 1; DELETE FROM outbox WHERE kind = 'clip'; \
             INSERT INTO garbage (folder, file) VALUES ('clips', '{file}'), ('clips', 'gone already');"
        ))
        .expect("as a killed agent leaves it");
    drop(connection);
    drop(open(dir.path(), "boot-a"));
    assert_eq!(files(&dir.path().join("clips")), 0);
}

#[test]
fn a_message_set_aside_can_be_queued_again_or_dropped_for_good() {
    let dir = tempdir().expect("tempdir");
    let store = open(dir.path(), "boot-a");
    let alert = store.open_alert(stamp(), body(RuleId::Phone), None).expect("alert").alert_id.to_string();
    store.outbox_sent(std::slice::from_ref(&alert), later(1).wall).expect("sent");
    store.outbox_set_aside(&alert, "failed 8 times while others got through", later(2)).expect("set aside");
    assert!(waiting(&store, OutboxKind::Alert).is_empty());
    assert!(store.outbox_requeue(&alert).expect("requeue"));
    assert_eq!(waiting(&store, OutboxKind::Alert), std::slice::from_ref(&alert));
    assert_eq!(store.outbox_waiting(10).expect("outbox")[0].attempts, 0);

    assert!(store.outbox_drop(&alert, later(3)).expect("drop"));
    assert!(waiting(&store, OutboxKind::Alert).is_empty());
    assert_eq!(losses(&store), [json!({ "what": "alert", "ids": [alert], "reason": "dropped by hand" })]);
    assert!(!store.outbox_drop(&alert, later(4)).expect("drop"));
    assert!(!store.outbox_requeue(&alert).expect("requeue"));
}
