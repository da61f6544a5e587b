//! What the district remembers, in SQLite (WAL, `synchronous=FULL`): records, snapshots, clips, last values.
//! Rows go in inside a transaction of the caller; nothing counts before its commit.

use std::path::{Path, PathBuf};

use kitchen_core::time::Wall;
use kitchen_core::wire::{ChainHead, Session};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

/// The database's file in the receiver's folder.
pub const DATABASE: &str = "district.sqlite";
/// The layout of the database.
const SCHEMA_VERSION: i64 = 3;
const SCHEMA: &str = "
CREATE TABLE records (
    device TEXT NOT NULL, id TEXT NOT NULL, sha256 TEXT NOT NULL, kind TEXT NOT NULL, leaf TEXT NOT NULL,
    envelope BLOB NOT NULL, received_at TEXT NOT NULL, PRIMARY KEY (device, id, sha256)) STRICT;
CREATE TABLE snapshots (
    device TEXT NOT NULL, id TEXT NOT NULL, sha256 TEXT NOT NULL, alert_id TEXT NOT NULL, bytes INTEGER NOT NULL,
    width TEXT, height TEXT, path TEXT NOT NULL, received_at TEXT NOT NULL, PRIMARY KEY (device, id, sha256)) STRICT;
CREATE INDEX snapshots_by_path ON snapshots (path);
CREATE TABLE clips (
    device TEXT NOT NULL, clip_id TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, alert_id TEXT,
    init BLOB, received TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, path TEXT, is_current INTEGER NOT NULL,
    received_at TEXT NOT NULL, PRIMARY KEY (device, clip_id, sha256)) STRICT;
CREATE TABLE conflicts (
    device TEXT NOT NULL, id TEXT NOT NULL, sha256 TEXT NOT NULL, what TEXT NOT NULL, noticed_at TEXT NOT NULL,
    PRIMARY KEY (device, id, sha256)) STRICT;
CREATE TABLE last_values (
    device TEXT NOT NULL, leaf TEXT NOT NULL, store TEXT, session INTEGER, envelope BLOB NOT NULL,
    received_at TEXT NOT NULL, PRIMARY KEY (device, leaf)) STRICT;
";
/// What version 2 adds: keys in the order in which they were shown, links, alarms, and the newest link told.
const EVIDENCE: &str = "
CREATE TABLE evidence_keys (
    position INTEGER PRIMARY KEY, device TEXT NOT NULL, key TEXT NOT NULL, shown_at TEXT NOT NULL,
    UNIQUE (device, key)) STRICT;
CREATE TABLE links (
    device TEXT NOT NULL, store TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL, record_id TEXT NOT NULL,
    PRIMARY KEY (device, store, prev, hash)) STRICT;
CREATE TABLE alarms (
    device TEXT NOT NULL, record_id TEXT, reason TEXT NOT NULL, noticed_at TEXT NOT NULL) STRICT;
CREATE TABLE chain_heads (
    device TEXT NOT NULL, store TEXT NOT NULL, count INTEGER NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (device, store)) STRICT;
";

/// What version 3 adds: the boards on which a device was seen.
const BOARDS: &str = "
CREATE TABLE boards (
    position INTEGER PRIMARY KEY, device TEXT NOT NULL, serial TEXT NOT NULL, shown_at TEXT NOT NULL,
    UNIQUE (device, serial)) STRICT;
";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database {path} can't be opened: check that the folder is writable and not full", path = path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("database {path} has layout {found}, this version knows {SCHEMA_VERSION}: use a newer kitchen-district", path = path.display())]
    TooNew { path: PathBuf, found: i64 },
    #[error("database failed: check the disk's space and health")]
    Query(#[from] rusqlite::Error),
    #[error("ranges of a clip in the database can't be read")]
    Ranges(#[from] serde_json::Error),
}

/// What an id was to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    New,
    Repeated,
    /// Known with other bytes; now both are kept.
    Conflict,
}

/// One JSON message with a receipt.
#[derive(Debug)]
pub struct RecordRow<'a> {
    pub device: &'a str,
    pub id: &'a str,
    pub sha256: &'a str,
    pub kind: &'a str,
    pub leaf: &'a str,
    pub envelope: &'a [u8],
    pub received_at: Wall,
}

#[derive(Debug)]
pub struct SnapshotRow<'a> {
    pub device: &'a str,
    pub id: &'a str,
    pub sha256: &'a str,
    pub alert_id: &'a str,
    pub bytes: u64,
    pub width: Option<&'a str>,
    pub height: Option<&'a str>,
    pub path: &'a Path,
    pub received_at: Wall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipState {
    Receiving,
    Stored,
    Rejected,
}

impl ClipState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Stored => "stored",
            Self::Rejected => "rejected",
        }
    }
}

/// One clip; `received` are the ranges that lie durably in its file.
#[derive(Clone, Debug)]
pub struct ClipRow {
    pub sha256: String,
    pub bytes: u64,
    pub alert_id: Option<String>,
    pub init: Option<Vec<u8>>,
    pub received: Vec<[u64; 2]>,
    pub state: ClipState,
    pub reason: Option<String>,
    pub path: Option<PathBuf>,
}

#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

/// What the receiver knows of a device.
#[derive(Clone, Debug)]
pub struct SeenDevice {
    pub device: String,
    /// When it was last heard of.
    pub at: Wall,
    /// The newest that it has shown.
    pub evidence_key: Option<String>,
    pub alarms: Vec<String>,
}

impl Store {
    /// # Errors
    /// When the file can't be opened, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        let steps = match found {
            0 => [SCHEMA, EVIDENCE, BOARDS].concat(),
            1 => [EVIDENCE, BOARDS].concat(),
            2 => BOARDS.to_owned(),
            SCHEMA_VERSION => String::new(),
            found => return Err(StoreError::TooNew { path: path.to_owned(), found }),
        };
        if !steps.is_empty() {
            let upgrade = format!("BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;");
            connection.execute_batch(&upgrade).map_err(failed)?;
        }
        Ok(Self { connection })
    }

    /// For questions only; never makes or upgrades a database.
    pub fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
        Ok(Self { connection })
    }

    pub fn begin(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Durable when it returns without error; else nothing of the transaction is.
    pub fn commit(&self) -> Result<(), StoreError> {
        let committed = self.connection.execute_batch("COMMIT");
        if committed.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        Ok(committed?)
    }

    pub fn insert_record(&self, row: &RecordRow<'_>) -> Result<Seen, StoreError> {
        let seen =
            self.seen("SELECT sha256 FROM records WHERE device = ?1 AND id = ?2", row.device, row.id, row.sha256)?;
        if seen != Seen::Repeated {
            self.connection.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
                params![row.device, row.id, row.sha256, row.kind, row.leaf, row.envelope, row.received_at.to_string()],
            )?;
        }
        self.note_conflict(seen, row.device, row.id, row.sha256, "record", row.received_at)?;
        Ok(seen)
    }

    /// What a snapshot's id is, before its file is written.
    pub fn snapshot_seen(&self, device: &str, id: &str, sha256: &str) -> Result<Seen, StoreError> {
        self.seen("SELECT sha256 FROM snapshots WHERE device = ?1 AND id = ?2", device, id, sha256)
    }

    /// The hash of the picture that a path already belongs to.
    pub fn snapshot_at(&self, path: &Path) -> Result<Option<String>, StoreError> {
        let mut query = self.connection.prepare_cached("SELECT sha256 FROM snapshots WHERE path = ?1")?;
        Ok(query.query_row([path_text(path)], |row| row.get(0)).optional()?)
    }

    pub fn insert_snapshot(&self, row: &SnapshotRow<'_>, seen: Seen) -> Result<(), StoreError> {
        let insert = "INSERT INTO snapshots VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.connection.prepare_cached(insert)?.execute(params![
            row.device,
            row.id,
            row.sha256,
            row.alert_id,
            sql(row.bytes),
            row.width,
            row.height,
            path_text(row.path),
            row.received_at.to_string()
        ])?;
        self.note_conflict(seen, row.device, row.id, row.sha256, "snapshot", row.received_at)
    }

    /// The clip of this id and hash, or without a hash the one announced last.
    pub fn clip(&self, device: &str, clip_id: &str, sha256: Option<&str>) -> Result<Option<ClipRow>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT sha256, bytes, alert_id, init, received, state, reason, path FROM clips
             WHERE device = ?1 AND clip_id = ?2 AND (sha256 = ?3 OR (?3 IS NULL AND is_current = 1))",
        )?;
        let row = query
            .query_row(params![device, clip_id, sha256], |row| {
                let received: String = row.get(4)?;
                let state: String = row.get(5)?;
                let clip = ClipRow {
                    sha256: row.get(0)?,
                    bytes: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                    alert_id: row.get(2)?,
                    init: row.get(3)?,
                    received: Vec::new(),
                    state: match state.as_str() {
                        "stored" => ClipState::Stored,
                        "rejected" => ClipState::Rejected,
                        _ => ClipState::Receiving,
                    },
                    reason: row.get(6)?,
                    path: row.get::<_, Option<String>>(7)?.map(PathBuf::from),
                };
                Ok((clip, received))
            })
            .optional()?;
        row.map(|(clip, received)| Ok(ClipRow { received: serde_json::from_str(&received)?, ..clip })).transpose()
    }

    /// Whether this id was announced with another hash.
    pub fn has_other_clip(&self, device: &str, clip_id: &str, sha256: &str) -> Result<bool, StoreError> {
        let select = "SELECT EXISTS (SELECT 1 FROM clips WHERE device = ?1 AND clip_id = ?2 AND sha256 <> ?3)";
        Ok(self.connection.prepare_cached(select)?.query_row([device, clip_id, sha256], |row| row.get(0))?)
    }

    /// Writes a clip's row and makes it the one that chunks of this id belong to.
    pub fn put_clip(&self, device: &str, clip_id: &str, clip: &ClipRow, now: Wall) -> Result<(), StoreError> {
        let leave = "UPDATE clips SET is_current = 0 WHERE device = ?1 AND clip_id = ?2 AND sha256 <> ?3";
        self.connection.prepare_cached(leave)?.execute([device, clip_id, &clip.sha256])?;
        let put = "INSERT OR REPLACE INTO clips VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11)";
        self.connection.prepare_cached(put)?.execute(params![
            device,
            clip_id,
            clip.sha256,
            sql(clip.bytes),
            clip.alert_id,
            clip.init,
            serde_json::to_string(&clip.received)?,
            clip.state.as_str(),
            clip.reason,
            clip.path.as_deref().map(path_text),
            now.to_string()
        ])?;
        Ok(())
    }

    /// Answers whether it was not known before.
    pub fn insert_clip_conflict(
        &self,
        device: &str,
        clip_id: &str,
        sha256: &str,
        now: Wall,
    ) -> Result<bool, StoreError> {
        let insert = "INSERT OR IGNORE INTO conflicts VALUES (?1, ?2, ?3, 'clip', ?4)";
        let count = self.connection.prepare_cached(insert)?.execute([device, clip_id, sha256, &now.to_string()])?;
        Ok(count > 0)
    }

    pub fn delete_clip(&self, device: &str, clip_id: &str, sha256: &str) -> Result<(), StoreError> {
        let delete = "DELETE FROM clips WHERE device = ?1 AND clip_id = ?2 AND sha256 = ?3";
        self.connection.prepare_cached(delete)?.execute([device, clip_id, sha256])?;
        Ok(())
    }

    /// Keeps the last value of a leaf. `false`: it is older than or the same as the one held.
    pub fn put_last_value(
        &self,
        device: &str,
        leaf: &str,
        session: Option<&Session>,
        envelope: &[u8],
        now: Wall,
    ) -> Result<bool, StoreError> {
        let select = "SELECT store, session, envelope FROM last_values WHERE device = ?1 AND leaf = ?2";
        let held: Option<(Option<String>, Option<i64>, Vec<u8>)> = self
            .connection
            .prepare_cached(select)?
            .query_row([device, leaf], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let number = session.map(|session| sql(session.n));
        if let Some((store, held_number, held_envelope)) = held {
            let is_same_store = store.as_deref() == session.map(|session| session.store.as_str());
            if held_envelope == envelope || (is_same_store && number < held_number) {
                return Ok(false);
            }
        }
        let put = "INSERT OR REPLACE INTO last_values VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let store = session.map(|session| session.store.as_str());
        self.connection.prepare_cached(put)?.execute(params![
            device,
            leaf,
            store,
            number,
            envelope,
            now.to_string()
        ])?;
        Ok(true)
    }

    /// Whether this key was never shown before.
    pub fn insert_evidence_key(&self, device: &str, key: &str, now: Wall) -> Result<bool, StoreError> {
        let insert = "INSERT OR IGNORE INTO evidence_keys (device, key, shown_at) VALUES (?1, ?2, ?3)";
        Ok(self.connection.prepare_cached(insert)?.execute([device, key, &now.to_string()])? > 0)
    }

    /// Whether the device was never seen on this board, and the board on which it was seen before.
    pub fn insert_board(&self, device: &str, serial: &str, now: Wall) -> Result<(bool, Option<String>), StoreError> {
        let select = "SELECT serial FROM boards WHERE device = ?1 ORDER BY position DESC LIMIT 1";
        let before = self.connection.prepare_cached(select)?.query_row([device], |row| row.get(0)).optional()?;
        let insert = "INSERT OR IGNORE INTO boards (device, serial, shown_at) VALUES (?1, ?2, ?3)";
        let is_new = self.connection.prepare_cached(insert)?.execute([device, serial, &now.to_string()])? > 0;
        Ok((is_new, before))
    }

    /// Each device that was ever heard of.
    pub fn seen_devices(&self) -> Result<Vec<SeenDevice>, StoreError> {
        let select = "SELECT device, max(received_at), (SELECT key FROM evidence_keys WHERE \
            evidence_keys.device = last_values.device ORDER BY position DESC LIMIT 1) FROM last_values GROUP BY device";
        let mut query = self.connection.prepare(select)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let seen = rows.collect::<Result<Vec<(String, String, Option<String>)>, _>>()?;
        let alarms = "SELECT reason FROM alarms WHERE device = ?1 ORDER BY noticed_at";
        let mut alarms = self.connection.prepare(alarms)?;
        let mut devices = Vec::with_capacity(seen.len());
        for (device, at, evidence_key) in seen {
            let alarms = alarms.query_map([&device], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            let at = at.parse().unwrap_or(Wall::from_unix_millis(0));
            devices.push(SeenDevice { device, at, evidence_key, alarms });
        }
        Ok(devices)
    }

    pub fn insert_alarm(&self, device: &str, id: Option<&str>, reason: &str, now: Wall) -> Result<(), StoreError> {
        let insert = "INSERT INTO alarms VALUES (?1, ?2, ?3, ?4)";
        self.connection.prepare_cached(insert)?.execute((device, id, reason, now.to_string()))?;
        Ok(())
    }

    /// The first key that the device has shown.
    pub fn evidence_key(&self, device: &str) -> Result<Option<String>, StoreError> {
        let select = "SELECT key FROM evidence_keys WHERE device = ?1 ORDER BY position LIMIT 1";
        Ok(self.connection.prepare_cached(select)?.query_row([device], |row| row.get(0)).optional()?)
    }

    /// Keeps a link; the record of another one that follows the same.
    pub fn insert_link(
        &self,
        device: &str,
        store: &str,
        prev: &str,
        hash: &str,
        record_id: &str,
    ) -> Result<Option<String>, StoreError> {
        let insert = "INSERT OR IGNORE INTO links VALUES (?1, ?2, ?3, ?4, ?5)";
        self.connection.prepare_cached(insert)?.execute([device, store, prev, hash, record_id])?;
        let other = "SELECT record_id FROM links WHERE device = ?1 AND store = ?2 AND prev = ?3 AND hash <> ?4 LIMIT 1";
        let mut other = self.connection.prepare_cached(other)?;
        Ok(other.query_row([device, store, prev, hash], |row| row.get(0)).optional()?)
    }

    /// The newest link of a store that was told.
    pub fn chain_head(&self, device: &str, store: &str) -> Result<Option<ChainHead>, StoreError> {
        let select = "SELECT count, hash FROM chain_heads WHERE device = ?1 AND store = ?2";
        let mut query = self.connection.prepare_cached(select)?;
        let held: Option<(i64, String)> =
            query.query_row([device, store], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(held.and_then(|(count, hash)| {
            let count = u64::try_from(count).unwrap_or(0);
            Some(ChainHead { store: store.to_owned(), count, hash: hash.parse().ok()? })
        }))
    }

    pub fn put_chain_head(&self, device: &str, head: &ChainHead) -> Result<(), StoreError> {
        let put = "INSERT OR REPLACE INTO chain_heads VALUES (?1, ?2, ?3, ?4)";
        self.connection.prepare_cached(put)?.execute(params![
            device,
            head.store,
            sql(head.count),
            head.hash.to_string()
        ])?;
        Ok(())
    }

    fn seen(&self, select: &str, device: &str, id: &str, sha256: &str) -> Result<Seen, StoreError> {
        let mut query = self.connection.prepare_cached(select)?;
        let known = query.query_map([device, id], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(match known.as_slice() {
            [] => Seen::New,
            known if known.iter().any(|hash| hash == sha256) => Seen::Repeated,
            _ => Seen::Conflict,
        })
    }

    fn note_conflict(
        &self,
        seen: Seen,
        device: &str,
        id: &str,
        sha256: &str,
        what: &str,
        now: Wall,
    ) -> Result<(), StoreError> {
        if seen == Seen::Conflict {
            let insert = "INSERT OR IGNORE INTO conflicts VALUES (?1, ?2, ?3, ?4, ?5)";
            self.connection.prepare_cached(insert)?.execute([device, id, sha256, what, &now.to_string()])?;
        }
        Ok(())
    }
}

/// Paths are made of ids and the store's own folder.
fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
