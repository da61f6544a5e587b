//! The witness of a simulated month: every message that the box's store took, what became of it, and whether that was
//! right. Reads the rows of the database as anybody could.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::wire::{Envelope, MessageId, sha256_hex};
use kitchen_store::Store;
use rusqlite::Connection;
use serde_json::Value;

use super::receiver::Receiver;

/// The first priority of clips.
const CLIPS: u8 = 4;
const FINDINGS: usize = 20;
/// The store notes the uptime every ten minutes, and looks for overdue messages as often.
const SLACK: Duration = Duration::from_secs(15 * 60);

/// How a message left the outbox, or why it waits no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Acknowledged,
    Expired,
    Evicted,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub kind: OutboxKind,
    pub priority: u8,
    pub sha256: String,
    created: u64,
    created_uptime: Duration,
    label_error: Duration,
    boot: u32,
    pub is_sent: bool,
    pub is_set_aside: bool,
    pub end: Option<End>,
}

/// Now, as the simulation and the box's kernel know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub now: u64,
    pub uptime: Duration,
    pub boot: u32,
    /// By how much a label that looks right is wrong.
    pub clock_error: Duration,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub entries: BTreeMap<String, Entry>,
    rows: Option<Connection>,
    last_position: i64,
    /// Ids that records of the box name as gone or set aside.
    pub told: BTreeSet<String>,
    newest_sent: BTreeMap<u8, MessageId>,
    /// Listed to the scheduler and never sent yet.
    unsent: BTreeMap<(u8, u32, u64), String>,
    findings: Vec<String>,
}

impl Ledger {
    pub fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }

    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The store was opened anew, and the scheduler with it.
    pub fn open(&mut self, store: &Path) {
        self.rows = Some(Connection::open(store.join("agent.db")).expect("the database opens beside its owner"));
        self.unsent.clear();
    }

    pub fn close(&mut self) {
        self.rows = None;
    }

    /// Takes up what the last call of the store has put into the outbox; answers the ids.
    pub fn take_up(&mut self, store: &Store, moment: Moment) -> Vec<String> {
        let rows: Vec<(i64, String, String, u8)> = {
            let rows = self.rows.as_ref().expect("open");
            let mut query = rows
                .prepare_cached("SELECT position, id, kind, priority FROM outbox WHERE position > ?1 ORDER BY position")
                .expect("a query");
            let read =
                query.query_map([self.last_position], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
            read.expect("rows").collect::<rusqlite::Result<_>>().expect("rows")
        };
        let mut ids = Vec::new();
        for (position, id, kind, priority) in rows {
            self.last_position = position;
            let kind: OutboxKind = kind.parse().expect("a kind");
            let sha256 = match store.outbox_load(&id).expect("what was just stored can be loaded") {
                Some(Payload::Clip { init, .. }) => init.sha256,
                Some(Payload::Snapshot { bytes, .. }) => sha256_hex(&bytes),
                Some(Payload::Record { bytes, .. }) => {
                    let envelope: Envelope = serde_json::from_slice(&bytes).expect("an envelope");
                    self.read_report(&envelope, moment);
                    sha256_hex(&bytes)
                }
                None => String::new(),
            };
            let entry = Entry {
                kind,
                priority,
                sha256,
                created: moment.now,
                created_uptime: moment.uptime,
                label_error: moment.clock_error,
                boot: moment.boot,
                is_sent: false,
                is_set_aside: false,
                end: None,
            };
            if self.entries.insert(id.clone(), entry).is_some() {
                self.find(format!("the id {id} was given twice"));
            }
            ids.push(id);
        }
        ids
    }

    fn read_report(&mut self, envelope: &Envelope, moment: Moment) {
        let body = &envelope.body;
        match envelope.kind.as_str() {
            "expired" => ids_in(body).into_iter().for_each(|id| self.end_expired(&id, moment)),
            "loss" if body["reason"] == "quota" => {
                for id in ids_in(body) {
                    let is_file = self.entries.get(&id).is_some_and(|entry| is_file(entry.kind));
                    self.end(&id, End::Evicted);
                    if !is_file {
                        self.find(format!("{id}, no file, had to go for a quota"));
                    }
                }
            }
            "set_aside" => {
                let id = body["id"].as_str().unwrap_or_default().to_owned();
                match self.entries.get_mut(&id) {
                    Some(entry) if entry.end.is_none() && !entry.is_set_aside => entry.is_set_aside = true,
                    _ => self.find(format!("{id} was told as set aside, but does not wait")),
                }
                self.told.insert(id);
            }
            _ => {}
        }
    }

    fn end_expired(&mut self, id: &str, moment: Moment) {
        if let Some(entry) = self.entries.get(id) {
            let age = Duration::from_millis(moment.now - entry.created);
            // A label of a day ago is believed; one of ten years ago is not.
            let tolerated = entry.label_error.min(days_of(1));
            if entry.kind.expiry_days().is_none_or(|days| age + tolerated < days_of(days)) {
                let (kind, error) = (entry.kind, moment.clock_error);
                self.find(format!("{id} ({kind}) expired after {age:?}, the clock off by {error:?}"));
            }
        }
        self.end(id, End::Expired);
    }

    fn end(&mut self, id: &str, end: End) {
        self.told.insert(id.to_owned());
        match self.entries.get_mut(id) {
            Some(entry) if entry.end.is_none() => entry.end = Some(end),
            other => {
                let text = format!("{id} was told as {end:?}, but was {other:?}");
                self.find(text);
            }
        }
    }

    /// A receipt is about to be noted.
    pub fn see_receipt(&mut self, id: &str, receiver: &Receiver) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.end.is_none()) else { return };
        entry.end = Some(End::Acknowledged);
        if !receiver.holds(id, &entry.sha256) {
            self.find(format!("a receipt was noted for {id}, which the district does not hold"));
        }
    }

    /// The scheduler was told of these.
    pub fn see_listed<'a>(&mut self, ids: impl Iterator<Item = &'a String>, is_complete: bool) {
        if is_complete {
            self.unsent.clear();
        }
        for id in ids {
            if let Some(key) = self.key(id).filter(|_| !self.entries[id].is_sent) {
                self.unsent.insert(key, id.clone());
            }
        }
    }

    fn key(&self, id: &str) -> Option<(u8, u32, u64)> {
        let parsed: MessageId = id.parse().ok()?;
        Some((self.entries.get(id)?.priority, parsed.boot, parsed.sequence))
    }

    /// The scheduler wants it sent; whether it is the first time.
    pub fn see_sent(&mut self, id: &str) -> bool {
        let Some(key) = self.key(id) else {
            self.find(format!("{id} is sent, which nobody stored"));
            return false;
        };
        if std::mem::replace(&mut self.entries.get_mut(id).expect("has a key").is_sent, true) {
            return false;
        }
        self.unsent.remove(&key);
        // What has expired meanwhile is known to the scheduler until it would send it.
        let waits = |id: &String| self.entries[id].end.is_none() && !self.entries[id].is_set_aside;
        // Among clips of one priority it is their worth that counts.
        let first = if key.0 < CLIPS { key } else { (key.0, 0, 0) };
        let better = self.unsent.range(..first).map(|(_, id)| id).find(|id| waits(id)).cloned();
        if let Some(better) = better {
            self.find(format!("{id} was sent first while {better} waited"));
        }
        let parsed: MessageId = id.parse().expect("has a key");
        if let Some(newest) = self.newest_sent.insert(key.0, parsed.clone())
            && key.0 < CLIPS
            && (newest.boot, newest.sequence) > (parsed.boot, parsed.sequence)
        {
            self.find(format!("{id} was sent first after the newer {newest}"));
        }
        true
    }

    pub fn see_loaded(&mut self, id: &str, sha256: &str) {
        if self.entries.get(id).is_some_and(|entry| entry.sha256 != sha256) {
            self.find(format!("{id} is sent with other bytes than it was stored with"));
        }
    }

    /// What lies in the outbox is what has not ended, and nothing waits for ever.
    pub fn audit(&mut self, moment: Moment, is_clock_trusted: bool) {
        let rows: BTreeMap<String, bool> = {
            let rows = self.rows.as_ref().expect("open");
            let mut query = rows.prepare_cached("SELECT id, set_aside IS NOT NULL FROM outbox").expect("a query");
            let read = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            read.expect("rows").collect::<rusqlite::Result<_>>().expect("rows")
        };
        let mut wrong = Vec::new();
        for (id, entry) in self.entries.iter().filter(|(_, entry)| entry.end.is_none()) {
            match rows.get(id) {
                None => wrong.push(format!("{id} ({}) is gone, and nobody was told", entry.kind)),
                Some(is_set_aside) if *is_set_aside != entry.is_set_aside => {
                    wrong.push(format!("{id} is set aside: {is_set_aside}, told: {}", entry.is_set_aside));
                }
                Some(_) => {}
            }
            let known_uptime =
                moment.uptime.saturating_sub(entry.created_uptime + SLACK * (1 + moment.boot - entry.boot));
            if let Some(days) =
                entry.kind.expiry_days().filter(|days| known_uptime > days_of(*days) && is_clock_trusted)
            {
                wrong.push(format!("{id} ({}) still waits after {known_uptime:?} of {days} days", entry.kind));
            }
        }
        for id in rows.keys().filter(|id| self.entries.get(*id).is_none_or(|entry| entry.end.is_some())) {
            wrong.push(format!("{id} is in the outbox, but has ended"));
        }
        wrong.into_iter().for_each(|finding| self.find(finding));
    }

    pub fn count_ended(&self, end: End) -> u64 {
        self.entries.values().filter(|entry| entry.end == Some(end)).count() as u64
    }
}

/// The ids that a record of the box says are gone.
pub(super) fn ids_in(body: &Value) -> Vec<String> {
    let ids = body["ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    ids.iter().chain(body.get("id")).filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

fn is_file(kind: OutboxKind) -> bool {
    matches!(kind, OutboxKind::Snapshot | OutboxKind::Clip)
}

fn days_of(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}
