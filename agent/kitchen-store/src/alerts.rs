//! Alerts with their records, snapshots and clips: written once, listed for technicians.
//! Files first, then one transaction with the rows and what waits to be sent.

use std::path::PathBuf;
use std::time::Duration;

use kitchen_core::alert::{AlertBody, AlertRecord, ClipRef, CloseReason, SnapshotRef};
use kitchen_core::outbox::OutboxKind;
use kitchen_core::rules::RuleId;
use kitchen_core::time::{Stamp, Wall, millis};
use kitchen_core::wire::{CHUNK_BYTES, ClipInit, Envelope, MessageId, sha256_hex};
use rusqlite::{Connection, OptionalExtension as _, ToSql, Transaction};
use serde::Serialize;

use crate::database::{Database, from_sql, to_sql, wall};
use crate::error::{During as _, StoreError};
use crate::files::{Layout, NewFiles};
use crate::identity::Identity;
use crate::outbox::{NewRecord, NewWaiting, insert_record, insert_waiting};

const DAY: Duration = Duration::from_secs(86_400);

/// A picture for a new alert: JPEG as sent, and the clean JPEG that stays on the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot {
    pub sent: Vec<u8>,
    pub original: Vec<u8>,
    pub width: u32,
    pub height: u32,
}

/// A finished clip for an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClip {
    pub bytes: Vec<u8>,
    pub duration_ms: u64,
    pub start: Wall,
    pub width: u32,
    pub height: u32,
    /// As in RFC 6381, e.g. `avc1.64001f`.
    pub codec: String,
    /// E.g. `video/mp4`.
    pub media_type: String,
    /// Not as the camera coded it.
    pub reencoded: bool,
}

/// What a new alert was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedAlert {
    pub alert_id: MessageId,
    pub snapshot: Option<SnapshotRef>,
}

/// One alert as `alerts list --json` shows it, newest facts of its last record included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertRow {
    pub alert_id: MessageId,
    pub rule: RuleId,
    pub tier: u8,
    pub camera: String,
    pub opened_at: Wall,
    pub closed_at: Option<Wall>,
    pub close_reason: Option<CloseReason>,
    pub records: Vec<RecordRow>,
    /// The picture that was sent.
    pub snapshot: Option<PathBuf>,
    /// The newest clip.
    pub clip: Option<PathBuf>,
    /// The clean picture.
    #[serde(skip)]
    pub original: Option<PathBuf>,
    /// Body of the newest record.
    #[serde(skip)]
    pub body: AlertBody,
}

/// One record of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordRow {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was last given to the broker.
    pub sent: Option<Wall>,
    pub receipted_at: Option<Wall>,
}

impl Database {
    pub fn open_alert(
        &mut self,
        stamp: Stamp,
        mut body: AlertBody,
        snapshot: Option<&NewSnapshot>,
    ) -> Result<OpenedAlert, StoreError> {
        let alert_id = self.next_id()?;
        let subject = alert_id.to_string();
        let snapshot = snapshot.map(|new| self.write_snapshot(&subject, new)).transpose()?;
        let reference = snapshot.as_ref().map(|written| written.reference.clone());
        body.alert_id = Some(alert_id.clone());
        body.snapshot.clone_from(&reference);
        self.durably(stamp, "store", &subject, |transaction, identity| {
            transaction
                .prepare_cached(
                    "INSERT INTO alerts (alert_id, rule, tier, camera, opened_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .and_then(|mut insert| {
                    let opened_at = body.opened_at.as_unix_millis();
                    insert.execute((&subject, body.rule.as_str(), body.tier, &body.camera, opened_at))
                })
                .during("store", &subject)?;
            insert_alert_record(transaction, identity, stamp, &alert_id, AlertRecord::Opened, &body)?;
            if let Some(written) = snapshot {
                insert_snapshot(transaction, identity, stamp, (&subject, body.tier), written)?;
            }
            Ok(())
        })?;
        Ok(OpenedAlert { alert_id, snapshot: reference })
    }

    fn write_snapshot(&mut self, alert_id: &str, new: &NewSnapshot) -> Result<WrittenSnapshot, StoreError> {
        let (file, original_file) = (format!("{alert_id}.jpg"), format!("{alert_id}.original.jpg"));
        let files = NewFiles::write(
            &self.layout.snapshots,
            &[(file.as_str(), new.sent.as_slice()), (original_file.as_str(), new.original.as_slice())],
        )?;
        let reference = SnapshotRef {
            sha256: sha256_hex(&new.sent),
            bytes: new.sent.len() as u64,
            original_sha256: sha256_hex(&new.original),
        };
        Ok(WrittenSnapshot {
            id: self.next_id()?.to_string(),
            file,
            original_file,
            original_bytes: new.original.len() as u64,
            size: (new.width, new.height),
            reference,
            files,
        })
    }

    pub fn append_alert_record(
        &mut self,
        stamp: Stamp,
        alert_id: &MessageId,
        record: AlertRecord,
        mut body: AlertBody,
    ) -> Result<MessageId, StoreError> {
        let id = self.next_id()?;
        let subject = alert_id.to_string();
        body.alert_id = Some(alert_id.clone());
        self.durably(stamp, "store", &subject, |transaction, identity| {
            let is_closed = require_alert(transaction, &subject)?;
            if record == AlertRecord::Closed {
                if is_closed {
                    return Err(StoreError::AlreadyClosed { alert_id: subject.clone() });
                }
                close(transaction, stamp, &subject, &body)?;
            }
            insert_alert_record(transaction, identity, stamp, &id, record, &body)
        })?;
        Ok(id)
    }

    pub fn attach_clip(
        &mut self,
        stamp: Stamp,
        alert_id: &MessageId,
        clip: &NewClip,
        mut body: AlertBody,
    ) -> Result<ClipRef, StoreError> {
        let subject = alert_id.to_string();
        require_alert(&self.connection, &subject)?;
        let (clip_id, record_id) = (self.next_id()?, self.next_id()?);
        let file = format!("{clip_id}.mp4");
        let files = NewFiles::write(&self.layout.clips, &[(file.as_str(), clip.bytes.as_slice())])?;
        let init = clip_init(stamp, &clip_id, &subject, clip, body.tier);
        let reference = ClipRef {
            clip_id: init.clip_id.clone(),
            sha256: init.sha256.clone(),
            bytes: init.bytes,
            duration_ms: clip.duration_ms,
            start: clip.start,
            reencoded: clip.reencoded,
        };
        body.alert_id = Some(alert_id.clone());
        body.clip = Some(reference.clone());
        "attached".clone_into(&mut body.clip_status);
        let init_text = serde_json::to_string(&init).during("write", &init.clip_id)?;
        self.durably(stamp, "store", &init.clip_id, |transaction, identity| {
            transaction
                .prepare_cached("INSERT INTO clips (clip_id, alert_id, file, bytes, init) VALUES (?1, ?2, ?3, ?4, ?5)")
                .and_then(|mut insert| insert.execute((&init.clip_id, &subject, &file, to_sql(init.bytes), &init_text)))
                .during("store", &init.clip_id)?;
            insert_alert_record(transaction, identity, stamp, &record_id, AlertRecord::Clip, &body)?;
            let waiting = NewWaiting {
                id: &init.clip_id,
                kind: OutboxKind::Clip,
                tier: body.tier,
                is_requested: init.alert_id.is_none(),
                bytes: init.bytes,
            };
            insert_waiting(transaction, identity, stamp, waiting)?;
            files.keep();
            Ok(())
        })?;
        Ok(reference)
    }
}

struct WrittenSnapshot {
    id: String,
    file: String,
    original_file: String,
    original_bytes: u64,
    size: (u32, u32),
    reference: SnapshotRef,
    files: NewFiles,
}

fn clip_init(stamp: Stamp, clip_id: &MessageId, alert_id: &str, clip: &NewClip, tier: u8) -> ClipInit {
    let lifetime = DAY * OutboxKind::Clip.expiry_days().unwrap_or(0);
    let expires = stamp.wall.as_unix_millis().saturating_add(to_sql(millis(lifetime)));
    ClipInit {
        clip_id: clip_id.to_string(),
        alert_id: Some(alert_id.to_owned()),
        command_id: None,
        bytes: clip.bytes.len() as u64,
        sha256: sha256_hex(&clip.bytes),
        chunk_bytes: CHUNK_BYTES,
        media_type: clip.media_type.clone(),
        codec: clip.codec.clone(),
        width: clip.width,
        height: clip.height,
        start: clip.start,
        duration_ms: clip.duration_ms,
        priority: OutboxKind::Clip.priority(tier),
        expires: Wall::from_unix_millis(expires),
    }
}

fn insert_alert_record(
    transaction: &Transaction<'_>,
    identity: &Identity,
    stamp: Stamp,
    id: &MessageId,
    record: AlertRecord,
    body: &AlertBody,
) -> Result<(), StoreError> {
    let new = NewRecord {
        id,
        kind: record.as_str(),
        alert_id: body.alert_id.as_ref(),
        topic_leaf: &format!("alert/{}", body.rule),
        outbox: OutboxKind::Alert,
        tier: body.tier,
        body: serde_json::to_value(body).during("write", id)?,
    };
    insert_record(transaction, identity, stamp, new)
}

/// The commit may last although it reports a failure, so from here on the files stay;
/// without their rows the next start removes them.
fn insert_snapshot(
    transaction: &Transaction<'_>,
    identity: &Identity,
    stamp: Stamp,
    (alert_id, tier): (&str, u8),
    written: WrittenSnapshot,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO snapshots (id, alert_id, file, sha256, bytes, original_file, original_sha256, \
        original_bytes, width, height) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let SnapshotRef { sha256, bytes, original_sha256 } = &written.reference;
    transaction
        .prepare_cached(INSERT)
        .and_then(|mut insert| {
            insert.execute(rusqlite::params![
                written.id,
                alert_id,
                written.file,
                sha256,
                to_sql(*bytes),
                written.original_file,
                original_sha256,
                to_sql(written.original_bytes),
                written.size.0,
                written.size.1,
            ])
        })
        .during("store", &written.id)?;
    let (id, kind) = (written.id.as_str(), OutboxKind::Snapshot);
    let waiting = NewWaiting { id, kind, tier, is_requested: false, bytes: *bytes };
    insert_waiting(transaction, identity, stamp, waiting)?;
    written.files.keep();
    Ok(())
}

/// Whether the alert is closed already.
fn require_alert(connection: &Connection, alert_id: &str) -> Result<bool, StoreError> {
    connection
        .query_row("SELECT closed_at IS NOT NULL FROM alerts WHERE alert_id = ?1", [alert_id], |row| row.get(0))
        .optional()
        .during("look up", alert_id)?
        .ok_or_else(|| StoreError::UnknownAlert { alert_id: alert_id.to_owned() })
}

fn close(transaction: &Transaction<'_>, stamp: Stamp, alert_id: &str, body: &AlertBody) -> Result<(), StoreError> {
    let reason = serde_json::to_value(body.reason).during("write", alert_id)?;
    transaction
        .execute(
            "UPDATE alerts SET closed_at = ?2, close_reason = ?3 WHERE alert_id = ?1",
            (alert_id, stamp.wall.as_unix_millis(), reason.as_str()),
        )
        .map(drop)
        .during("close", alert_id)
}

/// The newest `limit` alerts, newest first.
pub(crate) fn alerts(connection: &Connection, layout: &Layout, limit: usize) -> Result<Vec<AlertRow>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT alert_id, closed_at, close_reason FROM alerts ORDER BY position DESC LIMIT ?1";
    read_alerts(connection, layout, sql, limit)
}

/// The alerts whose ids are or begin with `prefix`, at most two.
pub(crate) fn alerts_beginning(
    connection: &Connection,
    layout: &Layout,
    prefix: &str,
) -> Result<Vec<AlertRow>, StoreError> {
    let sql = "SELECT alert_id, closed_at, close_reason FROM alerts WHERE substr(alert_id, 1, length(?1)) = ?1 \
        ORDER BY alert_id <> ?1, position LIMIT 2";
    read_alerts(connection, layout, sql, prefix)
}

/// Alerts that are not closed, oldest first.
pub(crate) fn open_alerts(connection: &Connection, layout: &Layout) -> Result<Vec<AlertRow>, StoreError> {
    let sql = "SELECT alert_id, closed_at, close_reason FROM alerts WHERE closed_at IS NULL ORDER BY position LIMIT ?1";
    read_alerts(connection, layout, sql, i64::MAX)
}

pub(crate) fn alerts_since(connection: &Connection, since: Wall) -> Result<u64, StoreError> {
    connection
        .query_row("SELECT count(*) FROM alerts WHERE opened_at >= ?1", [since.as_unix_millis()], |row| row.get(0))
        .map(from_sql)
        .during("count", "alerts")
}

type Head = (String, Option<i64>, Option<String>);

fn read_alerts(
    connection: &Connection,
    layout: &Layout,
    sql: &str,
    parameter: impl ToSql,
) -> Result<Vec<AlertRow>, StoreError> {
    let read = |connection: &Connection| {
        connection
            .prepare_cached(sql)?
            .query_map([&parameter], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<Head>>>()
    };
    let heads = read(connection).during("list", "alerts")?;
    heads.into_iter().map(|head| read_alert(connection, layout, head)).collect()
}

fn read_alert(connection: &Connection, layout: &Layout, head: Head) -> Result<AlertRow, StoreError> {
    let (id, closed_at, close_reason) = head;
    let (records, newest) = read_records(connection, &id).during("read", &id)?;
    let envelope: Envelope = serde_json::from_slice(&newest).during("read", &id)?;
    let body: AlertBody = serde_json::from_value(envelope.body).during("read", &id)?;
    let snapshot = connection
        .prepare_cached("SELECT file, original_file FROM snapshots WHERE alert_id = ?1 AND evicted_at IS NULL")
        .and_then(|mut query| query.query_row([&id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .during("read", &id)?;
    let (file, original): (Option<String>, Option<String>) = snapshot.unzip();
    let clip: Option<String> = connection
        .prepare_cached("SELECT file FROM clips WHERE alert_id = ?1 AND evicted_at IS NULL ORDER BY rowid DESC LIMIT 1")
        .and_then(|mut query| query.query_row([&id], |row| row.get(0)).optional())
        .during("read", &id)?;
    Ok(AlertRow {
        alert_id: id.parse().map_err(|_| StoreError::UnknownAlert { alert_id: id })?,
        rule: body.rule,
        tier: body.tier,
        camera: body.camera.clone(),
        opened_at: body.opened_at,
        closed_at: wall(closed_at),
        close_reason: close_reason.and_then(|reason| serde_json::from_value(reason.into()).ok()),
        records,
        snapshot: file.map(|file| layout.snapshots.join(file)),
        clip: clip.map(|file| layout.clips.join(file)),
        original: original.map(|file| layout.snapshots.join(file)),
        body,
    })
}

/// The records of an alert in their order, and the bytes of the newest.
fn read_records(connection: &Connection, alert_id: &str) -> rusqlite::Result<(Vec<RecordRow>, Vec<u8>)> {
    const QUERY: &str =
        "SELECT id, type, sent_at, receipted_at, envelope FROM records WHERE alert_id = ?1 ORDER BY position";
    let mut query = connection.prepare_cached(QUERY)?;
    let mut rows = query.query([alert_id])?;
    let (mut records, mut newest) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let (sent, receipted_at) = (wall(row.get(2)?), wall(row.get(3)?));
        records.push(RecordRow { id: row.get(0)?, kind: row.get(1)?, sent, receipted_at });
        newest = row.get(4)?;
    }
    Ok((records, newest))
}
