//! The governor's shell: bytes of the link and of the interface go in, the ledger goes to the disk, the uplink's questions
//! are answered, and what the money leads to is told: alarms, the month's account, the reasons of what waits.

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use kitchen_core::budget::{
    Account, Admission, Bucket, BudgetAlarm, BudgetReport, BudgetStep, Demand, DemandRow, Forecast, Governor,
    HISTORY_WEEKS, Hold, HoldReason, InterfaceCounter, LinkMode, Reading, Settings, TrafficClass, UNSAVED_BYTES,
    Wanted, month_record,
};
use kitchen_core::config::Config;
use kitchen_core::outbox::OutboxKind;
use kitchen_core::time::{Clock, Mono, Stamp, Wall};
use kitchen_core::wire::BudgetHealth;
use kitchen_store::{AlertRow, Reader, Store, StoreError};
use kitchen_uplink::Gate;
use kitchen_vision::picture::ALERT_BYTES;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::alert_desk::{DeskCamera, ON_REQUEST};
use crate::desk_job::{Backlog, DeskJob};
use crate::health::sysfs;

const EVERY: Duration = Duration::from_secs(10);
/// An ended month is told a day later: a clock may still be set.
const TELL_AFTER: Duration = Duration::from_secs(86_400);
/// Months are told, and the past is read, so often.
const SELDOM: Duration = Duration::from_secs(6 * 3600);
/// Months before are kept in memory so long, for the account that is still to be told.
const REMEMBERED: Duration = Duration::from_secs(70 * 86_400);

/// What is saved beside the ledger, to go on counting where it ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Counting {
    /// Nothing passed after this was saved.
    is_clean: bool,
    interface: Option<String>,
    boot: u32,
    reading: Option<Reading>,
    uptime_ms: Mono,
    factor: Option<u64>,
    /// A rescue lost hours of the ledger.
    ledger_incomplete: bool,
}

struct Inside {
    governor: Governor,
    reading: Option<(Reading, Mono)>,
}

pub struct Budget {
    inside: Mutex<Inside>,
    /// Held while the counts are saved, so that older ones never replace newer ones.
    saving: Mutex<()>,
    store: Store,
    clock: Arc<dyn Clock>,
    interface: Option<String>,
    clips_held: Mutex<Option<SyncSender<DeskJob>>>,
    /// The counts are to be saved before their time.
    save_now: Notify,
    /// Tells the uplink of new messages.
    wake: Arc<Notify>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("interface", &self.interface).finish_non_exhaustive()
    }
}

impl Budget {
    /// Goes on where the store says that it ended; what may have passed unsaved is charged.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub fn open(config: &Config, store: &Store, clock: &Arc<dyn Clock>, wake: &Arc<Notify>) -> Result<Arc<Self>> {
        let now = clock.stamp();
        let settings = Settings::new(&config.budget, config.time_zone());
        let interface = config.budget.interface.as_ref().map(|interface| interface.name.clone());
        // What can't be read was not shut down cleanly.
        let saved = store.counting()?.map(|counting| {
            serde_json::from_value::<Counting>(counting).unwrap_or_else(|error| {
                warn!(%error, "what was counted last can't be read");
                Counting::default()
            })
        });
        let account = restore(store.boot(), store.ledger(Wall::from_unix_millis(i64::MIN))?, &settings, now);
        let forecast = history(|since| store.demand(since), account.buckets(), account.label(now.mono))?;
        let mut governor = Governor::new(settings, account, forecast, now);
        let mut is_exact = false;
        if let Some(name) = &interface {
            let last = saved.as_ref().filter(|saved| saved.interface.as_ref() == Some(name));
            is_exact = last.is_some_and(|saved| saved.boot == store.boot() && saved.reading.is_some());
            governor =
                governor.with_interface(InterfaceCounter::new(last.and_then(|saved| counted(saved, store.boot()))));
        }
        if let Some(factor) = saved.as_ref().and_then(|saved| saved.factor) {
            governor = governor.with_factor(factor);
        }
        if let Some(saved) = &saved {
            charge_unknown(&mut governor, saved, is_exact, now);
        }
        let budget = Arc::new(Self {
            inside: Mutex::new(Inside { governor, reading: None }),
            saving: Mutex::default(),
            store: store.clone(),
            clock: Arc::clone(clock),
            interface,
            clips_held: Mutex::default(),
            save_now: Notify::new(),
            wake: Arc::clone(wake),
        });
        // On a disk that takes nothing alerts go on all the same; it is saved as soon as it can be.
        budget.save();
        Ok(budget)
    }

    /// Counts, saves and tells until it is dropped. `box_camera` raises the alarms, if their rule is on.
    pub async fn run(self: Arc<Self>, box_camera: Arc<DeskCamera>, newest: Vec<AlertRow>, desk: SyncSender<DeskJob>) {
        *self.clips_held.lock().unwrap_or_else(PoisonError::into_inner) = Some(desk.clone());
        let mut alarm = self.alarm(&newest);
        drop(newest);
        // An alarm is raised once a month, whatever the desk answers.
        let (answers, _) = channel();
        let mut backlog = Backlog::new(box_camera, desk, answers);
        let mut every = tokio::time::interval(EVERY);
        let this = Arc::clone(&self);
        let _ = tokio::task::spawn_blocking(move || this.tell_months()).await;
        let mut seldom_at = self.clock.mono() + SELDOM;
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.save_now.notified() => {}
            }
            let now = self.clock.mono();
            let is_seldom = now >= seldom_at;
            if is_seldom {
                seldom_at = now + SELDOM;
            }
            let this = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || this.keep(is_seldom)).await;
            let (percent, period) = {
                let inside = self.inside();
                (inside.governor.used_percent(), inside.governor.account().period())
            };
            alarm.handle_used(percent, period, now);
            while let Some(violation) = alarm.poll_output() {
                backlog.push(violation, self.clock.stamp());
            }
            backlog.hand_over();
        }
    }

    #[must_use]
    pub fn report(&self) -> BudgetReport {
        BudgetReport::new(&self.inside().governor, self.interface.clone(), self.clock.stamp())
    }

    #[must_use]
    pub fn health(&self) -> BudgetHealth {
        let inside = self.inside();
        let total = inside.governor.usage().total();
        BudgetHealth { step: inside.governor.step(), bytes: total.bytes, yuan: total.yuan }
    }

    /// How large a new clip of that tier is to be at most.
    #[must_use]
    pub fn clip_bytes(&self, tier: u8, max_bytes: u64) -> u64 {
        self.inside().governor.clip_bytes(tier, max_bytes)
    }

    /// How large a new picture is to be at most.
    #[must_use]
    pub fn snapshot_bytes(&self, max_bytes: usize) -> usize {
        usize::try_from(self.inside().governor.snapshot_bytes(max_bytes as u64)).unwrap_or(max_bytes)
    }

    /// Why a new picture of that tier would have to wait, if it would.
    #[must_use]
    pub fn holds_snapshots(&self, tier: u8) -> Option<String> {
        let now = self.clock.stamp();
        let picture = Wanted::message(OutboxKind::Snapshot, tier, ALERT_BYTES as u64);
        match self.inside().governor.admit(picture, now) {
            Admission::Go => None,
            Admission::Hold(hold) => Some(format!("waiting: {}", hold.reason)),
        }
    }

    /// Everything is committed, and nothing more passes.
    pub fn finish(&self) {
        self.count();
        if let Err(error) = self.save_as(true) {
            error!(error = format!("{error:#}"), "the ledger was not saved");
        }
    }

    fn keep(&self, is_seldom: bool) {
        self.count();
        let now = self.clock.stamp();
        let is_due = {
            let mut inside = self.inside();
            inside.governor.handle_time(now);
            inside.governor.wants_saving(now.mono)
        };
        if is_due {
            self.save_and_go_on();
        }
        if is_seldom {
            self.tell_months();
            self.read_history();
        }
    }

    fn read_history(&self) {
        let now = self.clock.stamp();
        let (buckets, label) = {
            let mut inside = self.inside();
            let label = inside.governor.account().label(now.mono);
            inside.governor.forget(label.before(REMEMBERED));
            (inside.governor.account().buckets().to_vec(), label)
        };
        match history(|since| self.store.demand(since), &buckets, label) {
            Ok(forecast) => self.inside().governor.handle_history(forecast, now),
            Err(error) => error!(error = format!("{error:#}"), "past demands can't be read"),
        }
    }

    fn count(&self) {
        let Some(name) = &self.interface else { return };
        let mut inside = self.inside();
        // Read within the lock: of two that count at a time, the later reading could come first, and the earlier one look
        // like a counter that began anew.
        let (reading, now) = (read(name), self.clock.stamp());
        inside.governor.handle_reading(reading, now);
        inside.reading = reading.map(|reading| (reading, now.mono)).or(inside.reading);
    }

    fn save_and_go_on(&self) {
        if let Err(error) = self.save_as(false) {
            error!(error = format!("{error:#}"), "the ledger was not saved: check the disk");
        }
    }

    fn save_as(&self, is_clean: bool) -> Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.stamp();
        let (changes, counting) = {
            let mut inside = self.inside();
            let reading = inside.reading;
            let counting = Counting {
                is_clean,
                interface: self.interface.clone(),
                boot: self.store.boot(),
                reading: reading.map(|(reading, _)| reading),
                uptime_ms: reading.map_or(now.mono, |(_, at)| at),
                factor: Some(inside.governor.factor()),
                ledger_incomplete: false,
            };
            (inside.governor.take_changes(now.mono), counting)
        };
        let saved = self.store.save_ledger(now, &changes, serde_json::to_value(counting)?);
        if saved.is_err() {
            self.inside().governor.handle_not_saved(&changes);
        }
        Ok(saved?)
    }

    fn tell_months(&self) {
        if let Err(error) = self.try_tell_months(self.clock.stamp()) {
            error!(error = format!("{error:#}"), "a month's account was not recorded");
        }
    }

    fn try_tell_months(&self, now: Stamp) -> Result<()> {
        let (closed, open_for) = {
            let inside = self.inside();
            let account = inside.governor.account();
            let label = account.label(now.mono);
            let open_ms = label.as_unix_millis().saturating_sub(account.period().from.as_unix_millis());
            (account.closed(), Duration::from_millis(u64::try_from(open_ms).unwrap_or(0)))
        };
        if closed.is_empty() || open_for < TELL_AFTER || !now.quality.is_trusted() {
            return Ok(());
        }
        let told = self.store.told_months()?;
        for (period, usage) in closed {
            let before = told.iter().find(|(known, _)| known.from == period.from).map(|(_, usage)| usage);
            let Some(body) = month_record(period, &usage, before) else { continue };
            self.store.tell_month(now, period, &usage, body)?;
            info!(from = %period.from, to = %period.to, yuan = %usage.total().yuan, "the month's account goes to the district");
            self.wake.notify_one();
        }
        Ok(())
    }

    fn alarm(&self, newest: &[AlertRow]) -> BudgetAlarm {
        let period = self.inside().governor.account().period();
        let of_month = newest.iter().filter(|alert| alert.opened_at >= period.from);
        let raised = of_month.filter_map(|alert| BudgetAlarm::threshold(alert.body.zone.as_deref()?));
        BudgetAlarm::resumed(period, raised)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate for Budget {
    fn passed(&self, class: TrafficClass, bytes: u64) {
        let now = self.clock.stamp();
        let wants_saving = {
            let mut inside = self.inside();
            inside.governor.handle_traffic(class, bytes, now);
            inside.governor.wants_saving(now.mono)
        };
        if wants_saving {
            self.save_now.notify_one();
        }
    }

    fn admit(&self, wanted: Wanted) -> Admission {
        self.inside().governor.admit(wanted, self.clock.stamp())
    }

    fn may_go_on(&self, bytes: u64) -> bool {
        self.inside().governor.may_go_on(bytes, self.clock.stamp())
    }

    fn link_mode(&self) -> LinkMode {
        self.inside().governor.link_mode(self.clock.stamp())
    }

    fn wants_saving(&self) -> bool {
        self.inside().governor.wants_saving(self.clock.mono())
    }

    fn save(&self) {
        self.count();
        self.save_and_go_on();
    }

    fn held(&self, id: &str, clip_of: Option<&str>, hold: Hold) {
        info!(message = id, reason = %hold.reason, until = %hold.until, "waits, though the link is there");
        let Some(alert_id) = clip_of.and_then(|id| id.parse().ok()) else { return };
        let status = match hold.reason {
            HoldReason::Step(BudgetStep::ClipsOnRequest | BudgetStep::Full) => ON_REQUEST.to_owned(),
            reason => format!("waiting: {reason}"),
        };
        let job = DeskJob::ClipHeld { alert_id, status, stamp: self.clock.stamp() };
        if let Some(desk) = &*self.clips_held.lock().unwrap_or_else(PoisonError::into_inner) {
            // A desk that is busy is told by the next one: the technician sees it all the same.
            let _ = desk.try_send(job);
        }
    }
}

/// The governor as it would go on from a database that somebody else may be writing.
///
/// # Errors
/// When the database can't be read.
pub fn governor_of(config: &Config, reader: &Reader, now: Stamp) -> Result<Governor> {
    let settings = Settings::new(&config.budget, config.time_zone());
    let buckets = reader.ledger(Wall::from_unix_millis(i64::MIN))?;
    let boot = buckets.iter().map(|bucket| bucket.boot).max().and_then(|boot| u32::try_from(boot).ok()).unwrap_or(1);
    let account = restore(boot, buckets, &settings, now);
    let forecast = history(|since| reader.demand(since), account.buckets(), account.label(now.mono))?;
    Ok(Governor::new(settings, account, forecast, now))
}

fn restore(boot: u32, buckets: Vec<Bucket>, settings: &Settings, now: Stamp) -> Account {
    let mut account = Account::restore(boot, settings.start_day, settings.tariff.clone(), buckets, now);
    let newest = account.buckets().iter().map(|bucket| bucket.label).max();
    if let Some(newest) = newest {
        account.forget(newest.before(REMEMBERED));
    }
    account
}

/// What the past weeks asked for: messages by the hours in which they were made, the connection by what it took.
fn history(
    demand: impl FnOnce(i64) -> Result<Vec<DemandRow>, StoreError>,
    buckets: &[Bucket],
    now: Wall,
) -> Result<Forecast> {
    let mut rows = demand(Forecast::hour(now) - HISTORY_WEEKS * 168)?;
    rows.extend(buckets.iter().filter_map(|bucket| {
        let bytes = bucket.classes[TrafficClass::Protocol as usize].bytes;
        let hour = Forecast::hour(bucket.label);
        (bytes > 0).then_some(DemandRow { hour, demand: Demand::Protocol, bytes, count: 1 })
    }));
    Ok(Forecast::restore(&rows))
}

/// Where an interface's counters stood: those of an earlier boot have begun at zero since.
fn counted(saved: &Counting, boot: u32) -> Option<(Reading, Mono)> {
    if saved.boot == boot {
        return Some((saved.reading?, saved.uptime_ms));
    }
    Some((Reading { received: 0, sent: 0 }, Mono::ZERO))
}

/// Charges what nobody can know, to the box's disadvantage.
fn charge_unknown(governor: &mut Governor, saved: &Counting, is_exact: bool, now: Stamp) {
    if !saved.is_clean && !is_exact {
        governor.handle_unaccounted(UNSAVED_BYTES, now);
    }
    if saved.ledger_incomplete {
        let bytes = governor.share_until(now);
        warn!(bytes, "hours of the ledger are lost: the month's share until now is charged");
        governor.handle_unaccounted(bytes, now);
    }
}

fn read(name: &str) -> Option<Reading> {
    let folder: PathBuf = sysfs().join("class/net").join(name).join("statistics");
    let counter = |file: &str| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    Some(Reading { received: counter("rx_bytes")?, sent: counter("tx_bytes")? })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use kitchen_store::OpenOptions;

    use super::*;
    use crate::clock::SystemClock;

    const LOOPBACK: &str = "lo";
    const COUNTERS: usize = 4;
    const COUNTS: usize = 5_000;

    /// A loopback's counters go on while this is read, by whatever the machine does.
    fn loopback() -> u64 {
        let reading = read(LOOPBACK).expect("every machine has it");
        reading.received + reading.sent
    }

    fn send_until(is_over: &AtomicBool) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let own = socket.local_addr().expect("bound");
        while !is_over.load(Ordering::Relaxed) {
            let _ = socket.send_to(&[0; 64], own);
        }
    }

    #[test]
    fn counting_at_the_same_time_charges_nothing_twice() {
        let directory = tempfile::tempdir().expect("a folder");
        let text = format!("[device]\nid = \"mh07-000123\"\n[budget.interface]\nname = \"{LOOPBACK}\"\n");
        let config = Config::parse(&text, &[]).expect("valid");
        let options = OpenOptions { dir: directory.path(), device: "mh07-000123", boot_id: "a-boot" };
        let store = Store::open(options).expect("a store");
        let clock: Arc<dyn Clock> = SystemClock::new();
        let before = loopback();
        let budget = Budget::open(&config, &store, &clock, &Arc::default()).expect("a budget");

        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _sending = scope.spawn(|| send_until(&is_over));
            let counting: Vec<_> =
                (0..COUNTERS).map(|_| scope.spawn(|| (0..COUNTS).for_each(|_| budget.count()))).collect();
            counting.into_iter().for_each(|counting| counting.join().expect("counted"));
            is_over.store(true, Ordering::Relaxed);
        });
        budget.finish();

        let (charged, passed) = (budget.health().bytes, loopback() - before);
        assert!(charged > 0 && charged <= passed, "{charged} bytes charged, {passed} passed");
    }
}
