//! Keeps the store within its quotas, and makes room when the disk is full: clips that the district has, then clips
//! that wait, then the oldest of the recording, then pictures; alerts stay. What waited and had to go is recorded as a
//! loss.
//! A file goes after the row that named it: `garbage` says which are left.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};

use kitchen_core::time::Stamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::database::{Database, from_sql};
use crate::error::{At as _, During as _, StoreCause, StoreError};
use crate::files::sync_folder;
use crate::outbox::insert_own_record;

/// Kept free of use for the day on which the disk is full.
const RESERVE_BYTES: u64 = 4 << 20;
/// Freed at once when the disk is full.
const ROOM_BYTES: u64 = 2 << 20;
/// Attempts to make room for one write.
const ATTEMPTS: usize = 4;
/// Alerts forgotten in one call, and pages given back: each well below a second on a memory card.
const ALERTS_AT_ONCE: u32 = 50;
const PAGES_AT_ONCE: u32 = 256;
/// Files removed in one transaction.
const FILES_AT_ONCE: u32 = 100;

/// How much the store may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub clips_bytes: u64,
    pub snapshots_bytes: u64,
    pub database_bytes: u64,
}

/// Where room is made when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Among older files: for pictures and clips.
    ByEviction,
    /// Also in the reserve, if nothing else can go: for texts and the ledger.
    WithReserve,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    pub clips: usize,
    pub snapshots: usize,
    /// Alerts with all that belongs to them, long closed and known to the district.
    pub alerts: usize,
    /// Of these clips and snapshots, the ones that had not reached the district.
    pub unsent: usize,
}

/// Files of one kind, in the order in which they go.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Clips,
    Snapshots,
}

/// A row whose files are to go.
struct Victim {
    id: String,
    bytes: u64,
    files: Vec<String>,
    waits: bool,
}

impl Kind {
    const fn folder(self) -> &'static str {
        match self {
            Self::Clips => "clips",
            Self::Snapshots => "snapshots",
        }
    }

    const fn sum(self) -> &'static str {
        match self {
            Self::Clips => "SELECT coalesce(sum(bytes), 0) FROM clips WHERE evicted_at IS NULL",
            Self::Snapshots => {
                "SELECT coalesce(sum(bytes + original_bytes), 0) FROM snapshots WHERE evicted_at IS NULL"
            }
        }
    }

    /// What does not wait first, within it the oldest; of what waits the least urgent first. Pictures of open alerts
    /// stay.
    const fn victims(self) -> &'static str {
        match self {
            Self::Clips => {
                "SELECT c.clip_id, c.bytes, c.file, NULL, o.id IS NOT NULL FROM clips c LEFT JOIN outbox o \
                    ON o.id = c.clip_id WHERE c.evicted_at IS NULL \
                    ORDER BY o.id IS NOT NULL, coalesce(o.priority, 0) DESC, c.rowid LIMIT ?1"
            }
            Self::Snapshots => {
                "SELECT s.id, s.bytes + s.original_bytes, s.file, s.original_file, o.id IS NOT NULL FROM snapshots s \
                    JOIN alerts a USING (alert_id) LEFT JOIN outbox o ON o.id = s.id \
                    WHERE s.evicted_at IS NULL AND a.closed_at IS NOT NULL \
                    ORDER BY o.id IS NOT NULL, a.tier DESC, s.rowid LIMIT ?1"
            }
        }
    }

    const fn evict(self) -> &'static str {
        match self {
            Self::Clips => "UPDATE clips SET evicted_at = ?2 WHERE clip_id = ?1",
            Self::Snapshots => "UPDATE snapshots SET evicted_at = ?2 WHERE id = ?1",
        }
    }
}

impl Database {
    pub fn tidy(&mut self, now: Stamp, quotas: &Quotas) -> Result<Tidied, StoreError> {
        self.empty_garbage()?;
        let mut tidied = Tidied::default();
        for (kind, limit) in [(Kind::Clips, quotas.clips_bytes), (Kind::Snapshots, quotas.snapshots_bytes)] {
            let used: i64 = self.connection.query_row(kind.sum(), [], |row| row.get(0)).during("measure", "files")?;
            let over = from_sql(used).saturating_sub(limit);
            self.evict(kind, over, "quota", now, &mut tidied)?;
        }
        tidied.alerts = self.forget_alerts(quotas.database_bytes, now)?;
        self.prune_ledger(now)?;
        self.connection
            .execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))
            .during("give back", "free pages")?;
        let _ = self.ensure_reserve();
        Ok(tidied)
    }

    /// Runs `work`, and again after making room when the disk is full.
    pub fn with_room<T>(
        &mut self,
        now: Stamp,
        room: Room,
        mut work: impl FnMut(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut attempts = 0;
        loop {
            // Without the reserve what is left belongs to the texts.
            let has_room = room == Room::WithReserve || self.ensure_reserve();
            match if has_room { work(self) } else { Err(self.no_room()) } {
                Err(error) if error.cause() == StoreCause::DiskFull && attempts < ATTEMPTS => {
                    attempts += 1;
                    tracing::error!(error = &error as &dyn std::error::Error, "the disk is full; making room");
                    if !self.make_room(now, room) {
                        return Err(error);
                    }
                }
                outcome => {
                    if room == Room::WithReserve && !self.layout.reserve.exists() {
                        self.empty_log();
                    }
                    return outcome;
                }
            }
        }
    }

    /// Once the reserve is given up, the log is not let grow: it takes as much as the reserve was, ten times what the
    /// rows in it need. Readers are not waited for.
    fn empty_log(&self) {
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the log can't be emptied");
        }
    }

    /// Whether anything was freed.
    fn make_room(&mut self, now: Stamp, room: Room) -> bool {
        let made = |outcome: Result<usize, StoreError>| match outcome {
            Ok(gone) => gone > 0,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no room made");
                false
            }
        };
        if made(self.evict_for_room(Kind::Clips, now))
            || made(self.evict_recording(ROOM_BYTES))
            || made(self.evict_for_room(Kind::Snapshots, now))
        {
            return true;
        }
        self.empty_garbage().is_ok_and(|removed| removed > 0)
            || room == Room::WithReserve && fs::remove_file(&self.layout.reserve).is_ok()
    }

    fn evict_for_room(&mut self, kind: Kind, now: Stamp) -> Result<usize, StoreError> {
        let mut tidied = Tidied::default();
        self.evict(kind, ROOM_BYTES, "disk_full", now, &mut tidied)?;
        Ok(tidied.clips + tidied.snapshots)
    }

    /// Removes files of a kind until so many bytes are free.
    fn evict(
        &mut self,
        kind: Kind,
        mut bytes: u64,
        reason: &str,
        now: Stamp,
        tidied: &mut Tidied,
    ) -> Result<(), StoreError> {
        while bytes > 0 {
            let mut victims = self.victims(kind)?;
            let mut freed = 0;
            let enough = victims.iter().take_while(|victim| {
                let is_needed = freed < bytes;
                freed += victim.bytes;
                is_needed
            });
            let count = enough.count();
            victims.truncate(count);
            if victims.is_empty() {
                break;
            }
            bytes = bytes.saturating_sub(victims.iter().map(|victim| victim.bytes).sum());
            let record_id = self.next_id()?;
            self.durably(now, "evict", kind.folder(), |transaction, identity| {
                evict_rows(transaction, kind, &victims, now).during("evict", kind.folder())?;
                let unsent: Vec<&str> =
                    victims.iter().filter(|victim| victim.waits).map(|victim| victim.id.as_str()).collect();
                if unsent.is_empty() {
                    return Ok(());
                }
                let body = json!({ "what": kind.folder(), "ids": unsent, "reason": reason });
                insert_own_record(transaction, identity, now, &record_id, "loss", body)
            })?;
            match kind {
                Kind::Clips => tidied.clips += victims.len(),
                Kind::Snapshots => tidied.snapshots += victims.len(),
            }
            tidied.unsent += victims.iter().filter(|victim| victim.waits).count();
            self.empty_garbage()?;
        }
        Ok(())
    }

    fn victims(&self, kind: Kind) -> Result<Vec<Victim>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached(kind.victims())?
                .query_map([FILES_AT_ONCE], |row| {
                    let files = [row.get::<_, Option<String>>(2)?, row.get(3)?];
                    Ok(Victim {
                        id: row.get(0)?,
                        bytes: from_sql(row.get(1)?),
                        files: files.into_iter().flatten().collect(),
                        waits: row.get(4)?,
                    })
                })?
                .collect::<rusqlite::Result<Vec<Victim>>>()
        };
        read().during("list", kind.folder())
    }

    /// Removes the files that no row needs any more; how many.
    pub fn empty_garbage(&mut self) -> Result<usize, StoreError> {
        let read = || -> rusqlite::Result<Vec<(i64, String, String)>> {
            self.connection
                .prepare_cached("SELECT position, folder, file FROM garbage")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        };
        let garbage = read().during("list", "files to remove")?;
        if garbage.is_empty() {
            return Ok(0);
        }
        for (_, folder, file) in &garbage {
            let path = self.layout.directory.join(folder).join(file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at("remove", &path),
                _ => {}
            }
        }
        for folder in [&self.layout.clips, &self.layout.snapshots] {
            sync_folder(folder)?;
        }
        self.cheaply("note as removed", "files", |transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM garbage WHERE position = ?1")?;
            garbage.iter().try_for_each(|(position, ..)| delete.execute([position]).map(drop))
        })?;
        Ok(garbage.len())
    }

    /// Forgets some of the oldest alerts that are closed and known to the district, once the database is too large.
    fn forget_alerts(&mut self, limit_bytes: u64, now: Stamp) -> Result<usize, StoreError> {
        const USED: &str = "SELECT (page_count - freelist_count) * page_size \
            FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        const OLD: &str = "SELECT alert_id FROM alerts a WHERE closed_at IS NOT NULL AND NOT EXISTS \
            (SELECT 1 FROM records r JOIN outbox o USING (id) WHERE r.alert_id = a.alert_id) AND NOT EXISTS \
            (SELECT 1 FROM snapshots s JOIN outbox o USING (id) WHERE s.alert_id = a.alert_id) AND NOT EXISTS \
            (SELECT 1 FROM clips c JOIN outbox o ON o.id = c.clip_id WHERE c.alert_id = a.alert_id) \
            ORDER BY position LIMIT ?1";
        let used: i64 = self.connection.query_row(USED, [], |row| row.get(0)).during("measure", "the database")?;
        if from_sql(used) <= limit_bytes {
            return Ok(0);
        }
        let read = || -> rusqlite::Result<Vec<String>> {
            self.connection.prepare_cached(OLD)?.query_map([ALERTS_AT_ONCE], |row| row.get(0))?.collect()
        };
        let old = read().during("list", "old alerts")?;
        // Records of the box itself have no alert; those that have arrived go with the alerts of their time.
        self.cheaply("forget", "old records", |transaction| {
            transaction
                .execute(
                    "DELETE FROM records WHERE position IN (SELECT position FROM records WHERE alert_id IS NULL \
                        AND id NOT IN (SELECT id FROM outbox) ORDER BY position LIMIT ?1)",
                    [ALERTS_AT_ONCE],
                )
                .map(drop)
        })?;
        if !old.is_empty() {
            // Before their files go: a power cut must not bring back rows that name them.
            self.durably(now, "forget", "old alerts", |transaction, _| {
                old.iter().try_for_each(|id| forget(transaction, id)).during("forget", "old alerts")
            })?;
        }
        self.empty_garbage()?;
        Ok(old.len())
    }

    /// Bytes on the disk that nothing uses. Without room for them there is no reserve, which is no reason to fail.
    /// Whether it is there.
    pub fn ensure_reserve(&self) -> bool {
        let path = &self.layout.reserve;
        if path.metadata().is_ok_and(|file| file.len() == RESERVE_BYTES) {
            return true;
        }
        let aside = path.with_extension("tmp");
        let make = || -> io::Result<()> {
            let file = File::create(&aside)?;
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
                Err(Errno::OPNOTSUPP) => io::copy(&mut io::repeat(0).take(RESERVE_BYTES), &mut &file).map(drop)?,
                allocated => allocated?,
            }
            fs::rename(&aside, path)
        };
        make()
            .inspect_err(|error| {
                let _ = fs::remove_file(&aside);
                tracing::warn!(path = %path.display(), %error, "no reserve for a full disk");
            })
            .is_ok()
    }

    fn no_room(&self) -> StoreError {
        let path = self.layout.reserve.clone();
        StoreError::File { operation: "keep", path, source: io::ErrorKind::StorageFull.into() }
    }

    /// Losses found before there was a clock become records.
    pub fn tell_losses(&mut self, now: Stamp) -> Result<usize, StoreError> {
        let mut told = 0;
        loop {
            let found: Option<(i64, String)> = self
                .connection
                .query_row("SELECT position, body FROM losses ORDER BY position", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
                .during("list", "losses")?;
            let Some((position, body)) = found else { return Ok(told) };
            let body: Value = serde_json::from_str(&body).during("read", "a loss")?;
            let id = self.next_id()?;
            self.durably(now, "tell", "a loss", |transaction, identity| {
                insert_own_record(transaction, identity, now, &id, "loss", body)?;
                transaction.execute("DELETE FROM losses WHERE position = ?1", [position]).map(drop).during("tell", "it")
            })?;
            told += 1;
        }
    }
}

/// The files of pictures and of clips that rows name.
pub(crate) fn named_files(connection: &Connection) -> Result<[HashSet<String>; 2], StoreError> {
    let read = |sql: &str| {
        let read = || connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>();
        read().during("list", "files")
    };
    Ok([
        read("SELECT file FROM snapshots UNION ALL SELECT original_file FROM snapshots")?,
        read("SELECT file FROM clips")?,
    ])
}

fn evict_rows(transaction: &Transaction<'_>, kind: Kind, victims: &[Victim], now: Stamp) -> rusqlite::Result<()> {
    let mut evict = transaction.prepare_cached(kind.evict())?;
    let mut unqueue = transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    let mut discard = transaction.prepare_cached("INSERT INTO garbage (folder, file) VALUES (?1, ?2)")?;
    for victim in victims {
        evict.execute((&victim.id, now.wall.as_unix_millis()))?;
        unqueue.execute([&victim.id])?;
        for file in &victim.files {
            discard.execute((kind.folder(), file))?;
        }
    }
    Ok(())
}

fn forget(transaction: &Transaction<'_>, alert_id: &str) -> rusqlite::Result<()> {
    for sql in [
        "INSERT INTO garbage (folder, file) SELECT 'clips', file FROM clips WHERE alert_id = ?1 \
            AND evicted_at IS NULL",
        "INSERT INTO garbage (folder, file) SELECT 'snapshots', file FROM snapshots WHERE alert_id = ?1 \
            AND evicted_at IS NULL",
        "INSERT INTO garbage (folder, file) SELECT 'snapshots', original_file FROM snapshots WHERE alert_id = ?1 \
            AND evicted_at IS NULL",
        "DELETE FROM clips WHERE alert_id = ?1",
        "DELETE FROM snapshots WHERE alert_id = ?1",
        "DELETE FROM records WHERE alert_id = ?1",
        "DELETE FROM alerts WHERE alert_id = ?1",
    ] {
        transaction.prepare_cached(sql)?.execute([alert_id])?;
    }
    Ok(())
}
