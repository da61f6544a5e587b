//! The box's outbox on disk for the uplink, with a witness at each of its doors: what is loaded, in which order,
//! and whether the district holds a message whose receipt is noted.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kitchen_core::outbox::{Payload, Waiting};
use kitchen_core::time::Clock as _;
use kitchen_core::wire::{ClipReceipt, ClipReceiptState, Envelope, MessageId, Receipt, Session, sha256_hex};
use kitchen_store::Store;
use kitchen_uplink::{Outbox, OutboxError};
use serde_json::Value;

use super::DEVICE;
use super::clock::LabClock;
use super::district_rows::DistrictRows;

/// What was seen over all runs of the uplink.
#[derive(Debug)]
pub(super) struct Witness {
    district: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    rows: Option<DistrictRows>,
    priorities: HashMap<String, u8>,
    hashes: HashMap<String, String>,
    newest: BTreeMap<u8, MessageId>,
    loads: u64,
    set_aside: Vec<String>,
    faults: Vec<String>,
}

impl Witness {
    pub fn new(district: PathBuf) -> Self {
        Self { district, seen: Mutex::default() }
    }

    pub fn loads(&self) -> u64 {
        self.seen().loads
    }

    pub fn set_aside(&self) -> Vec<String> {
        self.seen().set_aside.clone()
    }

    /// What must not have happened.
    pub fn faults(&self) -> Vec<String> {
        self.seen().faults.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see_waiting(&self, list: &[Waiting]) {
        let mut seen = self.seen();
        for waiting in list {
            seen.priorities.insert(waiting.id.clone(), waiting.priority);
        }
    }

    /// A message is about to be sent: always the same bytes, and the first time in the order of its priority.
    fn see_loaded(&self, id: &str, payload: &Payload) {
        let hash = match payload {
            Payload::Record { bytes, .. } | Payload::Snapshot { bytes, .. } => sha256_hex(bytes),
            Payload::Clip { init, .. } => init.sha256.clone(),
        };
        let mut seen = self.seen();
        seen.loads += 1;
        if let Some(before) = seen.hashes.insert(id.to_owned(), hash.clone()) {
            if before != hash {
                seen.faults.push(format!("{id} was sent with other bytes than before"));
            }
            return;
        }
        let (Some(priority), Ok(id)) = (seen.priorities.get(id).copied(), id.parse::<MessageId>()) else {
            seen.faults.push(format!("{id} was sent without having been listed"));
            return;
        };
        let newest = seen.newest.insert(priority, id.clone());
        let is_newer = |newest: &MessageId| (newest.boot, newest.sequence) > (id.boot, id.sequence);
        // Among clips it is their worth that counts.
        let has_order = !matches!(payload, Payload::Clip { .. });
        if let Some(newest) = newest.filter(|newest| has_order && is_newer(newest)) {
            seen.faults.push(format!("{id} was sent first after the newer {newest} of the same priority {priority}"));
        }
    }

    /// A message has left the outbox with its receipt.
    fn see_receipt(&self, id: &str, payload: &Payload) {
        let mut seen = self.seen();
        if seen.rows.is_none() {
            seen.rows = DistrictRows::open(&self.district).ok();
        }
        if !seen.rows.as_ref().is_some_and(|rows| rows.holds(id, payload)) {
            seen.faults.push(format!("a receipt was noted for {id}, which the district does not hold"));
        }
    }
}

pub(super) struct WitnessedOutbox {
    pub store: Store,
    pub clock: Arc<LabClock>,
    pub witness: Arc<Witness>,
}

impl WitnessedOutbox {
    fn waits(&self, id: &str) -> Result<Option<Payload>, OutboxError> {
        self.store.outbox_load(id).map_err(OutboxError::new)
    }
}

impl Outbox for WitnessedOutbox {
    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, OutboxError> {
        let list = self.store.outbox_waiting(limit).map_err(OutboxError::new)?;
        self.witness.see_waiting(&list);
        Ok(list)
    }

    fn load(&self, id: &str) -> Result<Option<Payload>, OutboxError> {
        let payload = self.store.outbox_load(id).map_err(OutboxError::new)?;
        if let Some(payload) = &payload {
            self.witness.see_loaded(id, payload);
        }
        Ok(payload)
    }

    fn sent(&self, ids: &[String]) -> Result<(), OutboxError> {
        self.store.outbox_sent(ids, self.clock.stamp().wall).map_err(OutboxError::new)
    }

    fn receipted(&self, receipts: &[Receipt]) -> Result<Vec<String>, OutboxError> {
        let waited = receipts.iter().map(|receipt| self.waits(&receipt.id)).collect::<Result<Vec<_>, _>>()?;
        let receipted = self.store.outbox_receipted(receipts, self.clock.stamp().wall).map_err(OutboxError::new)?;
        for (receipt, waited) in receipts.iter().zip(waited) {
            if let Some(payload) = waited.filter(|_| !receipted.still_waiting.contains(&receipt.id)) {
                self.witness.see_receipt(&receipt.id, &payload);
            }
        }
        Ok(receipted.still_waiting)
    }

    fn clip_ended(&self, answer: &ClipReceipt) -> Result<bool, OutboxError> {
        let now = self.clock.stamp();
        if answer.state == ClipReceiptState::Stored {
            let waited = self.waits(&answer.clip_id)?;
            let is_counted = self.store.outbox_clip_stored(answer, now.wall).map_err(OutboxError::new)?;
            if let Some(payload) = waited.filter(|_| is_counted) {
                self.witness.see_receipt(&answer.clip_id, &payload);
            }
            return Ok(is_counted);
        }
        let (clip_id, reason) = (&answer.clip_id, &answer.reason);
        self.witness.seen().faults.push(format!("the clip {clip_id} was rejected: {reason:?}"));
        self.store.outbox_clip_rejected(answer, now).map_err(OutboxError::new)
    }

    fn conflicted(&self, ids: &[String]) -> Result<bool, OutboxError> {
        self.witness.seen().faults.push(format!("the district says that {ids:?} came with other bytes"));
        self.store.outbox_conflicted(ids, self.clock.stamp()).map_err(OutboxError::new)
    }

    fn set_aside(&self, id: &str, failures: u32) -> Result<(), OutboxError> {
        self.witness.seen().set_aside.push(id.to_owned());
        let reason = format!("failed {failures} times while others got through");
        self.store.outbox_set_aside(id, &reason, self.clock.stamp()).map(drop).map_err(OutboxError::new)
    }

    fn next_session(&self) -> Result<Session, OutboxError> {
        self.store.next_session().map_err(OutboxError::new)
    }

    fn envelope(&self, kind: &str, body: Value) -> Result<Envelope, OutboxError> {
        let id = self.store.next_id().map_err(OutboxError::new)?;
        Ok(Envelope::new(id, kind, DEVICE, self.clock.stamp(), body))
    }
}
