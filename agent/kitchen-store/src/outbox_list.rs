//! The outbox for technicians: everything in it, set-aside messages too, and one message with what it says.

use std::path::PathBuf;

use kitchen_core::outbox::OutboxKind;
use kitchen_core::time::Wall;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::Value;

use crate::database::{from_sql, wall};
use crate::error::{During as _, StoreError};
use crate::files::Layout;

const COLUMNS: &str = "id, kind, bytes, created_at, attempts, sent_at, set_aside";

/// One message of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub id: String,
    pub kind: OutboxKind,
    pub bytes: u64,
    pub created: Wall,
    pub attempts: u32,
    pub sent: Option<Wall>,
    /// Why it was set aside.
    pub set_aside: Option<String>,
}

/// What a message says: the body of a record, the file of a picture or clip.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxContent {
    /// Follows `kitchen/v1/{device}/up/`.
    pub topic_leaf: String,
    pub body: Option<Value>,
    pub file: Option<PathBuf>,
}

/// The first `limit` messages, those that are sent first at the head.
pub(crate) fn list(connection: &Connection, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM outbox ORDER BY set_aside IS NOT NULL, priority, position LIMIT ?1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = || connection.prepare_cached(&sql)?.query_map([limit], row)?.collect::<rusqlite::Result<Vec<_>>>();
    read().during("list", "the outbox")
}

/// The messages whose ids are or begin with `prefix`, at most two.
pub(crate) fn beginning(connection: &Connection, prefix: &str) -> Result<Vec<OutboxRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id <> ?1 LIMIT 2");
    let read = || connection.prepare_cached(&sql)?.query_map([prefix], row)?.collect::<rusqlite::Result<Vec<_>>>();
    read().during("look up", prefix)
}

pub(crate) fn content(
    connection: &Connection,
    layout: &Layout,
    message: &OutboxRow,
) -> Result<OutboxContent, StoreError> {
    let id = &message.id;
    let text = |sql: &str| {
        let found: Option<(String, String)> = connection
            .prepare_cached(sql)
            .and_then(|mut query| query.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .during("read", id)?;
        Ok(found.unwrap_or_default())
    };
    Ok(match message.kind {
        OutboxKind::Snapshot => {
            let (alert_id, file) = text("SELECT alert_id, file FROM snapshots WHERE id = ?1")?;
            let topic_leaf = format!("snapshot/{alert_id}");
            OutboxContent { topic_leaf, body: None, file: Some(layout.snapshots.join(file)) }
        }
        OutboxKind::Clip => {
            let (init, file) = text("SELECT init, file FROM clips WHERE clip_id = ?1")?;
            let topic_leaf = format!("clip/{id}/init");
            OutboxContent { topic_leaf, body: serde_json::from_str(&init).ok(), file: Some(layout.clips.join(file)) }
        }
        OutboxKind::Alert | OutboxKind::Record | OutboxKind::Command => {
            let (topic_leaf, envelope) = text("SELECT topic_leaf, CAST(envelope AS TEXT) FROM records WHERE id = ?1")?;
            OutboxContent { topic_leaf, body: serde_json::from_str(&envelope).ok(), file: None }
        }
    })
}

fn row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let unknown =
        |error: String| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into());
    Ok(OutboxRow {
        id: row.get(0)?,
        kind: row.get::<_, String>(1)?.parse().map_err(unknown)?,
        bytes: from_sql(row.get(2)?),
        created: Wall::from_unix_millis(row.get(3)?),
        attempts: row.get(4)?,
        sent: wall(row.get(5)?),
        set_aside: row.get(6)?,
    })
}
