//! What waits for the district's receipt, in its order. A row leaves by a receipt or by a recorded expiry only.
//! The bytes of a record are stored once and read back for every resend.

use std::fs;

use kitchen_core::outbox::{OutboxKind, Payload, Waiting};
use kitchen_core::time::{Stamp, Wall};
use kitchen_core::wire::{ClipInit, ClipReceipt, Envelope, MessageId, OutboxHealth, Receipt, sha256_hex};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde_json::{Value, json};

use crate::database::{Database, from_sql, to_sql, wall};
use crate::error::{At as _, During as _, StoreError};
use crate::files::Layout;
use crate::identity::{Identity, random_store_id};
use crate::{chain, demand};

/// A record to store and to send.
pub(crate) struct NewRecord<'a> {
    pub id: &'a MessageId,
    /// The envelope's type, e.g. `alert.opened`.
    pub kind: &'a str,
    pub alert_id: Option<&'a MessageId>,
    pub topic_leaf: &'a str,
    pub outbox: OutboxKind,
    pub tier: u8,
    pub body: Value,
}

pub(crate) fn insert_record(
    transaction: &Transaction<'_>,
    identity: &Identity,
    stamp: Stamp,
    new: NewRecord<'_>,
) -> Result<(), StoreError> {
    let id = new.id.to_string();
    let mut envelope = Envelope::new(new.id.clone(), new.kind, &identity.device, stamp, new.body);
    if new.outbox == OutboxKind::Alert {
        chain::link(transaction, identity, &mut envelope)?;
    }
    let bytes = envelope.to_bytes();
    transaction
        .prepare_cached("INSERT INTO records (id, type, alert_id, topic_leaf, envelope) VALUES (?1, ?2, ?3, ?4, ?5)")
        .and_then(|mut insert| {
            insert.execute((&id, new.kind, new.alert_id.map(ToString::to_string), new.topic_leaf, &bytes))
        })
        .during("store", &id)?;
    let (kind, tier, bytes) = (new.outbox, new.tier, bytes.len() as u64);
    let new = NewWaiting { id: &id, kind, tier, is_requested: false, bytes };
    insert_waiting(transaction, identity, stamp, new)
}

/// A message for the outbox.
#[derive(Clone, Copy)]
pub(crate) struct NewWaiting<'a> {
    pub id: &'a str,
    pub kind: OutboxKind,
    /// Of the alert; any for a snapshot, and for what belongs to none.
    pub tier: u8,
    /// A clip that the district asked for.
    pub is_requested: bool,
    pub bytes: u64,
}

/// Puts a message into the outbox and notes what it asks for, which no resend does again.
pub(crate) fn insert_waiting(
    transaction: &Transaction<'_>,
    identity: &Identity,
    stamp: Stamp,
    new: NewWaiting<'_>,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO outbox (id, kind, priority, bytes, created_at, created_trusted, \
        created_uptime_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let uptime_ms = identity.uptime_ms(stamp.mono);
    transaction
        .prepare_cached(INSERT)
        .and_then(|mut insert| {
            insert.execute(params![
                new.id,
                new.kind.as_str(),
                new.kind.priority(new.tier),
                to_sql(new.bytes),
                stamp.wall.as_unix_millis(),
                stamp.quality.is_trusted(),
                to_sql(uptime_ms),
            ])
        })
        .and_then(|_| demand::note(transaction, stamp, new))
        .during("queue", new.id)
}

/// A record about the box itself, on the topic `record`.
pub(crate) fn insert_own_record(
    transaction: &Transaction<'_>,
    identity: &Identity,
    stamp: Stamp,
    id: &MessageId,
    kind: &str,
    body: Value,
) -> Result<(), StoreError> {
    let new = NewRecord { id, kind, alert_id: None, topic_leaf: "record", outbox: OutboxKind::Record, tier: 0, body };
    insert_record(transaction, identity, stamp, new)
}

impl Database {
    pub fn append_record(&mut self, stamp: Stamp, kind: &str, body: Value) -> Result<MessageId, StoreError> {
        let id = self.next_id()?;
        self.durably(stamp, "store", kind, |transaction, identity| {
            insert_own_record(transaction, identity, stamp, &id, kind, body)
        })?;
        Ok(id)
    }

    pub fn outbox_load(&self, id: &str) -> Result<Option<Payload>, StoreError> {
        let kind: Option<String> = self
            .connection
            .prepare_cached("SELECT kind FROM outbox WHERE id = ?1 AND set_aside IS NULL")
            .and_then(|mut query| query.query_row([id], |row| row.get(0)).optional())
            .during("look up", id)?;
        match kind.and_then(|kind| kind.parse().ok()) {
            None => Ok(None),
            Some(OutboxKind::Snapshot) => load_snapshot(&self.connection, &self.layout, id).map(Some),
            Some(OutboxKind::Clip) => load_clip(&self.connection, &self.layout, id).map(Some),
            Some(OutboxKind::Alert | OutboxKind::Record | OutboxKind::Command) => {
                load_record(&self.connection, id).map(Some)
            }
        }
    }

    pub fn outbox_sent(&mut self, ids: &[String], now: Wall) -> Result<(), StoreError> {
        let now = now.as_unix_millis();
        self.cheaply("note as sent", &list(ids), |transaction| {
            let mut waiting =
                transaction.prepare_cached("UPDATE outbox SET attempts = attempts + 1, sent_at = ?2 WHERE id = ?1")?;
            let mut record = transaction.prepare_cached("UPDATE records SET sent_at = ?2 WHERE id = ?1")?;
            for id in ids {
                waiting.execute((id, now))?;
                record.execute((id, now))?;
            }
            Ok(())
        })
    }

    /// Undone by a power cut, a receipt comes again with the next resend: no sync is needed.
    pub fn outbox_receipted(&mut self, receipts: &[Receipt], now: Wall) -> Result<Receipted, StoreError> {
        let now = now.as_unix_millis();
        self.cheaply("remove as receipted", &format!("{} messages", receipts.len()), |transaction| {
            // A clip's receipt is its own message; its id in an acknowledgement means nothing.
            let mut waiting = transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1 AND kind <> 'clip'")?;
            let mut record = transaction.prepare_cached("UPDATE records SET receipted_at = ?2 WHERE id = ?1")?;
            let mut snapshot = transaction.prepare_cached("UPDATE snapshots SET receipted_at = ?2 WHERE id = ?1")?;
            let mut receipted = Receipted::default();
            for receipt in receipts {
                let id = &receipt.id;
                match sent_sha256(transaction, id)? {
                    Waits::No => {}
                    Waits::With(Some(sha256)) if receipt.is_for(&sha256) => {
                        receipted.removed += waiting.execute([id])?;
                        receipted.still_waiting.retain(|waiting| waiting != id);
                        record.execute((id, now))?;
                        snapshot.execute((id, now))?;
                    }
                    Waits::With(_) => receipted.still_waiting.push(id.clone()),
                }
            }
            Ok(receipted)
        })
    }

    pub fn outbox_clip_stored(&mut self, answer: &ClipReceipt, now: Wall) -> Result<bool, StoreError> {
        let clip_id = &answer.clip_id;
        self.cheaply("remove as stored", clip_id, |transaction| {
            let concerns = concerns(transaction, answer)?;
            if concerns == Some(true) {
                let now = now.as_unix_millis();
                transaction.execute("DELETE FROM outbox WHERE id = ?1", [clip_id])?;
                transaction.execute("UPDATE clips SET stored_at = ?2 WHERE clip_id = ?1", (clip_id, now))?;
            }
            Ok(concerns.unwrap_or(true))
        })
    }

    pub fn outbox_clip_rejected(&mut self, answer: &ClipReceipt, now: Stamp) -> Result<bool, StoreError> {
        let concerns = concerns(&self.connection, answer).during("look up", &answer.clip_id)?;
        if concerns == Some(true) {
            let reason = answer.reason.as_deref().unwrap_or("rejected without a reason");
            self.outbox_set_aside(&answer.clip_id, reason, now)?;
        }
        Ok(concerns.unwrap_or(true))
    }

    pub fn outbox_set_aside(&mut self, id: &str, reason: &str, now: Stamp) -> Result<bool, StoreError> {
        let record_id = self.next_id()?;
        self.durably(now, "set aside", id, |transaction, identity| {
            let kind: Option<String> = transaction
                .query_row(
                    "UPDATE outbox SET set_aside = ?2 WHERE id = ?1 AND set_aside IS NULL RETURNING kind",
                    (id, reason),
                    |row| row.get(0),
                )
                .optional()
                .during("set aside", id)?;
            let Some(kind) = kind else { return Ok(false) };
            let body = json!({ "id": id, "kind": kind, "reason": reason });
            insert_own_record(transaction, identity, now, &record_id, "set_aside", body)?;
            Ok(true)
        })
    }
}

impl Database {
    /// The new store's id, `None` when no id is of this store.
    pub fn outbox_conflicted(&mut self, ids: &[String], now: Stamp) -> Result<Option<String>, StoreError> {
        let of_this_store = |id: &&String| id.parse::<MessageId>().is_ok_and(|id| id.store == self.identity.store);
        let repeated: Vec<String> = ids.iter().filter(of_this_store).cloned().collect();
        if repeated.is_empty() {
            return Ok(None);
        }
        let former = self.identity.store.clone();
        let store = random_store_id();
        let sequence = self.next_id()?.sequence;
        let record_id = MessageId { store: store.clone(), boot: self.identity.boot, sequence };
        self.durably(now, "take another id for", "the store", |transaction, identity| {
            transaction.execute("UPDATE identity SET store = ?1", [&store]).during("write", "the store's id")?;
            let body = json!({ "store": store, "former": former, "ids": repeated });
            insert_own_record(transaction, identity, now, &record_id, "store.renewed", body)
        })?;
        self.identity.store.clone_from(&store);
        Ok(Some(store))
    }

    pub fn outbox_requeue(&mut self, id: &str) -> Result<bool, StoreError> {
        self.connection
            .execute("UPDATE outbox SET set_aside = NULL, attempts = 0, sent_at = NULL WHERE id = ?1", [id])
            .map(|changed| changed > 0)
            .during("queue again", id)
    }

    pub fn outbox_drop(&mut self, id: &str, now: Stamp) -> Result<bool, StoreError> {
        let record_id = self.next_id()?;
        self.durably(now, "drop", id, |transaction, identity| {
            let kind: Option<String> = transaction
                .query_row("DELETE FROM outbox WHERE id = ?1 RETURNING kind", [id], |row| row.get(0))
                .optional()
                .during("drop", id)?;
            let Some(kind) = kind else { return Ok(false) };
            let body = json!({ "what": kind, "ids": [id], "reason": "dropped by hand" });
            insert_own_record(transaction, identity, now, &record_id, "loss", body)?;
            Ok(true)
        })
    }
}

/// What a receipt led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipted {
    pub removed: usize,
    /// Named, and not removed: another message of that id is meant.
    pub still_waiting: Vec<String>,
}

enum Waits {
    No,
    /// The SHA-256 of its bytes, if they were ever sent: without that nobody can have received them.
    With(Option<String>),
}

fn sent_sha256(connection: &Connection, id: &str) -> rusqlite::Result<Waits> {
    const QUERY: &str = "SELECT o.kind, o.attempts, r.envelope, s.sha256 FROM outbox o \
        LEFT JOIN records r ON r.id = o.id LEFT JOIN snapshots s ON s.id = o.id WHERE o.id = ?1";
    let row = connection
        .prepare_cached(QUERY)?
        .query_row([id], |row| {
            let kind: String = row.get(0)?;
            let attempts: u32 = row.get(1)?;
            let envelope: Option<Vec<u8>> = row.get(2)?;
            let picture: Option<String> = row.get(3)?;
            Ok((kind, attempts, envelope, picture))
        })
        .optional()?;
    Ok(match row {
        None => Waits::No,
        Some((kind, attempts, envelope, picture)) => {
            let is_sent = attempts > 0 && kind != OutboxKind::Clip.as_str();
            Waits::With(picture.or_else(|| envelope.map(|bytes| sha256_hex(&bytes))).filter(|_| is_sent))
        }
    })
}

/// Whether the answer can be about this box's clip; `None` when no clip of that id waits.
fn concerns(connection: &Connection, answer: &ClipReceipt) -> rusqlite::Result<Option<bool>> {
    const QUERY: &str = "SELECT o.attempts, c.init FROM outbox o JOIN clips c ON c.clip_id = o.id WHERE o.id = ?1";
    let row: Option<(u32, String)> = connection
        .prepare_cached(QUERY)?
        .query_row([&answer.clip_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(attempts, init)| {
        let init = serde_json::from_str::<ClipInit>(&init);
        attempts > 0 && init.is_ok_and(|init| answer.is_for(&init.sha256))
    }))
}

fn list(ids: &[String]) -> String {
    match ids {
        [id] => id.clone(),
        _ => format!("{} messages", ids.len()),
    }
}

fn load_record(connection: &Connection, id: &str) -> Result<Payload, StoreError> {
    let (topic_leaf, bytes): (String, Vec<u8>) = connection
        .prepare_cached("SELECT topic_leaf, envelope FROM records WHERE id = ?1")
        .and_then(|mut query| query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))))
        .during("read", id)?;
    // SQLite does not notice a bit that flipped inside of a row.
    match serde_json::from_slice::<Envelope>(&bytes) {
        Ok(envelope) if envelope.id.to_string() == id => Ok(Payload::Record { topic_leaf, bytes }),
        _ => Err(StoreError::DamagedRecord { id: id.to_owned() }),
    }
}

fn load_snapshot(connection: &Connection, layout: &Layout, id: &str) -> Result<Payload, StoreError> {
    let (alert_id, file, sha256, width, height): (String, String, String, u32, u32) = connection
        .prepare_cached("SELECT alert_id, file, sha256, width, height FROM snapshots WHERE id = ?1")
        .and_then(|mut query| {
            query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        })
        .during("read", id)?;
    let path = layout.snapshots.join(file);
    let bytes = fs::read(&path).at("read", &path)?;
    if sha256_hex(&bytes) != sha256 {
        return Err(StoreError::Damaged { path });
    }
    let topic_leaf = format!("snapshot/{alert_id}");
    let properties = vec![
        ("id".to_owned(), id.to_owned()),
        ("alert_id".to_owned(), alert_id),
        ("sha256".to_owned(), sha256),
        ("width".to_owned(), width.to_string()),
        ("height".to_owned(), height.to_string()),
    ];
    Ok(Payload::Snapshot { topic_leaf, bytes, properties })
}

fn load_clip(connection: &Connection, layout: &Layout, id: &str) -> Result<Payload, StoreError> {
    let (file, init): (String, String) = connection
        .prepare_cached("SELECT file, init FROM clips WHERE clip_id = ?1")
        .and_then(|mut query| query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))))
        .during("read", id)?;
    let init: ClipInit = serde_json::from_str(&init).during("read", id)?;
    Ok(Payload::Clip { init, path: layout.clips.join(file) })
}

/// What waits and is not set aside, in the order in which it should be sent.
pub(crate) fn waiting(connection: &Connection, limit: usize) -> Result<Vec<Waiting>, StoreError> {
    const QUERY: &str = "SELECT o.id, o.kind, o.priority, o.bytes, o.created_at, o.attempts, o.sent_at, c.init, \
        a.tier FROM outbox o LEFT JOIN clips c ON c.clip_id = o.id LEFT JOIN snapshots s ON s.id = o.id \
        LEFT JOIN alerts a ON a.alert_id = s.alert_id WHERE o.set_aside IS NULL \
        ORDER BY o.priority, o.position LIMIT ?1";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = |connection: &Connection| {
        connection.prepare_cached(QUERY)?.query_map([limit], read_waiting)?.collect::<rusqlite::Result<Vec<Waiting>>>()
    };
    read(connection).during("list", "the outbox")
}

fn read_waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let text = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let init: Option<String> = row.get(7)?;
    let kind: OutboxKind = row.get::<_, String>(1)?.parse().map_err(|error: String| text(1, error.into()))?;
    let priority = row.get(2)?;
    Ok(Waiting {
        id: row.get(0)?,
        kind,
        priority,
        tier: row.get::<_, Option<u8>>(8)?.unwrap_or_else(|| kind.tier(priority)),
        bytes: from_sql(row.get(3)?),
        created: Wall::from_unix_millis(row.get(4)?),
        attempts: row.get(5)?,
        sent: wall(row.get(6)?),
        // One that can't be read is found when it is loaded, and must not hide the others.
        clip: init.and_then(|init| serde_json::from_str(&init).ok()),
    })
}

pub(crate) fn health(connection: &Connection, now: Wall) -> Result<OutboxHealth, StoreError> {
    const QUERY: &str = "SELECT count(*), coalesce(sum(bytes), 0), min(created_at) FROM outbox WHERE set_aside IS NULL";
    connection
        .query_row(QUERY, [], |row| {
            let oldest: Option<i64> = row.get(2)?;
            let age_ms = oldest.map_or(0, |oldest| now.as_unix_millis().saturating_sub(oldest));
            Ok(OutboxHealth {
                count: from_sql(row.get(0)?),
                bytes: from_sql(row.get(1)?),
                oldest_s: from_sql(age_ms / 1000),
            })
        })
        .during("measure", "the outbox")
}
