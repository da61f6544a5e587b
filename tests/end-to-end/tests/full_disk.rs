//! A store on a disk that is full: alerts are kept, what had to go is told.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::fs;
use std::path::Path;

use kitchen_core::alert::{AlertBody, AlertRecord};
use kitchen_core::budget::{Bucket, Traffic, TrafficClass};
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::recording::Segment;
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::wire::Envelope;
use kitchen_store::{NewClip, NewSnapshot, OpenOptions, Quotas, RecordingFolder, Store, StoreCause};
use kitchen_test_support::{Disk, alert_body, new_clip};

fn stamp(second: u64) -> Stamp {
    let wall: Wall = "2026-11-24T05:12:31.250Z".parse().unwrap();
    let wall = Wall::from_unix_millis(wall.as_unix_millis() + i64::try_from(second * 1000).unwrap());
    Stamp { mono: Mono::from_millis(60_000 + second * 1000), wall, quality: TimeQuality::Ntp }
}

fn body(second: u64) -> AlertBody {
    alert_body(RuleId::Rodent, stamp(second).wall)
}

fn snapshot() -> NewSnapshot {
    NewSnapshot { sent: vec![7; 38_000], original: vec![8; 90_000], width: 640, height: 360 }
}

fn clip() -> NewClip {
    new_clip(vec![9; 600_000], stamp(0).wall)
}

fn open(dir: &Path) -> Store {
    Store::open(OpenOptions { dir, device: "mh07-000123", boot_id: "boot-a" }).unwrap()
}

/// An alert with its picture, its clip and its end, as the desk stores them; how many of the four were kept.
fn report(store: &Store, second: u64) -> usize {
    let opened = store.open_alert(stamp(second), body(second), Some(snapshot())).expect("an alert is always kept");
    let clip = store.attach_clip(stamp(second), &opened.alert_id, clip(), body(second)).is_ok();
    store.append_alert_record(stamp(second), &opened.alert_id, AlertRecord::Closed, body(second)).expect("closed");
    2 + usize::from(opened.snapshot.is_some()) + usize::from(clip)
}

fn waiting(store: &Store, kind: OutboxKind) -> Vec<String> {
    let waiting = store.outbox_waiting(10_000).unwrap().into_iter();
    waiting.filter(|row| row.kind == kind).map(|row| row.id).collect()
}

/// The clips and pictures of which a loss was recorded.
fn told(store: &Store) -> Vec<String> {
    let mut ids = Vec::new();
    for id in waiting(store, OutboxKind::Record) {
        let Some(Payload::Record { bytes, .. }) = store.outbox_load(&id).unwrap() else { continue };
        let envelope: Envelope = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((envelope.kind.as_str(), &envelope.body["reason"]), ("loss", &"disk_full".into()));
        ids.extend(envelope.body["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    ids
}

#[test]
fn alerts_go_on_when_their_own_clips_have_filled_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let _disk = Disk::mount(directory.path(), "size=28m");
    let store = open(directory.path());
    for second in 0..120 {
        assert_eq!(report(&store, second), 4, "alert {second} whole: older clips make room");
    }
    assert_eq!(waiting(&store, OutboxKind::Alert).len(), 3 * 120, "opened, clip and closed of each");
    let (clips, told) = (waiting(&store, OutboxKind::Clip), told(&store));
    assert_eq!(clips.len() + told.len(), 120, "each clip waits or is told as lost");
    println!("28 MB: 120 alerts kept, {} of 120 clips left", clips.len());
    drop(store);
    assert_eq!(waiting(&open(directory.path()), OutboxKind::Alert).len(), 360);
}

#[test]
fn evidence_takes_the_room_of_old_recordings_before_that_of_pictures_and_never_the_other_way_round() {
    let directory = tempfile::tempdir().unwrap();
    let _disk = Disk::mount(directory.path(), "size=40m");
    let folder = RecordingFolder::new(&directory.path().join("recording"));
    let store = open(&directory.path().join("store"));
    let kept: usize = (0..5).map(|second| report(&store, second)).sum();
    assert_eq!(kept, 20);
    let mut segments = Vec::new();
    loop {
        let segment = Segment {
            camera: "stove".to_owned(),
            boot: 1,
            boot_id: "8f3a2b1c".to_owned(),
            start: stamp(segments.len() as u64),
            duration_ms: 10_000,
            opened: Mono::ZERO,
            first_pts_90k: 0,
            parameters: "0a1b2c3d".to_owned(),
            bytes: 600_000,
        };
        let Err(error) = folder.write(&segment, &vec![5; 600_000]) else {
            segments.push(segment);
            continue;
        };
        assert_eq!(error.cause(), StoreCause::DiskFull);
        break;
    }
    store.note_recording(&segments, &[]).unwrap();
    let (clips, pictures) = (waiting(&store, OutboxKind::Clip), waiting(&store, OutboxKind::Snapshot));
    assert_eq!((clips.len(), pictures.len()), (5, 5), "the recording took nothing of the evidence's");
    // 128 KB of pictures each: first the clips that wait go, then the recording, and of the pictures none.
    for second in 100..160 {
        let opened = store.open_alert(stamp(second), body(second), Some(snapshot())).unwrap();
        assert!(opened.snapshot.is_some(), "alert {second} with its picture");
    }
    assert_eq!(waiting(&store, OutboxKind::Snapshot).len(), 65);
    let left = store.recording().unwrap();
    let gone = segments.len() - left.len();
    assert!(gone > 0 && left == segments[gone..], "the oldest {gone} of {} went", segments.len());
    println!("{gone} of {} segments and {} clips made room for 60 alerts", segments.len(), told(&store).len());
}

/// As after an update, which may bring tables and a key.
#[test]
fn a_store_whose_key_has_to_be_made_opens_on_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let _disk = Disk::mount(directory.path(), "size=24m");
    assert_eq!(report(&open(directory.path()), 0), 4);
    fs::remove_file(directory.path().join("evidence.key")).unwrap();
    let mut file = fs::File::create(directory.path().join("somebody's.log")).unwrap();
    while std::io::Write::write_all(&mut file, &[b'x'; 512]).is_ok() {}
    let store = open(directory.path());
    assert_eq!(waiting(&store, OutboxKind::Alert).len(), 3);
}

#[test]
fn the_reserve_alone_holds_many_texts_and_hours_of_the_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let _disk = Disk::mount(directory.path(), "size=24m");
    let store = open(directory.path());
    let mut file = fs::File::create(directory.path().join("somebody's.log")).unwrap();
    while std::io::Write::write_all(&mut file, &[b'x'; 512]).is_ok() {}
    let hour = |hour: u64| {
        let at = stamp(hour * 3600);
        let classes = [Traffic { bytes: 1 + hour, ..Traffic::default() }; TrafficClass::COUNT];
        Bucket { boot: 1, first: at.mono, last: at.mono, label: at.wall, classes }
    };
    for saved in 0..200 {
        store.save_ledger(stamp(saved * 3600), &[hour(saved)], saved.into()).expect("the reserve has room for it");
        store.append_record(stamp(saved * 3600), "clock.fix", serde_json::json!({})).expect("and for that");
    }
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.ledger(stamp(0).wall).unwrap(), (0..200).map(hour).collect::<Vec<_>>());
    assert_eq!(store.counting().unwrap(), Some(199.into()));
    assert_eq!(waiting(&store, OutboxKind::Record).len(), 200);
}

#[test]
fn alerts_go_on_when_somebody_else_has_filled_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let _disk = Disk::mount(directory.path(), "size=24m");
    let store = open(directory.path());
    assert_eq!(report(&store, 0), 4);
    let filler = vec![b'x'; 1 << 16];
    let log = directory.path().join("somebody's.log");
    let mut file = fs::File::create(&log).unwrap();
    while std::io::Write::write_all(&mut file, &filler).is_ok() {}
    let kept: usize = (1..200).map(|second| report(&store, second)).sum();
    let alerts = waiting(&store, OutboxKind::Alert).len();
    println!("full disk: 199 alerts kept with {} of 398 pictures and clips", kept - 2 * 199);
    assert!(alerts >= 400, "{alerts} texts of 200 alerts");

    drop(file);
    fs::remove_file(&log).unwrap();
    let plenty = Quotas { clips_bytes: 1 << 30, snapshots_bytes: 1 << 30, database_bytes: 1 << 30 };
    store.tidy(stamp(500), plenty).unwrap();
    assert!(directory.path().join("reserve").exists(), "the reserve is back");
    assert_eq!(report(&store, 501), 4, "and all is as before");
}
