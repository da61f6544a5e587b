//! The loop of a simulated month: what is due next happens, and the box does what follows from it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kitchen_core::alert::{AlertBody, AlertRecord, CloseReason};
use kitchen_core::time::{Stamp, TimeQuality, Wall};
use kitchen_core::wire::MessageId;
use kitchen_store::{OpenOptions, Quotas, Store};
use serde_json::json;
use tempfile::TempDir;

use super::Figures;
use super::box_clock::BoxClock;
use super::kitchen::{Agent, todays_caps};
use super::ledger::{Ledger, Moment};
use super::line::Line;
use super::plan::{Happening, Plan};
use super::receiver::{Down, Receiver, Up};
use crate::site::DEVICE;

/// As in the agent's housekeeping.
const TIDY_EVERY: u64 = 60_000;
const SAVE_TIME_EVERY: u32 = 10;

const PLENTY: Quotas = Quotas { clips_bytes: 1 << 30, snapshots_bytes: 1 << 30, database_bytes: 1 << 30 };
const LITTLE: Quotas = Quotas { clips_bytes: 3_000_000, snapshots_bytes: 1_500_000, database_bytes: 600_000 };
/// What a database takes beyond its quota: texts that wait never go, a log is cut back to 4 MB, a reserve is 4 MB.
const DATABASE_BEYOND: u64 = 14_000_000;

#[derive(Debug)]
pub(super) enum Event {
    Happening(Happening),
    Keep { run: u64 },
    Connect { run: u64 },
    Uplink { number: u64 },
    AtBroker { number: u64, token: u64, message: Up },
    Confirmed { number: u64, token: u64, is_refused: bool },
    LeftUnconfirmed { number: u64 },
    AtDistrict(Up),
    AtBox(Down),
    CloseAlert { alert_id: MessageId, body: Box<AlertBody> },
    Start,
}

/// A box, its district and what lies between them.
pub(super) struct World {
    folder: TempDir,
    pub clock: BoxClock,
    pub random: fastrand::Rng,
    pub agent: Option<Agent>,
    pub line: Line,
    pub receiver: Receiver,
    pub ledger: Ledger,
    pub figures: Figures,
    quotas: Quotas,
    events: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    pub run: u64,
    boot: u32,
    pub disconnected_at: u64,
    /// The event at which the uplink looks again.
    uplink_at: Option<(u64, u64)>,
    /// Alerts that are not grave, by the day of their label.
    pub raised: BTreeMap<Wall, u64>,
    /// Pictures that the broker never takes.
    pub poisoned: BTreeSet<String>,
}

impl World {
    pub fn new(seed: u64, plan: &Plan, folder: &Path) -> Self {
        fastrand::seed(seed);
        let mut world = Self {
            folder: tempfile::tempdir_in(folder).expect("a temporary folder"),
            clock: BoxClock::new(),
            random: fastrand::Rng::with_seed(seed),
            agent: None,
            line: Line::new(plan),
            receiver: Receiver::default(),
            ledger: Ledger::default(),
            figures: Figures::default(),
            quotas: if plan.has_small_disk { LITTLE } else { PLENTY },
            events: BTreeMap::new(),
            numbers: 0,
            run: 0,
            boot: 0,
            disconnected_at: 0,
            uplink_at: None,
            raised: BTreeMap::new(),
            poisoned: BTreeSet::new(),
        };
        for (at, happening) in &plan.happenings {
            world.at(*at, Event::Happening(*happening));
        }
        world.boot();
        world
    }

    pub fn run_until(&mut self, end: u64) {
        while self.step(end) {}
        self.clock.now = end;
    }

    /// No more faults.
    pub fn behave(&mut self) {
        self.line.is_perfect = true;
        self.poisoned.clear();
    }

    /// Until nothing waits, or the limit; when that was.
    pub fn drain(&mut self, limit: u64) -> u64 {
        while self.agent.is_none() || !self.waiting().is_empty() {
            if !(0..20).all(|_| self.step(limit)) {
                break;
            }
        }
        self.clock.now
    }

    pub fn waiting(&self) -> Vec<String> {
        let Some(agent) = &self.agent else { return Vec::new() };
        let list = agent.store.outbox_waiting(usize::MAX).expect("the outbox is read");
        list.into_iter().map(|waiting| waiting.id).collect()
    }

    /// Closes everything and looks through the database.
    pub fn end(&mut self) -> Option<String> {
        self.ledger.audit(self.moment(), true);
        self.ledger.close();
        self.agent = None;
        let reader = Store::read_only(&self.store_folder()).expect("the store is there");
        reader.damage_in_full().expect("the database is read")
    }

    fn step(&mut self, end: u64) -> bool {
        let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) else { return false };
        let ((at, _), event) = entry.remove_entry();
        self.clock.now = at;
        self.take(event);
        true
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Happening(happening) => self.happen(happening),
            Event::Keep { run } if run == self.run && self.agent.is_some() => self.keep(),
            Event::Connect { run } if run == self.run && self.agent.is_some() => self.connect(),
            Event::Uplink { number } if number == self.connection() => {
                self.perform_all();
                self.plan_next();
            }
            Event::AtBroker { number, token, message } => self.reach_broker(number, token, message),
            Event::Confirmed { number, token, is_refused } => {
                self.take_confirmation(number, token, is_refused);
                self.plan_next();
            }
            Event::LeftUnconfirmed { number } if number == self.connection() => self.cut(),
            Event::AtDistrict(message) => self.reach_district(message),
            Event::AtBox(message) => self.reach_box(message),
            Event::CloseAlert { alert_id, body } => self.close_alert(&alert_id, *body),
            Event::Start => self.boot(),
            _ => {}
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Alert { is_grave, picture_bytes, clip_bytes, lasts_ms } => {
                self.raise_alert(is_grave, picture_bytes, clip_bytes, lasts_ms);
            }
            Happening::Record => {
                let (stamp, number) = (self.clock.stamp(), self.next_number());
                let Some(agent) = &mut self.agent else { return };
                agent.store.append_record(stamp, "budget.month", json!({ "number": number })).expect("a record");
                self.take_up();
            }
            Happening::RestartAgent { in_order } if self.agent.is_some() => {
                self.figures.restarts += 1;
                self.stop_agent(in_order);
                self.start_agent();
            }
            Happening::Reboot { off_ms } if self.agent.is_some() => {
                let in_order = self.random.bool();
                self.stop_agent(in_order);
                self.clock.shut_down();
                self.at(self.clock.now + off_ms, Event::Start);
            }
            Happening::RestartAgent { .. } | Happening::Reboot { .. } => {}
            Happening::ClockJumps { by_ms } => {
                self.figures.jumps += 1;
                self.clock.jump(by_ms);
            }
            Happening::ClockIsSetRight => self.clock.set_right(),
            Happening::LinkCut { session_lost } => {
                self.line.is_session_lost |= session_lost;
                self.cut();
            }
            Happening::LineOff => {
                self.line.switch_off();
                self.cut();
            }
            Happening::LineOn => self.line.switch_on(),
            Happening::DistrictSilent { stores } => self.line.fall_silent(stores),
            Happening::DistrictSpeaks => {
                for message in self.line.speak(&mut self.random) {
                    self.reach_district(message);
                }
            }
            // What it holds is on its disk; what it was about to say is gone.
            Happening::DistrictRestarts => self.events.retain(|_, event| !matches!(event, Event::AtBox(_))),
        }
    }

    fn boot(&mut self) {
        self.boot += 1;
        self.figures.boots += 1;
        self.clock.boot();
        self.start_agent();
    }

    fn start_agent(&mut self) {
        self.run += 1;
        let folder = self.store_folder();
        let boot_id = format!("boot-{}", self.boot);
        let options = OpenOptions { dir: &folder, device: DEVICE, boot_id: &boot_id };
        let store = Store::open(options).expect("the store opens");
        self.clock.start_agent(store.saved_time());
        let stamp = self.clock.stamp();
        self.ledger.open(&folder);
        assert_eq!(store.tell_losses(stamp).expect("losses"), 0, "nothing was damaged");
        for alert in store.open_alerts().expect("open alerts") {
            let body = AlertBody { reason: Some(CloseReason::Restart), ..alert.body };
            store.append_alert_record(stamp, &alert.alert_id, AlertRecord::Closed, body).expect("closed");
        }
        let caps = todays_caps(&store, stamp.wall);
        let seed = self.random.u64(..);
        self.agent = Some(Agent::new(store, seed, stamp.mono, caps));
        self.take_up();
        self.at(self.clock.now, Event::Keep { run: self.run });
        self.at(self.clock.now, Event::Connect { run: self.run });
    }

    fn stop_agent(&mut self, in_order: bool) {
        self.cut();
        self.ledger.close();
        if let Some(agent) = self.agent.take().filter(|_| in_order) {
            agent.store.save_time(self.clock.stamp().wall);
        }
    }

    fn keep(&mut self) {
        self.at(self.clock.now + TIDY_EVERY, Event::Keep { run: self.run });
        let (stamp, quotas) = (self.clock.stamp(), self.quotas);
        let agent = self.agent_mut();
        let round = agent.round;
        agent.round += 1;
        if let Some(offset_ms) = agent.watch.handle_stamp(stamp) {
            let body = json!({ "store": agent.store.store_id(), "boot": agent.store.boot(), "offset_ms": offset_ms });
            agent.store.append_record(stamp, "clock.fix", body).expect("recorded");
        }
        if round.is_multiple_of(SAVE_TIME_EVERY) {
            agent.store.save_time(stamp.wall);
            agent.store.expire(stamp).expect("expired");
            self.take_up();
            self.ledger.audit(self.moment(), is_trusted(stamp));
        }
        self.agent_mut().store.tidy(stamp, quotas).expect("tidied");
        self.take_up();
        if round.is_multiple_of(60) {
            self.measure_disk();
        }
        self.perform_all();
        self.plan_next();
    }

    fn measure_disk(&mut self) {
        let folder = self.store_folder();
        let (clips, pictures) = (bytes_in(&folder.join("clips")), bytes_in(&folder.join("snapshots")));
        let database = bytes_in(&folder);
        let wall = self.clock.stamp().wall;
        let agent = self.agent_mut();
        let open = agent.store.open_alerts().expect("open alerts").len() as u64;
        let health = agent.store.outbox_health(wall).expect("health");
        let texts = self.ledger.entries.len() as u64 * 4_000;
        self.figures.most_waiting = self.figures.most_waiting.max(usize::try_from(health.count).unwrap_or(0));
        self.figures.most_disk_bytes = self.figures.most_disk_bytes.max(clips + pictures + database);
        // Pictures of open alerts stay: at most 40 kB and its clean one each.
        if clips > self.quotas.clips_bytes || pictures > self.quotas.snapshots_bytes + open * 80_000 {
            self.ledger.find(format!("{clips} bytes of clips and {pictures} of pictures lie on the disk"));
        }
        if database > self.quotas.database_bytes.min(texts) + DATABASE_BEYOND {
            self.ledger.find(format!("{database} bytes of database with {texts} bytes of texts"));
        }
    }

    /// What the last call stored is known to the ledger, and the uplink is told.
    pub fn take_up(&mut self) -> Vec<String> {
        let (now, moment) = (self.clock.mono(), self.moment());
        let agent = self.agent.as_mut().expect("runs");
        let ids = self.ledger.take_up(&agent.store, moment);
        if !ids.is_empty() {
            agent.wake(now);
            self.plan_next();
        }
        ids
    }

    pub fn connection(&self) -> u64 {
        self.agent.as_ref().and_then(|agent| agent.connection.as_ref()).map_or(0, |connection| connection.number)
    }

    pub fn plan_next(&mut self) {
        let number = self.connection();
        let Some(next) = self.agent.as_ref().and_then(Agent::next_timeout) else { return };
        let at = self.clock.instant_of(next).max(self.clock.now);
        if let Some(before) = self.uplink_at.take() {
            self.events.remove(&before);
        }
        let key = (at, self.next_number());
        self.events.insert(key, Event::Uplink { number });
        self.uplink_at = Some(key);
    }

    pub fn agent_mut(&mut self) -> &mut Agent {
        self.agent.as_mut().expect("only a box that runs is asked")
    }

    pub fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn at(&mut self, at: u64, event: Event) {
        let number = self.next_number();
        self.events.insert((at, number), event);
    }

    fn moment(&self) -> Moment {
        let (now, uptime, boot) = (self.clock.now, self.clock.uptime(), self.boot);
        Moment { now, uptime, boot, clock_error: self.clock.error() }
    }

    fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

fn is_trusted(stamp: Stamp) -> bool {
    !matches!(stamp.quality, TimeQuality::Floor | TimeQuality::None)
}

/// Of the files in it, not in folders below it.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder of the store");
    let metadata = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    metadata.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}
