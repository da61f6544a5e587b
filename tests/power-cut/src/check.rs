//! Looks through the store that a power cut left, with the box's own code first: opened as the next start opens it,
//! then row by row and file by file. Leaves findings; none means that nothing was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use kitchen_core::outbox::Payload;
use kitchen_core::wire::sha256_hex;
use kitchen_store::{OpenOptions, Store};
use rusqlite::Connection;

use crate::told::Told;

/// Whose store it is.
pub const DEVICE: &str = "mh07-000123";

/// What is wrong with the store in `folder`, itself and compared with what was told before the cut. The store is
/// opened, which changes it as a start would.
#[must_use]
pub fn findings(folder: &Path, told: &Told) -> Vec<String> {
    let mut findings = Vec::new();
    if let Err(error) = look(folder, told, &mut findings) {
        findings.push(format!("{error:#}"));
    }
    findings
}

fn look(folder: &Path, told: &Told, findings: &mut Vec<String>) -> Result<()> {
    let store = Store::open(OpenOptions { dir: folder, device: DEVICE, boot_id: "after the cut" })?;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("agent.db.") {
            findings.push(format!("the database was set aside: {name}"));
        }
    }
    if let Some(damage) = Store::read_only(folder)?.damage_in_full()? {
        findings.push(format!("the database is damaged: {damage}"));
    }
    store.alerts(usize::MAX).context("listing alerts")?;
    for waiting in store.outbox_waiting(usize::MAX).context("listing the outbox")? {
        let found = match store.outbox_load(&waiting.id) {
            Ok(Some(Payload::Clip { init, path })) => {
                fs::read(&path).is_ok_and(|clip| sha256_hex(&clip) == init.sha256)
            }
            Ok(Some(Payload::Record { .. } | Payload::Snapshot { .. })) => true,
            Ok(None) | Err(_) => false,
        };
        if !found {
            findings.push(format!("{} {} waits and can't be loaded", waiting.kind, waiting.id));
        }
    }
    let rows = Rows::read(folder)?;
    drop(store);
    rows.look_at_files(folder, findings);
    rows.compare(told, findings);
    Ok(())
}

/// A picture's or a clip's file.
struct NamedFile {
    path: String,
    hash: String,
    is_evicted: bool,
}

/// What the database says, as anybody could read it.
struct Rows {
    alerts: BTreeMap<String, bool>,
    records: BTreeMap<String, Option<String>>,
    /// By the alert's id: the picture sent, the clean one.
    snapshots: BTreeMap<String, [NamedFile; 2]>,
    clips: BTreeMap<String, NamedFile>,
    /// What waits, and whether it is set aside.
    outbox: BTreeMap<String, bool>,
    /// Of records, pictures and clips.
    ids: BTreeSet<String>,
    session: i64,
    next_sequence: i64,
}

const IDS: &str =
    "SELECT id, true FROM records UNION SELECT id, true FROM snapshots UNION SELECT clip_id, true FROM clips";

impl Rows {
    fn read(folder: &Path) -> Result<Self> {
        let database = Connection::open(folder.join("agent.db"))?;
        let broken: i64 = database.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
        anyhow::ensure!(broken == 0, "{broken} rows refer to rows that are not there");
        let snapshots = rows(
            &database,
            "SELECT alert_id, file, sha256, original_file, original_sha256, evicted_at IS NOT NULL FROM snapshots",
            |row| {
                let is_evicted = row.get(5)?;
                let file = |name, hash| -> rusqlite::Result<NamedFile> {
                    Ok(NamedFile {
                        path: format!("snapshots/{}", row.get::<_, String>(name)?),
                        hash: row.get(hash)?,
                        is_evicted,
                    })
                };
                Ok((row.get(0)?, [file(1, 2)?, file(3, 4)?]))
            },
        )?;
        let clips = rows(
            &database,
            "SELECT clip_id, file, json_extract(init, '$.sha256'), evicted_at IS NOT NULL FROM clips",
            |row| {
                let path = format!("clips/{}", row.get::<_, String>(1)?);
                Ok((row.get(0)?, NamedFile { path, hash: row.get(2)?, is_evicted: row.get(3)? }))
            },
        )?;
        let (session, next_sequence) =
            database
                .query_row("SELECT session, next_sequence FROM identity", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self {
            alerts: rows(&database, "SELECT alert_id, closed_at IS NOT NULL FROM alerts", pair)?,
            records: rows(&database, "SELECT id, alert_id FROM records", pair)?,
            snapshots,
            clips,
            outbox: rows(&database, "SELECT id, set_aside IS NOT NULL FROM outbox", pair)?,
            ids: rows(&database, IDS, pair::<bool>)?.into_keys().collect(),
            session,
            next_sequence,
        })
    }

    fn look_at_files(&self, folder: &Path, findings: &mut Vec<String>) {
        let files = self.snapshots.values().flatten().chain(self.clips.values());
        for file in files.filter(|file| !file.is_evicted) {
            match fs::read(folder.join(&file.path)) {
                Ok(bytes) if sha256_hex(&bytes) == file.hash => {}
                Ok(bytes) => findings.push(format!("{} is not what was written, {} bytes", file.path, bytes.len())),
                Err(error) => findings.push(format!("{} is named by a row: {error}", file.path)),
            }
        }
    }

    fn compare(&self, told: &Told, findings: &mut Vec<String>) {
        let mut lost = |what: &str, id: &str| findings.push(format!("{what} {id} is lost"));
        let may_go = |id: &str| told.yielded.contains(id);
        for (id, hashes) in &told.alerts {
            match (self.alerts.contains_key(id), self.snapshots.get(id), hashes) {
                (false, ..) if may_go(id) => continue,
                (false, ..) => lost("alert", id),
                (true, None, Some(_)) => lost("the picture of", id),
                (true, Some([sent, original]), Some((sent_hash, original_hash)))
                    if sent.hash != *sent_hash || original.hash != *original_hash =>
                {
                    lost("the right picture of", id);
                }
                _ => {}
            }
            if !may_go(id) && !self.outbox.contains_key(id) {
                lost("the waiting alert", id);
            }
        }
        let details = told.details.iter().map(|(id, alert)| (id, Some(alert)));
        for (id, alert) in told.records.iter().map(|id| (id, None)).chain(details) {
            if may_go(id) {
                // Goes with its alert, or alone when it has none.
                if !self.records.contains_key(id) && alert.is_some_and(|alert| !may_go(alert)) {
                    lost("record", id);
                }
            } else if self.records.get(id).map(Option::as_ref) != Some(alert) {
                lost("record", id);
            } else if !self.outbox.contains_key(id) {
                lost("the waiting record", id);
            }
        }
        for (id, (alert, hash)) in &told.clips {
            match self.clips.get(id) {
                None if may_go(alert) => {}
                None => lost("clip", id),
                Some(clip) if clip.hash != *hash => lost("the right clip", id),
                Some(clip) if !clip.is_evicted && !may_go(id) && !self.outbox.contains_key(id) => {
                    lost("the waiting clip", id);
                }
                Some(_) => {}
            }
        }
        for id in told.aside.iter().filter(|id| !may_go(id) && self.outbox.get(*id) == Some(&false)) {
            lost("the setting aside of", id);
        }
        for id in told.dropped.iter().filter(|id| self.outbox.contains_key(*id)) {
            lost("the dropping of", id);
        }
        for id in told.known.difference(&self.ids) {
            lost("what others know of,", id);
        }
        if self.session < told.session {
            lost("session", &told.session.to_string());
        }
        let ids = told.alerts.keys().chain(&told.records).chain(told.details.keys()).chain(told.clips.keys());
        let highest = ids.filter_map(|id| id.parse().ok()).map(|id: kitchen_core::wire::MessageId| id.sequence).max();
        if let Some(highest) =
            highest.filter(|highest| i64::try_from(*highest).is_ok_and(|highest| highest >= self.next_sequence))
        {
            lost("the reservation of message", &highest.to_string());
        }
    }
}

fn rows<T>(
    database: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<(String, T)>,
) -> Result<BTreeMap<String, T>> {
    let mut query = database.prepare(sql)?;
    Ok(query.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

fn pair<T: rusqlite::types::FromSql>(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, T)> {
    Ok((row.get(0)?, row.get(1)?))
}
