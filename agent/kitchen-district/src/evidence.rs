//! What a box's evidence shows on receipt: signed with the key that the box showed first, no link followed twice, and a
//! chain that never gets shorter. Findings are told as alarms; the messages are kept and acknowledged all the same.

use std::path::Path;

use kitchen_core::evidence::{PublicKey, check};
use kitchen_core::time::Wall;
use kitchen_core::wire::{ChainHead, MessageId};
use serde_json::Value;

use crate::event::DistrictEvent;
use crate::store::{DATABASE, Store, StoreError};

/// The first key that a device showed to the receiver whose folder this is.
///
/// # Errors
/// When its database can't be read.
pub fn evidence_key(store: &Path, device: &str) -> Result<Option<PublicKey>, StoreError> {
    let key = Store::open_to_read(&store.join(DATABASE))?.evidence_key(device)?;
    Ok(key.and_then(|key| key.parse().ok()))
}

/// The evidence of one device.
pub struct Evidence<'a> {
    pub store: &'a Store,
    pub device: &'a str,
    pub now: Wall,
}

impl Evidence<'_> {
    /// A box shows its key: the first one of a device is kept, each other one is an alarm, once.
    pub fn key(&self, key: Option<&str>) -> Result<Vec<DistrictEvent>, StoreError> {
        let Some(key) = key else { return Ok(Vec::new()) };
        if key.parse::<PublicKey>().is_err() {
            return self.alarm(None, "its evidence key is none".to_owned());
        }
        let is_new = self.store.insert_evidence_key(self.device, key, self.now)?;
        let first = self.store.evidence_key(self.device)?;
        let is_other = is_new && first.as_deref() != Some(key);
        let text = || format!("it shows another evidence key, {key}: was the box replaced, or is this another one?");
        if is_other { self.alarm(None, text()) } else { Ok(Vec::new()) }
    }

    /// A box says on which board it runs: each further board of a device is an alarm, once.
    pub fn board(&self, serial: Option<&str>) -> Result<Vec<DistrictEvent>, StoreError> {
        let Some(serial) = serial else { return Ok(Vec::new()) };
        let (is_new, before) = self.store.insert_board(self.device, serial, self.now)?;
        let text = |before| {
            format!("it runs on board {serial}, before on {before}: was its card moved, or is this a second box?")
        };
        match before.filter(|_| is_new) {
            Some(before) => self.alarm(None, text(before)),
            None => Ok(Vec::new()),
        }
    }

    /// A new record of an alert. One without evidence is an alarm only from a box that has shown a key.
    pub fn record(&self, id: &MessageId, envelope: &Value) -> Result<Vec<DistrictEvent>, StoreError> {
        let key = self.store.evidence_key(self.device)?.and_then(|key| key.parse::<PublicKey>().ok());
        let has_link = envelope.get("body").is_some_and(|body| body.get("evidence").is_some());
        if key.is_none() && !has_link {
            return Ok(Vec::new());
        }
        let id_text = id.to_string();
        match check(envelope, key.as_ref()) {
            Err(flaw) => self.alarm(Some(id_text), flaw.to_string()),
            Ok(link) => {
                let (prev, hash) = (link.prev.to_string(), link.hash.to_string());
                let other = self.store.insert_link(self.device, &id.store, &prev, &hash, &id_text)?;
                let text =
                    |other| format!("it follows the same link as {other}: was the box put back to an earlier day?");
                other.map_or_else(|| Ok(Vec::new()), |other| self.alarm(Some(id_text), text(other)))
            }
        }
    }

    /// The newest link that the box has, from its heartbeat.
    pub fn head(&self, head: Option<&ChainHead>) -> Result<Vec<DistrictEvent>, StoreError> {
        let Some(head) = head else { return Ok(Vec::new()) };
        let held = self.store.chain_head(self.device, &head.store)?;
        self.store.put_chain_head(self.device, head)?;
        let is_cut = |held: &ChainHead| head.count < held.count || head.count == held.count && head.hash != held.hash;
        let text = |held: ChainHead| {
            format!("its chain has {} links, it had {}: was the box rewritten, or put back?", head.count, held.count)
        };
        held.filter(is_cut).map_or_else(|| Ok(Vec::new()), |held| self.alarm(None, text(held)))
    }

    /// Kept before it is told: a key or a link is new only once.
    fn alarm(&self, id: Option<String>, reason: String) -> Result<Vec<DistrictEvent>, StoreError> {
        self.store.insert_alarm(self.device, id.as_deref(), &reason, self.now)?;
        Ok(vec![DistrictEvent::Alarm { device: self.device.to_owned(), id, reason, received_at: self.now }])
    }
}
