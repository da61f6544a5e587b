//! The handle to the store: a call is a closure that the store's thread runs; the caller waits for its answer.
//! Cheap to clone. The last handle that goes ends the thread and closes the database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kitchen_core::alert::{AlertBody, AlertRecord, ClipRef};
use kitchen_core::budget::{Bucket, DemandRow, Period, Usage};
use kitchen_core::evidence::PublicKey;
use kitchen_core::outbox::{Payload, Waiting};
use kitchen_core::recording::Segment;
use kitchen_core::time::{Stamp, Wall};
use kitchen_core::wire::{ChainHead, ClipReceipt, MessageId, OutboxHealth, Receipt, Session};
use serde_json::Value;

use crate::alerts::{self, AlertRow, NewClip, NewSnapshot, OpenedAlert};
use crate::database::Database;
use crate::error::{StoreCause, StoreError};
use crate::eviction::{Quotas, Room, Tidied};
use crate::outbox::Receipted;
use crate::reader::Reader;
use crate::recording::{self, HeldRecording};
use crate::{chain, demand, identity, ledger, outbox, rescue};

/// Calls that may wait for the store's thread; further callers block.
const CALLS: usize = 64;

type Call = Box<dyn FnOnce(&mut Database) + Send>;

/// Where the store lies and for whom it writes.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions<'a> {
    /// The store's own folder, `<state_dir>/store`.
    pub dir: &'a Path,
    pub device: &'a str,
    /// The kernel's `/proc/sys/kernel/random/boot_id`.
    pub boot_id: &'a str,
}

/// What the box remembers. Every call blocks until the store's thread has answered.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    calls: Option<SyncSender<Call>>,
    health: Arc<Health>,
    thread: Option<JoinHandle<()>>,
    store_id: Mutex<String>,
    evidence_key: PublicKey,
    boot: u32,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread had panicked");
        }
    }
}

#[expect(clippy::missing_errors_doc, reason = "each fails when the disk or the database does; StoreError says how")]
impl Store {
    /// Opens or makes the store, upgrades its schema, counts the boot and starts the thread.
    /// One process can hold a store; another one gets [`StoreError::InUse`].
    pub fn open(options: OpenOptions<'_>) -> Result<Self, StoreError> {
        let database = Database::open(options.dir, options.device, options.boot_id)?;
        let (store_id, boot) = (Mutex::new(database.identity.store.clone()), database.identity.boot);
        let evidence_key = database.identity.key.public();
        let (calls, waiting) = sync_channel(CALLS);
        let health = Arc::new(Health::default());
        let served = Arc::clone(&health);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(database, &waiting, &served))
            .map_err(|source| StoreError::Thread { source })?;
        let shared = Shared { calls: Some(calls), health, thread: Some(thread), store_id, evidence_key, boot };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Opens the store in `dir` for reading, whether or not an agent runs; never makes one.
    pub fn read_only(dir: &Path) -> Result<Reader, StoreError> {
        Reader::open(dir)
    }

    /// Six letters and digits, made with the database, and anew when another box turns out to use them.
    #[must_use]
    pub fn store_id(&self) -> String {
        self.shared.store_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The public part of the box's evidence key.
    #[must_use]
    pub fn evidence_key(&self) -> PublicKey {
        self.shared.evidence_key
    }

    /// The newest link of the evidence chain.
    pub fn chain_head(&self) -> Result<ChainHead, StoreError> {
        self.call("read the evidence chain", |database| chain::head(&database.connection, &database.identity.store))
    }

    /// How many boots of the kernel this store has seen, this one included.
    #[must_use]
    pub fn boot(&self) -> u32 {
        self.shared.boot
    }

    /// How long the call under way has taken: a disk that does not answer makes it grow.
    #[must_use]
    pub fn busy_for(&self) -> Duration {
        self.shared.health.busy_since().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Calls that panicked; each was rolled back and answered with an error.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.health.panics.load(Ordering::Relaxed)
    }

    /// A session with an `n` that no earlier one had; one for each start of a connection.
    pub fn next_session(&self) -> Result<Session, StoreError> {
        self.call("count the session", |database| identity::next_session(&database.connection))
    }

    /// An id above all earlier ones, for a message that is not stored.
    pub fn next_id(&self) -> Result<MessageId, StoreError> {
        self.call("make an id", Database::next_id)
    }

    /// Stores a new alert with its pictures. It and its `alert.opened` have the id that is returned;
    /// `body.alert_id` and `body.snapshot` are filled in. Once this returns, a power cut takes nothing back.
    pub fn open_alert(
        &self,
        stamp: Stamp,
        body: AlertBody,
        snapshot: Option<NewSnapshot>,
    ) -> Result<OpenedAlert, StoreError> {
        self.call("store an alert", move |database| {
            if snapshot.is_some() {
                let whole = database.with_room(stamp, Room::ByEviction, |database| {
                    database.open_alert(stamp, body.clone(), snapshot.as_ref())
                });
                match whole {
                    Err(error) if error.cause() == StoreCause::DiskFull => {
                        // Better an alert without its picture than none.
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the disk is full: alert without picture");
                    }
                    whole => return whole,
                }
            }
            database.with_room(stamp, Room::WithReserve, |database| database.open_alert(stamp, body.clone(), None))
        })
    }

    /// Stores a further record of an alert; `closed` closes it at `stamp`, with the body's reason, once.
    /// `body.alert_id` is filled in, `body.snapshot` and `body.clip` are the caller's.
    pub fn append_alert_record(
        &self,
        stamp: Stamp,
        alert_id: &MessageId,
        record: AlertRecord,
        body: AlertBody,
    ) -> Result<MessageId, StoreError> {
        let alert_id = alert_id.clone();
        self.call("store an alert's record", move |database| {
            database.with_room(stamp, Room::WithReserve, |database| {
                database.append_alert_record(stamp, &alert_id, record, body.clone())
            })
        })
    }

    /// Stores a clip, its `alert.clip` and what is to be sent; `body.clip` and `body.clip_status` are filled in.
    pub fn attach_clip(
        &self,
        stamp: Stamp,
        alert_id: &MessageId,
        clip: NewClip,
        body: AlertBody,
    ) -> Result<ClipRef, StoreError> {
        let alert_id = alert_id.clone();
        self.call("store a clip", move |database| {
            database.with_room(stamp, Room::ByEviction, |database| {
                database.attach_clip(stamp, &alert_id, &clip, body.clone())
            })
        })
    }

    /// Stores a record about the box itself for the topic `record`; `kind` is the envelope's type.
    pub fn append_record(&self, stamp: Stamp, kind: &str, body: Value) -> Result<MessageId, StoreError> {
        let kind = kind.to_owned();
        self.call("store a record", move |database| {
            database.with_room(stamp, Room::WithReserve, |database| database.append_record(stamp, &kind, body.clone()))
        })
    }

    /// Makes records of the losses that were found while the store was opened; how many.
    pub fn tell_losses(&self, now: Stamp) -> Result<usize, StoreError> {
        self.call("tell losses", move |database| database.tell_losses(now))
    }

    /// Keeps files and database within `quotas`, the least needed going first. A call does a part of a long work:
    /// call it every minute.
    pub fn tidy(&self, now: Stamp, quotas: Quotas) -> Result<Tidied, StoreError> {
        self.call("tidy the store", move |database| database.tidy(now, &quotas))
    }

    /// Has the next start set the database aside and rescue what it holds.
    pub fn mark_damaged(&self, damage: &str) -> Result<(), StoreError> {
        let damage = damage.to_owned();
        self.call("mark the database as damaged", move |database| rescue::mark_damaged(&database.layout, &damage))
    }

    /// Alerts that are not closed, oldest first.
    pub fn open_alerts(&self) -> Result<Vec<AlertRow>, StoreError> {
        self.call("list open alerts", |database| alerts::open_alerts(&database.connection, &database.layout))
    }

    /// The newest `limit` alerts, newest first.
    pub fn alerts(&self, limit: usize) -> Result<Vec<AlertRow>, StoreError> {
        self.call("list alerts", move |database| alerts::alerts(&database.connection, &database.layout, limit))
    }

    /// One alert as [`Store::alerts`] lists it.
    pub fn alert(&self, alert_id: &MessageId) -> Result<Option<AlertRow>, StoreError> {
        let id = alert_id.to_string();
        self.call("read an alert", move |database| {
            let found = alerts::alerts_beginning(&database.connection, &database.layout, &id)?;
            Ok(found.into_iter().find(|alert| alert.alert_id.to_string() == id))
        })
    }

    /// How many alerts were opened at `since` or later.
    pub fn alerts_since(&self, since: Wall) -> Result<u64, StoreError> {
        self.call("count alerts", move |database| alerts::alerts_since(&database.connection, since))
    }

    /// The first `limit` messages that wait and are not set aside, in the order in which they are to be sent.
    pub fn outbox_waiting(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        self.call("list the outbox", move |database| outbox::waiting(&database.connection, limit))
    }

    /// What to publish for a waiting message; `None` when it does not wait any more.
    /// A snapshot whose file is gone or changed is an error: set it aside.
    pub fn outbox_load(&self, id: &str) -> Result<Option<Payload>, StoreError> {
        let id = id.to_owned();
        self.call("load a message", move |database| database.outbox_load(&id))
    }

    /// Counts an attempt for each id. Not synced by itself.
    pub fn outbox_sent(&self, ids: &[String], now: Wall) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.call("note messages as sent", move |database| database.outbox_sent(&ids, now))
    }

    /// Removes what the district has acknowledged. Unknown ids are ignored; a message that was never sent, or whose
    /// bytes are not those that the receipt is for, still waits.
    pub fn outbox_receipted(&self, receipts: &[Receipt], now: Wall) -> Result<Receipted, StoreError> {
        let receipts = receipts.to_vec();
        self.call("remove receipted messages", move |database| database.outbox_receipted(&receipts, now))
    }

    /// Removes a clip that the district has stored; its file stays. `false`: it still waits, since the answer is about
    /// another clip of that id.
    pub fn outbox_clip_stored(&self, answer: &ClipReceipt, now: Wall) -> Result<bool, StoreError> {
        let answer = answer.clone();
        self.call("remove a stored clip", move |database| database.outbox_clip_stored(&answer, now))
    }

    /// Sets aside a clip that the district has rejected, and records it. `false` as for one that is stored.
    pub fn outbox_clip_rejected(&self, answer: &ClipReceipt, now: Stamp) -> Result<bool, StoreError> {
        let answer = answer.clone();
        self.call("set a rejected clip aside", move |database| database.outbox_clip_rejected(&answer, now))
    }

    /// The district held `ids` already, with other bytes. If they are this store's, it takes another store id, so that
    /// no further id repeats, and records it; whether it did.
    pub fn outbox_conflicted(&self, ids: &[String], now: Stamp) -> Result<bool, StoreError> {
        let ids = ids.to_vec();
        let renewed = self.call("renew the store's id", move |database| database.outbox_conflicted(&ids, now))?;
        let is_renewed = renewed.is_some();
        if let Some(store) = renewed {
            tracing::warn!(store, "the district holds other messages of this store's ids: is the card a copy?");
            *self.shared.store_id.lock().unwrap_or_else(PoisonError::into_inner) = store;
        }
        Ok(is_renewed)
    }

    /// Sets aside a message that holds others up, and records it. Whether it waited; unknown ids are ignored.
    pub fn outbox_set_aside(&self, id: &str, reason: &str, now: Stamp) -> Result<bool, StoreError> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.call("set a message aside", move |database| database.outbox_set_aside(&id, &reason, now))
    }

    /// Has a message sent anew, as if it had never been tried or set aside. Whether it is there.
    pub fn outbox_requeue(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.call("queue a message again", move |database| database.outbox_requeue(&id))
    }

    /// Gives up a message for good, and records the loss. Whether it was there.
    pub fn outbox_drop(&self, id: &str, now: Stamp) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.call("drop a message", move |database| database.outbox_drop(&id, now))
    }

    /// How much waits, and since when.
    pub fn outbox_health(&self, now: Wall) -> Result<OutboxHealth, StoreError> {
        self.call("measure the outbox", move |database| outbox::health(&database.connection, now))
    }

    /// Gives up what has waited too long for its class, each with a record. Nothing while the clock is not trusted.
    /// Call it every few minutes even so: it notes the uptime.
    pub fn expire(&self, now: Stamp) -> Result<usize, StoreError> {
        self.call("expire messages", move |database| database.expire(now))
    }

    /// The segments that the recording's index names, in order.
    pub fn recording(&self) -> Result<Vec<Segment>, StoreError> {
        self.call("list the recording", |database| recording::all(&database.connection))
    }

    /// The first `limit` of them: those that go next.
    pub fn oldest_recording(&self, limit: usize) -> Result<Vec<Segment>, StoreError> {
        self.call("list the recording", move |database| recording::oldest(&database.connection, limit))
    }

    /// What the recording holds of each camera.
    pub fn recording_held(&self) -> Result<Vec<HeldRecording>, StoreError> {
        self.call("measure the recording", |database| recording::held(&database.connection))
    }

    /// Notes segments as written or removed. Not synced by itself.
    pub fn note_recording(&self, new: &[Segment], gone: &[Segment]) -> Result<(), StoreError> {
        let (new, gone) = (new.to_vec(), gone.to_vec());
        self.call("note the recording", move |database| database.note_recording(&new, &gone))
    }

    /// Saves changed hours of the account and the agent's own `counting` together. Once this returns, a power cut takes
    /// nothing back. A bucket is known by its boot and first uptime; a class without bytes loses its row.
    pub fn save_ledger(&self, stamp: Stamp, buckets: &[Bucket], counting: Value) -> Result<(), StoreError> {
        let buckets = buckets.to_vec();
        self.call("save the ledger", move |database| {
            database.with_room(stamp, Room::WithReserve, |database| database.save_ledger(stamp, &buckets, &counting))
        })
    }

    /// The account's hours labelled `since` or later, in the order in which they were first saved. Those of a store
    /// before this one have negative boots. What can't be read is left out, which is logged.
    pub fn ledger(&self, since: Wall) -> Result<Vec<Bucket>, StoreError> {
        self.call("read the ledger", move |database| ledger::buckets(&database.connection, since))
    }

    /// What the newest [`Store::save_ledger`] said. A rescue that lost hours of the ledger puts
    /// `"ledger_incomplete": true` into it.
    pub fn counting(&self) -> Result<Option<Value>, StoreError> {
        self.call("read the counting", |database| ledger::counting(&database.connection))
    }

    /// What messages have asked for since that hour after 1970, in the order of the hours. What can't be read is left
    /// out, which is logged.
    pub fn demand(&self, since_hour: i64) -> Result<Vec<DemandRow>, StoreError> {
        self.call("read the demand", move |database| demand::since(&database.connection, since_hour))
    }

    /// The months that the district was told of, with the sums it knows, in their order.
    pub fn told_months(&self) -> Result<Vec<(Period, Usage)>, StoreError> {
        self.call("list told months", |database| ledger::told_months(&database.connection))
    }

    /// Stores the record `budget.month` and that the district then knows `usage` of the month, together.
    pub fn tell_month(
        &self,
        stamp: Stamp,
        period: Period,
        usage: &Usage,
        body: Value,
    ) -> Result<MessageId, StoreError> {
        let usage = *usage;
        self.call("tell a month", move |database| {
            database.with_room(stamp, Room::WithReserve, |database| {
                database.tell_month(stamp, period, &usage, body.clone())
            })
        })
    }

    /// Saves the time below which the clock shall not start again. A failure is logged only.
    pub fn save_time(&self, wall: Wall) {
        if let Err(error) = self.call("save the time", move |database| database.save_time(wall)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "time not saved");
        }
    }

    /// The time last saved; `None` when there is none or it can't be read, which is logged.
    #[must_use]
    pub fn saved_time(&self) -> Option<Wall> {
        self.call("read the saved time", |database| identity::saved_time(&database.connection)).unwrap_or_else(
            |error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "saved time not read");
                None
            },
        )
    }

    fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Stopped { operation };
        let (reply, answer) = sync_channel(1);
        let call: Call = Box::new(move |database| {
            // Who does not wait any more misses nothing that the rows don't say.
            let _ = reply.send(work(database));
        });
        self.shared.calls.as_ref().ok_or_else(stopped)?.send(call).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }
}

/// What the thread tells of itself.
#[derive(Debug, Default)]
struct Health {
    busy_since: Mutex<Option<Instant>>,
    panics: AtomicU64,
}

impl Health {
    fn busy_since(&self) -> Option<Instant> {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_busy_since(&self, since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

fn serve(mut database: Database, calls: &Receiver<Call>, health: &Health) {
    for call in calls {
        health.set_busy_since(Some(Instant::now()));
        // A transaction that unwinds is rolled back: the connection stays good for the next call.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!("store");
            call(&mut database);
        }));
        if outcome.is_err() {
            health.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a call of the store panicked and was rolled back");
        }
        health.set_busy_since(None);
    }
}
