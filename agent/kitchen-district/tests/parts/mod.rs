//! The real broker, and a box made of the real uplink over an outbox in memory.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its own part; a test may panic")]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use kitchen_core::outbox::{OutboxKind, Payload, Waiting};
use kitchen_core::time::{Clock, Mono, Stamp, TimeQuality, Wall};
use kitchen_core::wire::{
    ClipInit, ClipReceipt, ClipReceiptState, Envelope, HeartbeatBody, Receipt, Session, Site, StateBody, sha256_hex,
};
use kitchen_district::{District, DistrictEvent, DistrictOptions};
use kitchen_uplink::{LinkOptions, LinkStatus, Outbox, OutboxError, Presence, UplinkOptions};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub const DEVICE: &str = "mh07-000123";
pub const LIMIT: Duration = Duration::from_secs(60);

/// Mosquitto on a free port of loopback.
pub struct Mosquitto {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Mosquitto {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With one more line of configuration.
    pub fn start_with(setting: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config =
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence false\n{setting}\n");
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let child = spawn(folder.path(), port);
        Self { child, folder, port }
    }

    /// `kill -9`: sessions, queues and retained messages are gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), self.port);
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let child = Command::new("mosquitto")
        .env("PATH", path)
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Mosquitto is missing: apt-get install -y mosquitto");
    let end = Instant::now() + LIMIT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "Mosquitto does not listen on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

pub fn district(broker: &Mosquitto, store: &Path) -> District {
    let link = LinkOptions::new(&broker.url(), "kitchen-district");
    District::start(DistrictOptions { link, store: store.to_owned() }).unwrap()
}

/// The next event that is not presence.
pub async fn next_event(district: &mut District) -> DistrictEvent {
    loop {
        let event = tokio::time::timeout(LIMIT, district.next()).await.expect("an event").expect("running");
        if !matches!(event, DistrictEvent::State { .. } | DistrictEvent::Heartbeat { .. }) {
            return event;
        }
    }
}

/// Waits for a fact, with a bound.
pub async fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !fact() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Rows of a query on the district's database.
pub fn rows(store: &Path, query: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(store.join("district.sqlite")).unwrap();
    connection.busy_timeout(LIMIT).unwrap();
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

struct SystemClock(Instant);

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        Mono::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn stamp(&self) -> Stamp {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let wall = Wall::from_unix_millis(i64::try_from(wall.as_millis()).unwrap());
        Stamp { mono: self.mono(), wall, quality: TimeQuality::Ntp }
    }
}

/// Messages in memory, with the same promises as the one on disk.
#[derive(Default)]
pub struct MemoryOutbox {
    messages: Mutex<BTreeMap<u64, (Waiting, Payload)>>,
    pub rejected: Mutex<Vec<String>>,
    pub set_aside: Mutex<Vec<String>>,
    sequence: AtomicU64,
    sessions: AtomicU64,
}

impl MemoryOutbox {
    pub fn count(&self) -> usize {
        self.messages.lock().unwrap().len()
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn add(&self, sequence: u64, kind: OutboxKind, tier: u8, bytes: usize, clip: Option<ClipInit>, payload: Payload) {
        let waiting = Waiting {
            tier: 3,
            id: id(sequence),
            kind,
            priority: kind.priority(tier),
            bytes: bytes as u64,
            created: Wall::from_unix_millis(0),
            attempts: 0,
            sent: None,
            clip,
        };
        self.messages.lock().unwrap().insert(sequence, (waiting, payload));
    }

    pub fn add_alert(&self) -> String {
        let envelope = self.envelope("alert.opened", json!({"rule": "no_mask", "tier": 2})).unwrap();
        let bytes = envelope.to_bytes();
        let payload = Payload::Record { topic_leaf: "alert/no_mask".into(), bytes: bytes.clone() };
        self.add(envelope.id.sequence, OutboxKind::Alert, 2, bytes.len(), None, payload);
        envelope.id.to_string()
    }

    pub fn add_snapshot(&self, alert_id: &str, bytes: Vec<u8>) -> String {
        let sequence = self.next_sequence();
        let properties = vec![
            ("id".to_owned(), id(sequence)),
            ("alert_id".to_owned(), alert_id.to_owned()),
            ("sha256".to_owned(), sha256_hex(&bytes)),
            ("width".to_owned(), "640".to_owned()),
            ("height".to_owned(), "360".to_owned()),
        ];
        let length = bytes.len();
        let payload = Payload::Snapshot { topic_leaf: format!("snapshot/{alert_id}"), bytes, properties };
        self.add(sequence, OutboxKind::Snapshot, 2, length, None, payload);
        id(sequence)
    }

    pub fn add_clip(&self, alert_id: &str, path: PathBuf) -> String {
        let bytes = std::fs::read(&path).unwrap();
        let sequence = self.next_sequence();
        let init = clip_init(&id(sequence), alert_id, &bytes);
        let payload = Payload::Clip { init: init.clone(), path };
        self.add(sequence, OutboxKind::Clip, 2, bytes.len(), Some(init), payload);
        id(sequence)
    }

    fn remove(&self, id: &str) {
        self.messages.lock().unwrap().retain(|_, (waiting, _)| waiting.id != id);
    }
}

fn id(sequence: u64) -> String {
    format!("k7f3qa.1.{sequence}")
}

pub fn clip_init(clip_id: &str, alert_id: &str, bytes: &[u8]) -> ClipInit {
    ClipInit {
        clip_id: clip_id.to_owned(),
        alert_id: Some(alert_id.to_owned()),
        command_id: None,
        bytes: bytes.len() as u64,
        sha256: sha256_hex(bytes),
        chunk_bytes: kitchen_core::wire::CHUNK_BYTES,
        media_type: "video/mp4".into(),
        codec: "avc1".into(),
        width: 640,
        height: 360,
        start: Wall::from_unix_millis(0),
        duration_ms: 10_000,
        priority: 5,
        expires: Wall::from_unix_millis(0),
    }
}

impl Outbox for MemoryOutbox {
    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, OutboxError> {
        let messages = self.messages.lock().unwrap();
        let mut list: Vec<Waiting> = messages.values().map(|(waiting, _)| waiting.clone()).collect();
        list.sort_by_key(|waiting| waiting.priority);
        list.truncate(limit);
        Ok(list)
    }

    fn load(&self, id: &str) -> Result<Option<Payload>, OutboxError> {
        let messages = self.messages.lock().unwrap();
        Ok(messages.values().find(|(waiting, _)| waiting.id == id).map(|(_, payload)| payload.clone()))
    }

    fn sent(&self, ids: &[String]) -> Result<(), OutboxError> {
        for (waiting, _) in self.messages.lock().unwrap().values_mut() {
            waiting.attempts += u32::from(ids.contains(&waiting.id));
        }
        Ok(())
    }

    fn receipted(&self, receipts: &[Receipt]) -> Result<Vec<String>, OutboxError> {
        receipts.iter().for_each(|receipt| self.remove(&receipt.id));
        Ok(Vec::new())
    }

    fn clip_ended(&self, answer: &ClipReceipt) -> Result<bool, OutboxError> {
        if answer.state == ClipReceiptState::Rejected {
            self.rejected.lock().unwrap().push(answer.reason.clone().unwrap());
        }
        self.remove(&answer.clip_id);
        Ok(true)
    }

    fn conflicted(&self, _ids: &[String]) -> Result<bool, OutboxError> {
        Ok(false)
    }

    fn set_aside(&self, id: &str, _failures: u32) -> Result<(), OutboxError> {
        self.set_aside.lock().unwrap().push(id.to_owned());
        self.remove(id);
        Ok(())
    }

    fn next_session(&self) -> Result<Session, OutboxError> {
        Ok(Session { store: "k7f3qa".into(), n: self.sessions.fetch_add(1, Ordering::Relaxed) + 1 })
    }

    fn envelope(&self, kind: &str, body: Value) -> Result<Envelope, OutboxError> {
        Ok(envelope(self.next_sequence(), kind, body))
    }
}

pub fn envelope(sequence: u64, kind: &str, body: Value) -> Envelope {
    let stamp = Stamp { mono: Mono::ZERO, wall: Wall::from_unix_millis(1_795_497_151_250), quality: TimeQuality::Ntp };
    Envelope::new(id(sequence).parse().unwrap(), kind, DEVICE, stamp, body)
}

struct TestPresence;

impl Presence for TestPresence {
    fn state(&self, session: Session) -> StateBody {
        StateBody {
            online: true,
            reason: None,
            until: None,
            session,
            agent: "0.1.0".into(),
            pack: None,
            config_version: 0,
            site: Site { name: "海底捞".into(), licence: "L1".into(), town: "T1".into() },
            rules: BTreeMap::new(),
            evidence_key: None,
            board: None,
        }
    }

    fn heartbeat(&self) -> HeartbeatBody {
        HeartbeatBody {
            cameras: Vec::new(),
            outbox: None,
            alerts_today: Some(3),
            chain_head: None,
            restarts: std::collections::BTreeMap::new(),
            recording: None,
            budget: None,
        }
    }
}

/// The real uplink over an outbox in memory.
pub struct Kitchen {
    pub outbox: Arc<MemoryOutbox>,
    pub wake: Arc<Notify>,
    pub status: watch::Receiver<LinkStatus>,
    cancel: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Kitchen {
    pub fn open(broker: &Mosquitto) -> Self {
        let outbox = Arc::new(MemoryOutbox::default());
        let wake = Arc::new(Notify::new());
        let (cancel, cancelled) = watch::channel(false);
        let (sender, status) = watch::channel(LinkStatus::default());
        let options = UplinkOptions {
            link: LinkOptions::new(&broker.url(), DEVICE),
            heartbeat_s: 1,
            status: sender,
            hurry: Arc::default(),
            reconnect: Arc::default(),
            gate: Arc::new(kitchen_uplink::Unlimited),
        };
        let clock = Arc::new(SystemClock(Instant::now()));
        let (waiting, woken) = (outbox.clone(), wake.clone());
        let task = tokio::spawn(async move {
            kitchen_uplink::run(options, waiting, Arc::new(TestPresence), clock, woken, cancelled).await.unwrap();
        });
        Self { outbox, wake, status, cancel, task }
    }

    pub async fn emptied(&self) {
        eventually("the outbox is empty", || self.outbox.count() == 0).await;
    }

    pub async fn stop(self) {
        self.cancel.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("stops soon").unwrap();
    }
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}
