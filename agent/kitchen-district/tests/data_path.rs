//! Box and district over a real Mosquitto: what is in the outbox arrives once, whatever is killed meanwhile.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod parts;

use std::collections::BTreeSet;
use std::time::Duration;

use kitchen_district::DistrictEvent;
use kitchen_uplink::{Link, LinkEvent, LinkOptions, Outbox as _};
use parts::{DEVICE, Kitchen, LIMIT, Mosquitto, district, eventually, next_event, noise, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_a_snapshot_and_a_clip_arrive_and_are_receipted() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("district");
    let mut district = district(&broker, &store);
    let kitchen = Kitchen::open(&broker);
    let clip = noise(300_000, 1);
    std::fs::write(folder.path().join("clip.mp4"), &clip).unwrap();
    let alerts: Vec<String> = (0..20).map(|_| kitchen.outbox.add_alert()).collect();
    let picture = noise(38_000, 2);
    let snapshot_id = kitchen.outbox.add_snapshot(&alerts[0], picture.clone());
    let clip_id = kitchen.outbox.add_clip(&alerts[0], folder.path().join("clip.mp4"));
    kitchen.wake.notify_one();
    kitchen.emptied().await;

    let mut seen = Vec::new();
    for _ in 0..22 {
        match next_event(&mut district).await {
            DistrictEvent::Alert { device, id, kind, rule, record, .. } => {
                assert_eq!((device.as_str(), kind.as_str(), rule.as_str()), (DEVICE, "alert.opened", "no_mask"));
                assert_eq!(record["id"], id.as_str());
                seen.push(id);
            }
            DistrictEvent::Snapshot { id, alert_id, path, .. } => {
                assert_eq!((id.as_str(), alert_id.as_str()), (snapshot_id.as_str(), alerts[0].as_str()));
                assert_eq!(path, store.join(DEVICE).join("snapshots").join(format!("{alert_id}.jpg")));
                assert_eq!(std::fs::read(path).unwrap(), picture);
            }
            DistrictEvent::Clip { clip_id: id, alert_id, path, .. } => {
                assert_eq!((&id, alert_id.as_ref()), (&clip_id, Some(&alerts[0])));
                assert_eq!(path, store.join(DEVICE).join("clips").join(format!("{id}.mp4")));
                assert_eq!(std::fs::read(path).unwrap(), clip);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, alerts, "each once, oldest first");
    eventually("a heartbeat", || rows(&store, "SELECT leaf FROM last_values ORDER BY leaf") == ["heartbeat", "state"])
        .await;
    assert!(kitchen.status.borrow().connected_since.is_some());
    assert!(kitchen.status.borrow().last_receipt.is_some());
    kitchen.stop().await;
    loop {
        if let DistrictEvent::State { online: false, state, .. } = district.next().await.unwrap() {
            assert_eq!(state["body"]["reason"], "stopped");
            break;
        }
    }
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_again_and_again_loses_and_doubles_nothing() {
    let mut broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("district");
    let mut district = district(&broker, &store);
    let kitchen = Kitchen::open(&broker);
    std::fs::write(folder.path().join("clip.mp4"), noise(2_000_000, 3)).unwrap();
    let mut alerts = BTreeSet::new();
    let mut pictures = 0;
    for round in 0..3_u64 {
        for number in 0..40 {
            let alert = kitchen.outbox.add_alert();
            if number % 8 == 0 {
                kitchen.outbox.add_snapshot(&alert, noise(30_000, round * 100 + number));
                pictures += 1;
            }
            alerts.insert(alert);
        }
        let first = alerts.first().unwrap();
        kitchen.outbox.add_clip(first, folder.path().join("clip.mp4"));
        kitchen.wake.notify_one();
        let before = kitchen.outbox.count();
        eventually("some are receipted", || kitchen.outbox.count() + 5 < before).await;
        broker.kill();
        broker.start_again();
    }
    kitchen.emptied().await;

    let mut seen = BTreeSet::new();
    let mut others = 0;
    while seen.len() < alerts.len() || others < pictures + 3 {
        match next_event(&mut district).await {
            DistrictEvent::Alert { id, .. } => assert!(seen.insert(id), "told twice"),
            DistrictEvent::Snapshot { .. } | DistrictEvent::Clip { .. } => others += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, alerts);
    assert_eq!(rows(&store, "SELECT id FROM records").len(), alerts.len());
    assert_eq!(rows(&store, "SELECT id FROM snapshots").len() as u64, pictures);
    assert_eq!(rows(&store, "SELECT state FROM clips"), ["stored", "stored", "stored"]);
    assert_eq!(rows(&store, "SELECT id FROM conflicts").len(), 0);
    assert_eq!(kitchen.outbox.set_aside.lock().unwrap().len(), 0);
    kitchen.stop().await;
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_larger_than_the_broker_takes_holds_nothing_up() {
    // The first limit is announced to the client, the second is not.
    for limit in ["max_packet_size 20000", "message_size_limit 20000"] {
        let broker = Mosquitto::start_with(limit);
        let folder = tempfile::tempdir().unwrap();
        let mut district = district(&broker, &folder.path().join("district"));
        let kitchen = Kitchen::open(&broker);
        let clip = noise(150_000, 4);
        std::fs::write(folder.path().join("clip.mp4"), &clip).unwrap();
        let first = kitchen.outbox.add_alert();
        let snapshot = kitchen.outbox.add_snapshot(&first, noise(38_000, 2));
        for _ in 0..20 {
            kitchen.outbox.add_alert();
        }
        kitchen.outbox.add_snapshot(&first, noise(8_000, 3));
        // Its chunks are cut smaller.
        kitchen.outbox.add_clip(&first, folder.path().join("clip.mp4"));
        kitchen.wake.notify_one();
        eventually("all but the large one are receipted", || kitchen.outbox.count() == 1).await;
        assert!(kitchen.outbox.load(&snapshot).unwrap().is_some(), "it is not lost either");
        let mut clips = 0;
        for _ in 0..23 {
            if let DistrictEvent::Clip { path, .. } = next_event(&mut district).await {
                assert_eq!(std::fs::read(path).unwrap(), clip);
                clips += 1;
            }
        }
        assert_eq!(clips, 1);
        kitchen.stop().await;
        district.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_takes_one_message_at_a_time_gets_all() {
    // Announced as the receive maximum.
    let broker = Mosquitto::start_with("max_inflight_messages 1");
    let folder = tempfile::tempdir().unwrap();
    let district = district(&broker, &folder.path().join("district"));
    let kitchen = Kitchen::open(&broker);
    let first = kitchen.outbox.add_alert();
    for _ in 0..50 {
        kitchen.outbox.add_alert();
    }
    std::fs::write(folder.path().join("clip.mp4"), noise(300_000, 4)).unwrap();
    kitchen.outbox.add_clip(&first, folder.path().join("clip.mp4"));
    kitchen.wake.notify_one();
    kitchen.emptied().await;
    kitchen.stop().await;
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_wants_to_hear_more_often_keeps_its_box() {
    // The box would ping every 300 s; Mosquitto ends a link after 1.5 times its own 10 s.
    let broker = Mosquitto::start_with("max_keepalive 10");
    let mut link = Link::open(&LinkOptions::new(&broker.url(), DEVICE), None).unwrap();
    assert!(matches!(link.next().await, LinkEvent::Connected { .. }));
    let ended = tokio::time::timeout(Duration::from_secs(18), link.next()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_district_killed_in_a_clip_goes_on_with_what_lacks() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("district");
    let clip = noise(6_000_000, 4);
    std::fs::write(folder.path().join("clip.mp4"), &clip).unwrap();

    let mut options = LinkOptions::new(&broker.url(), "observer");
    options.subscriptions = vec![format!("kitchen/v1/{DEVICE}/up/clip/#")];
    let mut observer = Link::open(&options, None).unwrap();
    assert!(matches!(observer.next().await, LinkEvent::Connected { .. }));
    let (sender, mut chunks) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let LinkEvent::Message(message) = observer.next().await {
            if let Ok(offset) = message.topic.rsplit('/').next().unwrap().parse::<u64>() {
                sender.send(offset).unwrap();
            }
        }
    });

    let first = district(&broker, &store);
    let kitchen = Kitchen::open(&broker);
    let alert = kitchen.outbox.add_alert();
    kitchen.outbox.add_clip(&alert, folder.path().join("clip.mp4"));
    kitchen.wake.notify_one();
    let received = "SELECT received FROM clips WHERE received LIKE '[[0,%' AND state = 'receiving'";
    eventually("a part is there", || !rows(&store, received).is_empty()).await;
    drop(first);
    let mut second = district(&broker, &store);
    kitchen.emptied().await;

    loop {
        if let DistrictEvent::Clip { path, .. } = next_event(&mut second).await {
            assert_eq!(std::fs::read(path).unwrap(), clip);
            break;
        }
    }
    kitchen.stop().await;
    let mut count = 0;
    while tokio::time::timeout(LIMIT / 60, chunks.recv()).await.is_ok_and(|offset| offset.is_some()) {
        count += 1;
    }
    let needed = clip.len().div_ceil(32_768);
    assert!((needed..needed * 3 / 2).contains(&count), "{count} chunks sent, {needed} needed: it started over");
    second.stop().await;
}
