//! The evidence of a box on receipt: what is altered, signed by another, or cut back is told as an alarm, and kept.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod parts;

use kitchen_core::evidence::{EvidenceKey, Hash, Link, digest};
use kitchen_district::{District, DistrictEvent};
use kitchen_uplink::{Link as MqttLink, LinkEvent, LinkOptions, Publication};
use parts::{DEVICE, LIMIT, Mosquitto, district, envelope, rows};
use serde_json::{Value, json};

/// A box's messages, and what the district says of them.
struct Site {
    district: District,
    link: MqttLink,
    folder: tempfile::TempDir,
    _broker: Mosquitto,
}

impl Site {
    async fn start() -> Self {
        let broker = Mosquitto::start();
        let folder = tempfile::tempdir().unwrap();
        let mut district = district(&broker, folder.path());
        district.connected().await;
        let mut link = MqttLink::open(&LinkOptions::new(&broker.url(), DEVICE), None).unwrap();
        assert!(matches!(link.next().await, LinkEvent::Connected { .. }));
        Self { district, link, folder, _broker: broker }
    }

    /// Sends a message and what marks its end; the alarms until then.
    async fn alarms_of(&mut self, leaf: &str, message: &Value) -> Vec<String> {
        let topic = |leaf: &str| format!("kitchen/v1/{DEVICE}/up/{leaf}");
        let publish = |leaf: &str, payload: Vec<u8>| {
            self.link.publisher().publish(Publication::new(topic(leaf), payload)).unwrap();
        };
        publish(leaf, message.to_string().into_bytes());
        publish("reported", envelope(next_sequence(), "reported", json!({})).to_bytes());
        let mut alarms = Vec::new();
        loop {
            match tokio::time::timeout(LIMIT, self.district.next()).await.unwrap().unwrap() {
                DistrictEvent::Alarm { reason, .. } => alarms.push(reason),
                DistrictEvent::Reported { .. } => return alarms,
                _ => {}
            }
        }
    }
}

/// Each end mark is another message.
fn next_sequence() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(10_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn value(sequence: u64, kind: &str, body: Value) -> Value {
    serde_json::from_slice(&envelope(sequence, kind, body).to_bytes()).unwrap()
}

/// A record of an alert, linked behind `prev`.
fn linked(sequence: u64, prev: Hash, key: &EvidenceKey) -> (Value, Link) {
    let mut record = value(sequence, "alert.opened", json!({ "score": sequence }));
    let link = key.link(prev, digest(&record).unwrap());
    record["body"]["evidence"] = serde_json::to_value(&link).unwrap();
    (record, link)
}

fn state(sequence: u64, key: &EvidenceKey) -> Value {
    let session = json!({ "store": "k7f3qa", "n": sequence });
    let key = key.public().to_string();
    value(sequence, "state", json!({ "online": true, "session": session, "agent": "0.1.0", "evidence_key": key }))
}

fn heartbeat(sequence: u64, count: u64, hash: Hash) -> Value {
    let head = json!({ "store": "k7f3qa", "count": count, "hash": hash });
    value(sequence, "heartbeat", json!({ "cameras": [], "chain_head": head }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_chain_raises_no_alarm_and_its_flaws_raise_one_each() {
    let mut site = Site::start().await;
    let (key, other) = (EvidenceKey::from_seed([1; 32]), EvidenceKey::from_seed([2; 32]));
    let none: [&str; 0] = [];
    assert_eq!(site.alarms_of("state", &state(1, &key)).await, none);
    let (first, one) = linked(2, Hash::ZERO, &key);
    let (second, two) = linked(3, one.hash, &key);
    // Grave alerts overtake others, so that links come in any order.
    for record in [&second, &first, &first] {
        assert_eq!(site.alarms_of("alert/rodent", record).await, none);
    }
    assert_eq!(site.alarms_of("heartbeat", &heartbeat(4, 2, two.hash)).await, none);

    let (mut altered, _) = linked(5, two.hash, &key);
    altered["body"]["score"] = 6.into();
    let (foreign, _) = linked(6, two.hash, &other);
    let bare = value(7, "alert.opened", json!({}));
    let (fork, _) = linked(8, one.hash, &key);
    for (record, expected) in
        [(altered, "is not the one"), (foreign, "another key"), (bare, "no evidence"), (fork, "earlier day")]
    {
        let alarms = site.alarms_of("alert/rodent", &record).await;
        assert!(alarms.len() == 1 && alarms[0].contains(expected), "{expected}: {alarms:?}");
    }
    let kept = rows(site.folder.path(), "SELECT id FROM records");
    assert_eq!(kept.len(), 6, "an alarm takes nothing away: {kept:?}");

    for (head, expected) in
        [(heartbeat(9, 1, one.hash), 1), (heartbeat(10, 2, two.hash), 0), (heartbeat(11, 2, one.hash), 1)]
    {
        assert_eq!(site.alarms_of("heartbeat", &head).await.len(), expected, "{head}");
    }
    let alarms = site.alarms_of("state", &state(12, &other)).await;
    assert!(alarms.len() == 1 && alarms[0].contains("another evidence key"), "{alarms:?}");
    assert_eq!(site.alarms_of("state", &state(13, &other)).await, none, "once");
    assert_eq!(rows(site.folder.path(), "SELECT reason FROM alarms").len(), 7, "each is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_without_evidence_raises_no_alarm() {
    let mut site = Site::start().await;
    let bare = value(7, "alert.opened", json!({}));
    assert_eq!(site.alarms_of("alert/rodent", &bare).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_board_with_one_identity_is_an_alarm_once() {
    let mut site = Site::start().await;
    let state = |sequence: u64, n: u64, board: &str| {
        let session = json!({ "store": "k7f3qa", "n": n });
        value(sequence, "state", json!({ "online": true, "session": session, "agent": "0.1.0", "board": board }))
    };
    assert_eq!(site.alarms_of("state", &state(1, 1, "board-a")).await, [""; 0]);
    let alarms = site.alarms_of("state", &state(2, 2, "board-b")).await;
    assert!(alarms.len() == 1 && alarms[0].contains("board-a") && alarms[0].contains("board-b"), "{alarms:?}");
    assert_eq!(site.alarms_of("state", &state(3, 3, "board-a")).await, [""; 0], "told before");
}
