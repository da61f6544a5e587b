//! The store as the uplink and the alert desk see it: the box's end of the contract.

use std::sync::Arc;

use anyhow::Result;
use kitchen_core::alert::{AlertBody, AlertRecord, ClipRef};
use kitchen_core::outbox::{Payload, Waiting};
use kitchen_core::time::{Clock, Stamp};
use kitchen_core::wire::{ClipReceipt, ClipReceiptState, Envelope, MessageId, Receipt, Session};
use kitchen_store::{NewClip, NewSnapshot, OpenedAlert, Store};
use kitchen_uplink::{Outbox, OutboxError};
use serde_json::Value;
use tokio::sync::Notify;

use crate::alert_desk::Ledger;

/// The outbox on disk for the uplink.
pub struct StoredOutbox {
    pub store: Store,
    pub device: String,
    pub clock: Arc<dyn Clock>,
}

impl Outbox for StoredOutbox {
    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, OutboxError> {
        self.store.outbox_waiting(limit).map_err(OutboxError::new)
    }

    fn load(&self, id: &str) -> Result<Option<Payload>, OutboxError> {
        match self.store.outbox_load(id) {
            Ok(payload) => Ok(payload),
            Err(error) => {
                // A picture that is gone or altered can't be sent, and must not hold up the rest.
                tracing::error!(message = id, error = &error as &dyn std::error::Error, "message can't be loaded");
                let reason = format!("can't be loaded: {error}");
                self.store.outbox_set_aside(id, &reason, self.clock.stamp()).map_err(OutboxError::new)?;
                Ok(None)
            }
        }
    }

    fn sent(&self, ids: &[String]) -> Result<(), OutboxError> {
        self.store.outbox_sent(ids, self.clock.stamp().wall).map_err(OutboxError::new)
    }

    fn receipted(&self, receipts: &[Receipt]) -> Result<Vec<String>, OutboxError> {
        let receipted = self.store.outbox_receipted(receipts, self.clock.stamp().wall).map_err(OutboxError::new)?;
        Ok(receipted.still_waiting)
    }

    fn clip_ended(&self, answer: &ClipReceipt) -> Result<bool, OutboxError> {
        let now = self.clock.stamp();
        match answer.state {
            ClipReceiptState::Missing => Ok(true),
            ClipReceiptState::Stored => self.store.outbox_clip_stored(answer, now.wall).map_err(OutboxError::new),
            ClipReceiptState::Rejected => self.store.outbox_clip_rejected(answer, now).map_err(OutboxError::new),
        }
    }

    fn conflicted(&self, ids: &[String]) -> Result<bool, OutboxError> {
        self.store.outbox_conflicted(ids, self.clock.stamp()).map_err(OutboxError::new)
    }

    fn set_aside(&self, id: &str, failures: u32) -> Result<(), OutboxError> {
        let reason = format!("failed {failures} times while others got through");
        self.store.outbox_set_aside(id, &reason, self.clock.stamp()).map(drop).map_err(OutboxError::new)
    }

    fn next_session(&self) -> Result<Session, OutboxError> {
        self.store.next_session().map_err(OutboxError::new)
    }

    fn envelope(&self, kind: &str, body: Value) -> Result<Envelope, OutboxError> {
        let id = self.store.next_id().map_err(OutboxError::new)?;
        Ok(Envelope::new(id, kind, &self.device, self.clock.stamp(), body))
    }
}

/// The store for the alert desk; tells the uplink of everything new.
pub struct StoredLedger {
    pub store: Store,
    pub wake: Arc<Notify>,
}

impl Ledger for StoredLedger {
    fn open(&mut self, stamp: Stamp, body: AlertBody, snapshot: Option<NewSnapshot>) -> Result<OpenedAlert> {
        let opened = self.store.open_alert(stamp, body, snapshot)?;
        self.wake.notify_one();
        Ok(opened)
    }

    fn append(&mut self, stamp: Stamp, alert_id: &MessageId, record: AlertRecord, body: AlertBody) -> Result<()> {
        self.store.append_alert_record(stamp, alert_id, record, body)?;
        self.wake.notify_one();
        Ok(())
    }

    fn attach_clip(&mut self, stamp: Stamp, alert_id: &MessageId, clip: NewClip, body: AlertBody) -> Result<ClipRef> {
        let clip = self.store.attach_clip(stamp, alert_id, clip, body)?;
        self.wake.notify_one();
        Ok(clip)
    }

    fn newest(&mut self, alert_id: &MessageId) -> Option<AlertBody> {
        match self.store.alert(alert_id) {
            Ok(alert) => Some(alert?.body),
            Err(error) => {
                tracing::error!(%alert_id, error = &error as &dyn std::error::Error, "an alert can't be read");
                None
            }
        }
    }
}
