//! A box and its district on real stores: the box's store and uplink, the district's receiver, a broker of any kind
//! between them. Each part can be ended and started again while messages are under way.

mod clock;
mod district_rows;
mod witnessed_outbox;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kitchen_core::outbox::Payload;
use kitchen_core::rules::RuleId;
use kitchen_core::time::Clock as _;
use kitchen_core::wire::{HeartbeatBody, Session, Site as Place, StateBody};
use kitchen_district::{District, DistrictOptions};
use kitchen_store::{NewSnapshot, OpenOptions, Store, StoreError};
use kitchen_test_support::{alert_body, new_clip};
use kitchen_uplink::{LinkOptions, LinkStatus, Presence, UplinkOptions};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::broker::DISTRICT;
use clock::LabClock;
use district_rows::DistrictRows;
use witnessed_outbox::{Witness, WitnessedOutbox};

pub const DEVICE: &str = "mh07-000123";

const HEARTBEAT_S: u32 = 3;
/// The shortest that the link takes, so that pings are among the packets.
const KEEPALIVE_S: u32 = 5;
const END_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// Where each end finds the broker.
#[derive(Clone, Debug)]
pub struct Urls {
    pub of_box: String,
    pub of_district: String,
}

/// How a part is ended before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    InOrder,
    /// As by a crash: nothing more is said or sent.
    Abrupt,
}

/// A box, its district, and what a witness saw.
pub struct Site {
    folder: TempDir,
    urls: Urls,
    clock: Arc<LabClock>,
    witness: Arc<Witness>,
    wake: Arc<Notify>,
    hurry: Arc<Notify>,
    store: Option<Store>,
    uplink: Option<Uplink>,
    district: Option<Receiver>,
    random: fastrand::Rng,
    accepted: u64,
}

struct Uplink {
    cancel: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct Receiver {
    end: watch::Sender<Option<Ending>>,
    task: JoinHandle<()>,
}

struct Quiet;

impl Presence for Quiet {
    fn state(&self, session: Session) -> StateBody {
        StateBody {
            online: true,
            reason: None,
            until: None,
            session,
            agent: "0.0.0".to_owned(),
            pack: None,
            config_version: 0,
            site: Place::default(),
            rules: std::collections::BTreeMap::new(),
            evidence_key: None,
            board: None,
        }
    }

    fn heartbeat(&self) -> HeartbeatBody {
        HeartbeatBody {
            cameras: Vec::new(),
            outbox: None,
            alerts_today: None,
            chain_head: None,
            restarts: Default::default(),
            recording: None,
            budget: None,
        }
    }
}

impl Site {
    /// Both ends are started; `seed` makes the messages. Within a tokio runtime.
    #[must_use]
    pub fn start(urls: Urls, seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut site = Self {
            urls,
            clock: Arc::default(),
            witness: Arc::new(Witness::new(folder.path().join("district"))),
            wake: Arc::default(),
            hurry: Arc::default(),
            store: None,
            uplink: None,
            district: None,
            random: fastrand::Rng::with_seed(seed),
            accepted: 0,
            folder,
        };
        site.start_district();
        site.store = Some(site.open_store().expect("a new store opens"));
        site.start_uplink();
        site
    }

    /// An alert of any rule, with a picture or without. What the store takes must arrive.
    pub async fn put_alert(&mut self, picture_bytes: Option<usize>) {
        let rules: Vec<RuleId> = RuleId::all().collect();
        let rule = rules[self.random.usize(..rules.len())];
        let stamp = self.clock.stamp();
        let body = alert_body(rule, stamp.wall);
        let snapshot = picture_bytes.map(|bytes| NewSnapshot {
            sent: self.noise(bytes),
            original: self.noise(100),
            width: 640,
            height: 360,
        });
        self.accepted += 1 + u64::from(snapshot.is_some());
        self.in_store(move |store| store.open_alert(stamp, body, snapshot).map(drop)).await;
    }

    pub async fn put_record(&mut self) {
        let stamp = self.clock.stamp();
        let body = json!({ "from": stamp.wall, "number": self.accepted });
        self.accepted += 1;
        self.in_store(move |store| store.append_record(stamp, "loss", body).map(drop)).await;
    }

    /// An alert with its clip.
    pub async fn put_clip(&mut self, bytes: usize) {
        let stamp = self.clock.stamp();
        let body = alert_body(RuleId::Fire, stamp.wall);
        let clip = new_clip(self.noise(bytes), stamp.wall);
        // The alert, the record that names the clip, and the clip.
        self.accepted += 3;
        self.in_store(move |store| {
            let alert = store.open_alert(stamp, body.clone(), None)?;
            store.attach_clip(stamp, &alert.alert_id, clip, body).map(drop)
        })
        .await;
    }

    pub async fn restart_uplink(&mut self, ending: Ending) {
        self.end_uplink(ending).await;
        self.start_uplink();
    }

    pub async fn restart_district(&mut self, ending: Ending) {
        self.end_district(ending).await;
        self.start_district();
    }

    /// The store is closed and opened again, and the uplink with it.
    pub async fn restart_store(&mut self, ending: Ending) {
        self.end_uplink(ending).await;
        self.store = None;
        let started = Instant::now();
        self.store = loop {
            // A call of the uplink that was under way may still hold it.
            match self.open_store() {
                Err(StoreError::InUse { .. }) if started.elapsed() < END_LIMIT => tokio::time::sleep(POLL).await,
                opened => break Some(opened.expect("the store opens again")),
            }
        };
        self.start_uplink();
    }

    /// Minutes pass in seconds from here on.
    pub fn set_speed(&self, speed: u32) {
        self.clock.set_speed(speed);
    }

    /// Somebody stands at the box: what is due is done now, by the box's clock.
    pub fn nudge(&self) {
        self.hurry.notify_one();
        self.wake.notify_one();
    }

    /// Ids that wait and are not set aside.
    pub async fn waiting(&self) -> Vec<String> {
        let store = self.store.clone().expect("the store is open");
        let list = tokio::task::spawn_blocking(move || store.outbox_waiting(10_000)).await.expect("no panic");
        list.expect("the outbox can be listed").into_iter().map(|waiting| waiting.id).collect()
    }

    /// What waits, its kind, tries and last try, as text.
    pub async fn describe_waiting(&self) -> String {
        let store = self.store.clone().expect("the store is open");
        let list = tokio::task::spawn_blocking(move || store.outbox_waiting(20)).await.expect("no panic");
        let now = self.clock.stamp().wall.as_unix_millis();
        let describe = |waiting: kitchen_core::outbox::Waiting| {
            let ago_ms = waiting.sent.map(|sent| now - sent.as_unix_millis());
            format!("{} {} tried {} times, {ago_ms:?} ms ago", waiting.id, waiting.kind, waiting.attempts)
        };
        let lines: Vec<String> = list.expect("the outbox can be listed").into_iter().map(describe).collect();
        lines.join("; ")
    }

    /// Waits until nothing waits any more; what still does after `bound`.
    pub async fn emptied(&self, bound: Duration) -> Vec<String> {
        let started = Instant::now();
        loop {
            let waiting = self.waiting().await;
            if waiting.is_empty() || started.elapsed() > bound {
                return waiting;
            }
            self.hurry.notify_one();
            tokio::time::sleep(POLL).await;
        }
    }

    /// Messages that the store took.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How often a message was handed to the link.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.witness.loads()
    }

    #[must_use]
    pub fn set_aside(&self) -> Vec<String> {
        self.witness.set_aside()
    }

    /// Ends both and lists everything that is not as it must be; `poison` is the alert whose picture may lack.
    pub async fn findings(mut self, poison: Option<&str>) -> Vec<String> {
        self.end_uplink(Ending::InOrder).await;
        self.end_district(Ending::InOrder).await;
        self.store = None;
        let mut findings = self.witness.faults();
        let rows = DistrictRows::open(&self.folder.path().join("district")).expect("the district's database opens");
        let sent = self.everything_stored();
        if (sent.len() as u64) < self.accepted {
            findings.push(format!("the store took {} messages and holds {}", self.accepted, sent.len()));
        }
        for (id, payload) in &sent {
            let is_poison = poison
                .is_some_and(|alert| matches!(payload, Payload::Snapshot { topic_leaf, .. } if topic_leaf == alert));
            if !is_poison && !rows.holds(id, payload) {
                findings.push(format!("the district does not hold {id}, or with other bytes"));
            }
        }
        match rows.conflicts() {
            0 => {}
            count => findings.push(format!("the district noted {count} conflicts")),
        }
        findings
    }

    /// The alert whose picture was accepted last.
    pub async fn newest_picture(&self) -> Option<String> {
        let store = self.store.clone().expect("the store is open");
        let alerts = tokio::task::spawn_blocking(move || store.alerts(50)).await.expect("no panic");
        let alerts = alerts.expect("alerts can be listed");
        alerts.into_iter().find(|alert| alert.snapshot.is_some()).map(|alert| alert.alert_id.to_string())
    }

    /// The id under which an alert's picture waits.
    pub async fn picture_of(&self, alert_id: &str) -> Option<String> {
        let store = self.store.clone().expect("the store is open");
        let leaf = format!("snapshot/{alert_id}");
        let find = move || {
            let list = store.outbox_waiting(10_000).expect("the outbox can be listed");
            let is_it = |id: &str| match store.outbox_load(id) {
                Ok(Some(Payload::Snapshot { topic_leaf, .. })) => topic_leaf == leaf,
                _ => false,
            };
            list.into_iter().map(|waiting| waiting.id).find(|id| is_it(id))
        };
        tokio::task::spawn_blocking(find).await.expect("no panic")
    }

    /// All that was ever put into the outbox, from the box's database and files.
    fn everything_stored(&self) -> Vec<(String, Payload)> {
        let store = self.folder.path().join("store");
        let connection = Connection::open(store.join("agent.db")).expect("the box's database opens");
        let rows = |query: &str| -> Vec<(String, Vec<u8>)> {
            let mut query = connection.prepare(query).expect("the box's tables");
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("the box's columns");
            rows.map(|row| row.expect("a row")).collect()
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let records = rows("SELECT id, CAST(envelope AS BLOB) FROM records")
            .into_iter()
            .map(|(id, bytes)| (id, Payload::Record { topic_leaf: String::new(), bytes }));
        let snapshots = rows("SELECT id, CAST(alert_id || '/' || file AS BLOB) FROM snapshots").into_iter().map(
            |(id, alert_and_file)| {
                let alert_and_file = text(alert_and_file);
                let (alert, file) = alert_and_file.split_once('/').expect("made with a slash");
                let bytes = std::fs::read(store.join("snapshots").join(file)).expect("the picture is on the disk");
                (id, Payload::Snapshot { topic_leaf: alert.to_owned(), bytes, properties: Vec::new() })
            },
        );
        let clips = rows("SELECT clip_id, CAST(init AS BLOB) FROM clips").into_iter().map(|(id, init)| {
            let init = serde_json::from_slice(&init).expect("the store's own JSON");
            (id, Payload::Clip { init, path: PathBuf::new() })
        });
        records.chain(snapshots).chain(clips).collect()
    }

    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        self.random.fill(&mut noise);
        noise
    }

    async fn in_store(&self, put: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static) {
        let store = self.store.clone().expect("the store is open");
        let put = tokio::task::spawn_blocking(move || put(&store)).await.expect("no panic");
        put.expect("the store takes messages");
        self.wake.notify_one();
    }

    fn open_store(&self) -> Result<Store, StoreError> {
        Store::open(OpenOptions { dir: &self.folder.path().join("store"), device: DEVICE, boot_id: "boot-a" })
    }

    fn start_uplink(&mut self) {
        let (status, _) = watch::channel(LinkStatus::default());
        let (cancel, cancelled) = watch::channel(false);
        let link = LinkOptions { keepalive_s: KEEPALIVE_S, ..LinkOptions::new(&self.urls.of_box, DEVICE) };
        let options = UplinkOptions {
            link,
            heartbeat_s: HEARTBEAT_S,
            status,
            hurry: Arc::clone(&self.hurry),
            reconnect: Arc::default(),
            gate: Arc::new(kitchen_uplink::Unlimited),
        };
        let outbox = Arc::new(WitnessedOutbox {
            store: self.store.clone().expect("the store is open"),
            clock: Arc::clone(&self.clock),
            witness: Arc::clone(&self.witness),
        });
        let (clock, wake) = (Arc::clone(&self.clock), Arc::clone(&self.wake));
        let task = tokio::spawn(async move {
            kitchen_uplink::run(options, outbox, Arc::new(Quiet), clock, wake, cancelled)
                .await
                .expect("loopback is a right address");
        });
        self.uplink = Some(Uplink { cancel, task });
    }

    async fn end_uplink(&mut self, ending: Ending) {
        let Some(uplink) = self.uplink.take() else { return };
        let mut task = uplink.task;
        if ending == Ending::InOrder {
            let _ = uplink.cancel.send(true);
            if tokio::time::timeout(END_LIMIT, &mut task).await.is_ok() {
                return;
            }
        }
        task.abort();
        let _ = task.await;
    }

    fn start_district(&mut self) {
        let link = LinkOptions { keepalive_s: KEEPALIVE_S, ..LinkOptions::new(&self.urls.of_district, DISTRICT) };
        let options = DistrictOptions { link, store: self.folder.path().join("district") };
        let mut district = District::start(options).expect("the district's store opens");
        let (end, mut ended) = watch::channel(None);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = district.next() => if event.is_none() { return },
                    _ = ended.wait_for(Option::is_some) => break,
                }
            }
            let ending = *ended.borrow();
            if ending == Some(Ending::InOrder) {
                district.stop().await;
            }
        });
        self.district = Some(Receiver { end, task });
    }

    async fn end_district(&mut self, ending: Ending) {
        let Some(receiver) = self.district.take() else { return };
        let _ = receiver.end.send(Some(ending));
        let _ = receiver.task.await;
    }
}
