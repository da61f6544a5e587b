//! All that proves one alert: its records as they were sent, their links with all links after them, its files.
//! Reads only; what is damaged or gone shows as a gap.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kitchen_core::evidence::{EvidenceKey, Hash};
use kitchen_core::exported::{ChainPart, RecordEntry, record_file};
use kitchen_core::wire::MessageId;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::Value;

use crate::database::{from_sql, to_sql};
use crate::error::{During as _, StoreError};
use crate::files::Layout;

/// One alert's evidence.
pub struct AlertEvidence {
    /// In their order, each with the bytes that were sent.
    pub records: Vec<(RecordEntry, Vec<u8>)>,
    pub chain: Vec<ChainPart>,
    pub snapshot: Option<EvidenceFile>,
    pub original: Option<EvidenceFile>,
    /// By clip id.
    pub clips: BTreeMap<String, EvidenceFile>,
    pub key: EvidenceKey,
}

/// A picture or clip that the store has, or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceFile {
    pub path: PathBuf,
    pub is_evicted: bool,
}

pub(crate) fn read(
    connection: &Connection,
    layout: &Layout,
    alert_id: &MessageId,
) -> Result<AlertEvidence, StoreError> {
    let subject = alert_id.to_string();
    let key = crate::chain::read_key(layout)?;
    let records = read_records(connection, &subject).during("read", &subject)?;
    // Where the alert begins in each store: an alert under way may outlive a store's id.
    let mut starts: Vec<(String, u64)> = Vec::new();
    for (entry, _) in &records {
        if let Some(number) = entry.number
            && starts.iter().all(|(store, _)| *store != entry.id.store)
        {
            starts.push((entry.id.store.clone(), number));
        }
    }
    let mut chain = Vec::new();
    for (store, first) in starts {
        chain.extend(read_chain(connection, &store, first).during("read", "the evidence chain")?);
    }
    let (snapshot, original) = read_snapshot(connection, layout, &subject).during("read", &subject)?.unzip();
    let clips = read_clips(connection, layout, &subject).during("read", &subject)?;
    Ok(AlertEvidence { records, chain, snapshot, original, clips, key })
}

fn read_records(connection: &Connection, alert_id: &str) -> rusqlite::Result<Vec<(RecordEntry, Vec<u8>)>> {
    const QUERY: &str = "SELECT r.id, r.type, r.envelope, c.number FROM records r LEFT JOIN chain c ON c.record_id = r.id \
        WHERE r.alert_id = ?1 ORDER BY r.position";
    let mut records = Vec::new();
    let mut query = connection.prepare_cached(QUERY)?;
    let mut rows = query.query([alert_id])?;
    while let Some(row) = rows.next()? {
        let Ok(id) = row.get::<_, String>(0)?.parse::<MessageId>() else { continue };
        let number = row.get::<_, Option<i64>>(3)?.map(from_sql);
        let entry = RecordEntry { file: record_file(&id.to_string()), id, kind: row.get(1)?, number };
        records.push((entry, row.get(2)?));
    }
    Ok(records)
}

/// The links of a store from `first` on, in a part for each run without a gap.
fn read_chain(connection: &Connection, store: &str, first: u64) -> rusqlite::Result<Vec<ChainPart>> {
    const QUERY: &str = "SELECT number, CAST(digest AS TEXT), CAST(hash AS TEXT), record_id FROM chain \
        WHERE store = ?1 AND number >= ?2 ORDER BY number";
    let mut parts: Vec<ChainPart> = Vec::new();
    // Number and hash of the link before.
    let mut before = hash_at(connection, store, first.saturating_sub(1))?.map(|hash| (first.saturating_sub(1), hash));
    let mut query = connection.prepare_cached(QUERY)?;
    let mut rows = query.query((store, to_sql(first)))?;
    while let Some(row) = rows.next()? {
        let number = from_sql(row.get(0)?);
        let (digest, hash) = (parsed(&row.get::<_, String>(1)?), parsed(&row.get::<_, String>(2)?));
        let follows = before.filter(|(last, _)| last + 1 == number).map(|(_, hash)| hash);
        let prev = match follows {
            Some(prev) => Some(prev),
            None => prev_of(connection, &row.get::<_, String>(3)?)?,
        };
        if let Some((digest, prev)) = digest.zip(prev) {
            match parts.last_mut().filter(|part| part.first + part.digests.len() as u64 == number) {
                Some(part) => part.digests.push(digest),
                None => parts.push(ChainPart { store: store.to_owned(), first: number, prev, digests: vec![digest] }),
            }
        }
        before = hash.map(|hash| (number, hash));
    }
    Ok(parts)
}

fn parsed(hash: &str) -> Option<Hash> {
    hash.parse().ok()
}

/// The hash of a link; zeros before the first.
fn hash_at(connection: &Connection, store: &str, number: u64) -> rusqlite::Result<Option<Hash>> {
    if number == 0 {
        return Ok(Some(Hash::ZERO));
    }
    let query = "SELECT CAST(hash AS TEXT) FROM chain WHERE store = ?1 AND number = ?2";
    let hash: Option<String> = connection.query_row(query, (store, to_sql(number)), |row| row.get(0)).optional()?;
    Ok(hash.and_then(|hash| parsed(&hash)))
}

/// What a record says of the hash before it.
fn prev_of(connection: &Connection, record_id: &str) -> rusqlite::Result<Option<Hash>> {
    let query = "SELECT envelope FROM records WHERE id = ?1";
    let envelope: Option<Vec<u8>> = connection.query_row(query, [record_id], |row| row.get(0)).optional()?;
    let envelope = envelope.and_then(|envelope| serde_json::from_slice::<Value>(&envelope).ok());
    Ok(envelope.and_then(|envelope| parsed(envelope.pointer("/body/evidence/prev")?.as_str()?)))
}

fn read_snapshot(
    connection: &Connection,
    layout: &Layout,
    alert_id: &str,
) -> rusqlite::Result<Option<(EvidenceFile, EvidenceFile)>> {
    let query = "SELECT file, original_file, evicted_at IS NOT NULL FROM snapshots WHERE alert_id = ?1";
    let file = |name: String, is_evicted| EvidenceFile { path: layout.snapshots.join(name), is_evicted };
    connection
        .query_row(query, [alert_id], |row| {
            let is_evicted = row.get(2)?;
            Ok((file(row.get(0)?, is_evicted), file(row.get(1)?, is_evicted)))
        })
        .optional()
}

fn read_clips(
    connection: &Connection,
    layout: &Layout,
    alert_id: &str,
) -> rusqlite::Result<BTreeMap<String, EvidenceFile>> {
    connection
        .prepare_cached("SELECT clip_id, file, evicted_at IS NOT NULL FROM clips WHERE alert_id = ?1")?
        .query_map([alert_id], |row| {
            let file = EvidenceFile { path: layout.clips.join(row.get::<_, String>(1)?), is_evicted: row.get(2)? };
            Ok((row.get(0)?, file))
        })?
        .collect()
}
