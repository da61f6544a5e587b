//! One message from a box: checked, stored, and turned into receipts and events.
//! Never trusts a message: what is malformed is counted and gets no receipt, and nothing it holds stops the district.

use std::io;
use std::path::{Path, PathBuf};

use kitchen_core::time::Wall;
use kitchen_core::wire::{
    ClipFin, ClipInit, ClipReceipt, Envelope, MessageId, Receipt, StateBody, VERSION, sha256_hex, short_digest,
    split_topic,
};
use kitchen_uplink::Message;
use kitchen_uplink::clip::{CRC_PROPERTY, crc_text};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clips::{Clip, ClipError, ClipOutcome, is_sha256};
use crate::district::DistrictError;
use crate::event::DistrictEvent;
use crate::evidence::Evidence;
use crate::files::{self, Files};
use crate::store::{DATABASE, RecordRow, Seen, SnapshotRow, Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("snapshot {path} can't be written: check the disk's space and health", path = path.display())]
    Snapshot { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Clip(ClipError),
}

impl From<ClipError> for IntakeError {
    fn from(error: ClipError) -> Self {
        match error {
            ClipError::Malformed(what) => Self::Malformed(what),
            other => Self::Clip(other),
        }
    }
}

/// A message that lies in the store and is to be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub device: String,
    pub receipt: Receipt,
    /// Another message with this id came before.
    pub is_conflict: bool,
}

impl Stored {
    fn new(device: &str, id: &str, sha256: &str, seen: Seen) -> Self {
        let receipt = Receipt { id: id.to_owned(), digest: Some(short_digest(sha256)) };
        Self { device: device.to_owned(), receipt, is_conflict: seen == Seen::Conflict }
    }
}

/// What a message leads to, once the transaction around it is durable.
#[derive(Debug, Default)]
pub struct Outcome {
    pub receipt: Option<Stored>,
    /// Device and the answer about a clip.
    pub answer: Option<(String, ClipReceipt)>,
    pub events: Vec<DistrictEvent>,
}

impl Outcome {
    fn of_clip(device: &str, outcome: ClipOutcome) -> Self {
        let answer = outcome.answer.map(|answer| (device.to_owned(), answer));
        Self { receipt: None, answer, events: outcome.events }
    }
}

/// Where messages go: the database and the files of one folder.
#[derive(Debug)]
pub struct Intake {
    store: Store,
    files: Files,
}

impl Intake {
    /// Opens the store in `folder`, which is made where it lacks.
    ///
    /// # Errors
    /// When the folder or its database can't be used.
    pub fn open(folder: &Path) -> Result<Self, DistrictError> {
        let unusable = |source| DistrictError::Folder { path: folder.to_owned(), source };
        let files = Files::open(folder).map_err(unusable)?;
        let database = folder.join(DATABASE);
        let store = Store::open(&database)?;
        files::sync_parent(&database).map_err(unusable)?;
        Ok(Self { store, files })
    }

    /// Stores a batch in one transaction: what comes back is durable. One message that fails does not hold up the rest.
    ///
    /// # Errors
    /// When the transaction fails: then nothing of the batch counts.
    pub fn take_all(&self, batch: &[Message], now: Wall) -> Result<Vec<Result<Outcome, IntakeError>>, StoreError> {
        self.store.begin()?;
        let outcomes = batch.iter().map(|message| self.take(message, now)).collect();
        self.store.commit()?;
        Ok(outcomes)
    }

    /// Stores one message; nothing counts before the commit.
    fn take(&self, message: &Message, now: Wall) -> Result<Outcome, IntakeError> {
        let (device, leaf) = split_topic(&message.topic, "up").ok_or(IntakeError::Malformed("the topic"))?;
        let levels: Vec<&str> = leaf.split('/').collect();
        match levels.as_slice() {
            // A retained value that was cleared.
            ["state" | "reported"] if message.payload.is_empty() => Ok(Outcome::default()),
            ["state"] => self.state(device, &message.payload, now),
            ["heartbeat" | "reported"] => self.last_value(device, leaf, &message.payload, now),
            ["alert", _] | ["command", _] | ["record"] => self.record(device, leaf, &message.payload, now),
            ["snapshot", alert_id] => self.snapshot(device, alert_id, message, now),
            ["clip", clip_id, last] => self.clip(device, clip_id, last, message, now),
            // `sync` asks for what is pending, which is nothing in this version; unknown leaves are later versions'.
            _ => Ok(Outcome::default()),
        }
    }

    fn record(&self, device: &str, leaf: &str, payload: &[u8], now: Wall) -> Result<Outcome, IntakeError> {
        let envelope = envelope(device, payload)?;
        let record: Value = serde_json::from_slice(payload).map_err(|_| IntakeError::Malformed("no JSON"))?;
        let id = envelope.id.to_string();
        let sha256 = sha256_hex(payload);
        let kind = envelope.kind;
        let row =
            RecordRow { device, id: &id, sha256: &sha256, kind: &kind, leaf, envelope: payload, received_at: now };
        let seen = self.store.insert_record(&row)?;
        let mut events = conflict_event(seen, device, &id, now);
        if seen != Seen::Repeated {
            if leaf.starts_with("alert/") {
                events.extend(self.evidence(device, now).record(&envelope.id, &record)?);
            }
            events.push(record_event(device, leaf, &id, kind, record, now));
        }
        Ok(Outcome { receipt: Some(Stored::new(device, &id, &sha256, seen)), answer: None, events })
    }

    fn snapshot(&self, device: &str, alert_id: &str, message: &Message, now: Wall) -> Result<Outcome, IntakeError> {
        let alert: MessageId = alert_id.parse().map_err(|_| IntakeError::Malformed("a snapshot's alert id"))?;
        let property = |name, what| message.property(name).ok_or(IntakeError::Malformed(what));
        let id = property("id", "a snapshot without id")?;
        id.parse::<MessageId>().map_err(|_| IntakeError::Malformed("a snapshot's id"))?;
        if property("alert_id", "a snapshot without alert_id")? != alert_id {
            return Err(IntakeError::Malformed("a snapshot's alert_id is not its topic's"));
        }
        let sha256 = property("sha256", "a snapshot without sha256")?;
        if !is_sha256(sha256) || sha256_hex(&message.payload) != sha256 {
            return Err(IntakeError::Malformed("a snapshot's sha256 is not that of its bytes"));
        }
        let seen = self.store.snapshot_seen(device, id, sha256)?;
        let receipt = Some(Stored::new(device, id, sha256, seen));
        if seen == Seen::Repeated {
            return Ok(Outcome { receipt, ..Outcome::default() });
        }
        let plain = self.files.snapshot(device, &alert, None);
        let is_taken = self.store.snapshot_at(&plain)?.is_some_and(|held| held != sha256);
        let path = if is_taken { self.files.snapshot(device, &alert, Some(sha256)) } else { plain };
        files::write_durably(&path, &message.payload)
            .map_err(|source| IntakeError::Snapshot { path: path.clone(), source })?;
        let bytes = message.payload.len() as u64;
        let (width, height) = (message.property("width"), message.property("height"));
        let row = SnapshotRow { device, id, sha256, alert_id, bytes, width, height, path: &path, received_at: now };
        self.store.insert_snapshot(&row, seen)?;
        let mut events = conflict_event(seen, device, id, now);
        events.push(DistrictEvent::Snapshot {
            device: device.to_owned(),
            id: id.to_owned(),
            alert_id: alert_id.to_owned(),
            sha256: sha256.to_owned(),
            bytes,
            received_at: now,
            path,
        });
        Ok(Outcome { receipt, answer: None, events })
    }

    fn clip(
        &self,
        device: &str,
        clip_id: &str,
        last: &str,
        message: &Message,
        now: Wall,
    ) -> Result<Outcome, IntakeError> {
        let id: MessageId = clip_id.parse().map_err(|_| IntakeError::Malformed("a clip's id"))?;
        let clip = Clip { store: &self.store, files: &self.files, device, clip_id: &id, now };
        let outcome = match last {
            "init" => {
                let init: ClipInit = body(device, &message.payload)?;
                if init.clip_id != clip_id {
                    return Err(IntakeError::Malformed("init names another clip than its topic"));
                }
                clip.init(&init, &message.payload)?
            }
            "fin" => {
                let fin: ClipFin = body(device, &message.payload)?;
                if fin.clip_id != clip_id {
                    return Err(IntakeError::Malformed("fin names another clip than its topic"));
                }
                clip.fin(&fin)?
            }
            "abort" => clip.abort()?,
            offset => {
                let offset = offset.parse().map_err(|_| IntakeError::Malformed("a chunk's offset"))?;
                if message.property(CRC_PROPERTY) != Some(crc_text(&message.payload).as_str()) {
                    return Err(IntakeError::Malformed("a chunk's crc32 is not that of its bytes"));
                }
                clip.chunk(offset, &message.payload)?
            }
        };
        Ok(Outcome::of_clip(device, outcome))
    }

    fn state(&self, device: &str, payload: &[u8], now: Wall) -> Result<Outcome, IntakeError> {
        let envelope = envelope(device, payload)?;
        let state: StateBody =
            serde_json::from_value(envelope.body).map_err(|_| IntakeError::Malformed("the body of a state"))?;
        let is_news = self.store.put_last_value(device, "state", Some(&state.session), payload, now)?;
        let evidence = self.evidence(device, now);
        let mut alarms = evidence.key(state.evidence_key.as_deref())?;
        alarms.extend(evidence.board(state.board.as_deref())?);
        let event = is_news.then(|| DistrictEvent::State {
            device: device.to_owned(),
            online: state.online,
            received_at: now,
            state: serde_json::from_slice(payload).unwrap_or(Value::Null),
        });
        Ok(Outcome { events: alarms.into_iter().chain(event).collect(), ..Outcome::default() })
    }

    fn evidence<'a>(&'a self, device: &'a str, now: Wall) -> Evidence<'a> {
        Evidence { store: &self.store, device, now }
    }

    fn last_value(&self, device: &str, leaf: &str, payload: &[u8], now: Wall) -> Result<Outcome, IntakeError> {
        envelope(device, payload)?;
        let value: Value = serde_json::from_slice(payload).map_err(|_| IntakeError::Malformed("no JSON"))?;
        let is_news = self.store.put_last_value(device, leaf, None, payload, now)?;
        let head = value["body"]["chain_head"].clone();
        let head = (leaf == "heartbeat").then(|| serde_json::from_value(head).ok()).flatten();
        let alarms = self.evidence(device, now).head(head.as_ref())?;
        let device = device.to_owned();
        let event = is_news.then_some(match leaf {
            "heartbeat" => DistrictEvent::Heartbeat { device, received_at: now, heartbeat: value },
            _ => DistrictEvent::Reported { device, received_at: now, reported: value },
        });
        Ok(Outcome { events: alarms.into_iter().chain(event).collect(), ..Outcome::default() })
    }
}

fn envelope(device: &str, payload: &[u8]) -> Result<Envelope, IntakeError> {
    let envelope: Envelope = serde_json::from_slice(payload).map_err(|_| IntakeError::Malformed("no envelope"))?;
    if envelope.v != VERSION {
        return Err(IntakeError::Malformed("an envelope of another version"));
    }
    if envelope.device != device {
        return Err(IntakeError::Malformed("an envelope of another device than its topic"));
    }
    Ok(envelope)
}

fn body<T: DeserializeOwned>(device: &str, payload: &[u8]) -> Result<T, IntakeError> {
    serde_json::from_value(envelope(device, payload)?.body).map_err(|_| IntakeError::Malformed("an envelope's body"))
}

fn conflict_event(seen: Seen, device: &str, id: &str, now: Wall) -> Vec<DistrictEvent> {
    let (device, id) = (device.to_owned(), id.to_owned());
    (seen == Seen::Conflict).then_some(DistrictEvent::Conflict { device, id, received_at: now }).into_iter().collect()
}

fn record_event(device: &str, leaf: &str, id: &str, kind: String, record: Value, now: Wall) -> DistrictEvent {
    let (device, id) = (device.to_owned(), id.to_owned());
    match leaf.split_once('/') {
        Some(("alert", rule)) => {
            DistrictEvent::Alert { device, id, kind, rule: rule.to_owned(), received_at: now, record }
        }
        Some((_, command_id)) => {
            DistrictEvent::Command { device, id, command_id: command_id.to_owned(), received_at: now, record }
        }
        None => DistrictEvent::Record { device, id, kind, received_at: now, record },
    }
}
