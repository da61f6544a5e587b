//! What a box may do wrong, or twice: the district's answers as any MQTT client sees them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod parts;

use kitchen_core::wire::{AckBody, ClipFin, ClipReceipt, ClipReceiptState, sha256_hex};
use kitchen_district::{District, DistrictEvent};
use kitchen_uplink::clip::crc_text;
use kitchen_uplink::{Link, LinkEvent, LinkOptions, Publication};
use parts::{DEVICE, LIMIT, Mosquitto, clip_init, district, envelope, eventually, next_event, noise, rows};
use serde_json::json;

/// A bare client in the place of a box.
struct Client(Link);

impl Client {
    async fn connect(broker: &Mosquitto) -> Self {
        let mut options = LinkOptions::new(&broker.url(), DEVICE);
        options.subscriptions = vec![format!("kitchen/v1/{DEVICE}/down/#")];
        let mut link = Link::open(&options, None).unwrap();
        assert!(matches!(link.next().await, LinkEvent::Connected { .. }));
        Self(link)
    }

    fn publish(&self, leaf: &str, payload: impl Into<Vec<u8>>, properties: &[(&str, &str)]) {
        let mut publication = Publication::new(format!("kitchen/v1/{DEVICE}/up/{leaf}"), payload.into());
        publication.properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.publisher().publish(publication).unwrap();
    }

    async fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            match tokio::time::timeout(LIMIT, self.0.next()).await.expect("a message") {
                LinkEvent::Message(message) => return (message.topic, message.payload.to_vec()),
                LinkEvent::Disconnected { error } => panic!("{error}"),
                _ => {}
            }
        }
    }

    async fn receipt(&mut self) -> Vec<String> {
        let (topic, payload) = self.message().await;
        assert_eq!(topic, format!("kitchen/v1/{DEVICE}/down/ack"));
        serde_json::from_slice::<AckBody>(&payload).unwrap().ids
    }

    async fn answer(&mut self) -> ClipReceipt {
        let (topic, payload) = self.message().await;
        let answer: ClipReceipt = serde_json::from_slice(&payload).unwrap();
        assert_eq!(topic, format!("kitchen/v1/{DEVICE}/down/clip/{}", answer.clip_id));
        answer
    }

    fn chunk(&self, clip_id: &str, clip: &[u8], offset: usize) {
        let chunk = &clip[offset..clip.len().min(offset + 32_768)];
        self.publish(&format!("clip/{clip_id}/{offset}"), chunk, &[("crc32", &crc_text(chunk))]);
    }

    fn init(&self, clip_id: &str, clip: &[u8]) {
        let init = serde_json::to_value(clip_init(clip_id, "k7f3qa.1.1", clip)).unwrap();
        self.publish(&format!("clip/{clip_id}/init"), envelope(900, "clip.init", init).to_bytes(), &[]);
    }

    fn fin(&self, clip_id: &str, clip: &[u8]) {
        let fin = ClipFin { clip_id: clip_id.to_owned(), bytes: clip.len() as u64, sha256: sha256_hex(clip) };
        let fin = serde_json::to_value(fin).unwrap();
        self.publish(&format!("clip/{clip_id}/fin"), envelope(901, "clip.fin", fin).to_bytes(), &[]);
    }
}

async fn pair(broker: &Mosquitto, store: &std::path::Path) -> (District, Client) {
    let mut district = district(broker, store);
    district.connected().await;
    (district, Client::connect(broker).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_message_is_stored_once_and_acknowledged_again() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let (mut district, mut client) = pair(&broker, folder.path()).await;
    let bytes = envelope(42, "alert.opened", json!({})).to_bytes();
    for _ in 0..3 {
        client.publish("alert/no_mask", bytes.clone(), &[]);
        assert_eq!(client.receipt().await, ["k7f3qa.1.42"]);
    }
    client.publish("record", envelope(43, "clock.fix", json!({})).to_bytes(), &[]);
    assert!(matches!(next_event(&mut district).await, DistrictEvent::Alert { .. }));
    assert!(matches!(next_event(&mut district).await, DistrictEvent::Record { .. }), "told once");
    assert_eq!(rows(folder.path(), "SELECT id FROM records ORDER BY id"), ["k7f3qa.1.42", "k7f3qa.1.43"]);
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_with_other_bytes_is_a_conflict_both_are_kept_and_acknowledged() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let (mut district, mut client) = pair(&broker, folder.path()).await;
    for score in [1, 2, 2] {
        client.publish("alert/no_mask", envelope(42, "alert.opened", json!({ "score": score })).to_bytes(), &[]);
        assert_eq!(client.receipt().await, ["k7f3qa.1.42"]);
    }
    for picture in [b"first", b"other", b"other"] {
        let hash = sha256_hex(picture);
        let properties = [("id", "k7f3qa.1.50"), ("alert_id", "k7f3qa.1.42"), ("sha256", hash.as_str())];
        client.publish("snapshot/k7f3qa.1.42", picture.to_vec(), &properties);
        assert_eq!(client.receipt().await, ["k7f3qa.1.50"]);
    }
    assert_eq!(rows(folder.path(), "SELECT id FROM records").len(), 2);
    let paths = rows(folder.path(), "SELECT path FROM snapshots ORDER BY bytes, received_at, path DESC");
    let contents: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(contents, [b"first".to_vec(), b"other".to_vec()]);
    assert_eq!(rows(folder.path(), "SELECT what FROM conflicts ORDER BY what"), ["record", "snapshot"]);
    let mut conflicts = 0;
    for _ in 0..6 {
        conflicts += usize::from(matches!(next_event(&mut district).await, DistrictEvent::Conflict { .. }));
    }
    assert_eq!(conflicts, 2);
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_district_names_exactly_what_lacks_of_a_clip() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let (district, mut client) = pair(&broker, folder.path()).await;
    let clip = noise(300_000, 5);
    client.init("k7f3qa.1.7", &clip);
    assert_eq!(client.answer().await.missing, [[0, 300_000]]);
    for offset in [0, 65_536, 65_536, 294_912] {
        client.chunk("k7f3qa.1.7", &clip, offset);
    }
    let expected = "[[0,32768],[65536,98304],[294912,300000]]";
    eventually("three chunks are there", || rows(folder.path(), "SELECT received FROM clips") == [expected]).await;
    drop(district);

    let mut district = parts::district(&broker, folder.path());
    district.connected().await;
    client.init("k7f3qa.1.7", &clip);
    let answer = client.answer().await;
    assert_eq!((answer.state, answer.missing), (ClipReceiptState::Missing, vec![[32_768, 65_536], [98_304, 294_912]]));
    for offset in (32_768..294_912).step_by(32_768).filter(|offset| *offset != 65_536) {
        client.chunk("k7f3qa.1.7", &clip, offset);
    }
    for _ in 0..2 {
        client.fin("k7f3qa.1.7", &clip);
        assert_eq!(client.answer().await.state, ClipReceiptState::Stored);
    }
    let path = folder.path().join(DEVICE).join("clips/k7f3qa.1.7.mp4");
    assert_eq!(std::fs::read(path).unwrap(), clip);
    assert!(matches!(next_event(&mut district).await, DistrictEvent::Clip { .. }));
    client.init("k7f3qa.1.7", &clip);
    assert_eq!(client.answer().await.state, ClipReceiptState::Stored, "asked again, it is there");
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clip_of_the_wrong_hash_is_rejected_and_may_come_again() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let (district, mut client) = pair(&broker, folder.path()).await;
    let clip = noise(20_000, 6);
    client.init("k7f3qa.1.8", &clip);
    assert_eq!(client.answer().await.state, ClipReceiptState::Missing);
    client.chunk("k7f3qa.1.8", &noise(20_000, 7), 0);
    client.fin("k7f3qa.1.8", &clip);
    let answer = client.answer().await;
    assert_eq!(answer.state, ClipReceiptState::Rejected);
    assert!(answer.reason.unwrap().contains("SHA-256"));
    client.init("k7f3qa.1.8", &clip);
    assert_eq!(client.answer().await.missing, [[0, 20_000]]);
    client.chunk("k7f3qa.1.8", &clip, 0);
    client.fin("k7f3qa.1.8", &clip);
    assert_eq!(client.answer().await.state, ClipReceiptState::Stored);
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_counted_and_stops_nothing() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("district");
    let (mut district, mut client) = pair(&broker, &store).await;
    let foreign = String::from_utf8(envelope(1, "alert.opened", json!({})).to_bytes()).unwrap();
    let hash = sha256_hex(b"picture");
    let outside = [("id", "k7f3qa.1.1"), ("alert_id", ".."), ("sha256", hash.as_str())];
    let damaged = [("id", "k7f3qa.1.1"), ("alert_id", "k7f3qa.1.1"), ("sha256", hash.as_str())];
    client.publish("alert/no_mask", b"\xff\xfe{".to_vec(), &[]);
    client.publish("alert/no_mask", foreign.replace(DEVICE, "mh07-000999"), &[]);
    client.publish("alert/no_mask", foreign.replace("\"v\":1", "\"v\":2"), &[]);
    client.publish("state", "{}", &[]);
    client.publish("snapshot/..", b"picture".to_vec(), &outside);
    client.publish("snapshot/k7f3qa.1.1", b"damaged".to_vec(), &damaged);
    client.publish("snapshot/k7f3qa.1.1", b"picture".to_vec(), &[]);
    client.publish("clip/../init", "{}", &[]);
    client.publish("clip/k7f3qa.1.1/init", "{}", &[]);
    client.publish("clip/k7f3qa.1.1/-1", b"x".to_vec(), &[]);
    client.publish("clip/k7f3qa.1.1/0", b"x".to_vec(), &[("crc32", "00000000")]);
    client.publish("later/version", b"x".to_vec(), &[]);
    client.publish("record", envelope(2, "loss", json!({})).to_bytes(), &[]);
    assert_eq!(client.receipt().await, ["k7f3qa.1.2"], "only what makes sense is acknowledged");
    assert_eq!(district.malformed(), 11);
    assert!(matches!(next_event(&mut district).await, DistrictEvent::Record { .. }));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside the store");
    assert!(!store.join(DEVICE).exists());
    district.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_session_of_the_same_store_is_ignored() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let (mut district, client) = pair(&broker, folder.path()).await;
    let state = |store: &str, n: u64, online: bool| {
        let body = json!({"online": online, "session": {"store": store, "n": n}, "agent": "0.1.0"});
        envelope(n, "state", body).to_bytes()
    };
    client.publish("state", state("k7f3qa", 2, true), &[]);
    client.publish("state", state("k7f3qa", 1, false), &[]);
    client.publish("state", state("k7f3qa", 2, false), &[]);
    client.publish("state", state("aaaaaa", 1, true), &[]);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let DistrictEvent::State { online, state, .. } = district.next().await.unwrap() {
            seen.push((state["body"]["session"]["n"].as_u64().unwrap(), online));
        }
    }
    assert_eq!(seen, [(2, true), (2, false), (1, true)]);
    district.stop().await;
}
