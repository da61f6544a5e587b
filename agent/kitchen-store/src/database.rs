//! The connection and what stands around it: settings, lock, identity, folders.
//! Lives on the store's thread; everything durable goes through `synchronous=FULL`.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use kitchen_core::time::{Stamp, Wall};
use kitchen_core::wire::MessageId;
use rusqlite::{Connection, Transaction};

use crate::error::{During as _, StoreCause, StoreError};
use crate::files::{self, Layout};
use crate::identity::Identity;
use crate::{adopt, chain, eviction, rescue, schema};

pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The write-ahead log is cut back to this after a burst.
const LOG_BYTES: i64 = 4 << 20;

pub(crate) struct Database {
    pub connection: Connection,
    pub identity: Identity,
    pub layout: Layout,
    _lock: File,
}

impl Database {
    /// On a full disk the reserve gives the start what it needs: an upgrade writes.
    pub fn open(directory: &Path, device: &str, boot_id: &str) -> Result<Self, StoreError> {
        match Self::open_once(directory, device, boot_id) {
            Err(error) if error.cause() == StoreCause::DiskFull => {
                fs::remove_file(Layout::new(directory).reserve).map_err(|_| error)?;
                Self::open_once(directory, device, boot_id)
            }
            opened => opened,
        }
    }

    fn open_once(directory: &Path, device: &str, boot_id: &str) -> Result<Self, StoreError> {
        let layout = Layout::new(directory);
        layout.create()?;
        let lock = layout.lock()?;
        rescue::ensure_sound(&layout)?;
        let mut connection = Connection::open(&layout.database)
            .map_err(|source| StoreError::Open { path: layout.database.clone(), source })?;
        configure(&connection)?;
        schema::migrate(&mut connection)?;
        files::sync_folder(&layout.directory)?;
        let key = chain::open_key(&layout, &connection)?;
        let identity = Identity::open(&mut connection, key, device, boot_id)?;
        adopt::adopt(&mut connection, &identity)?;
        let mut database = Self { connection, identity, layout, _lock: lock };
        database.remove_orphans()?;
        database.empty_garbage()?;
        let _ = database.ensure_reserve();
        Ok(database)
    }

    fn remove_orphans(&self) -> Result<(), StoreError> {
        let [snapshots, clips] = eviction::named_files(&self.connection)?;
        for (folder, named) in [(&self.layout.snapshots, snapshots), (&self.layout.clips, clips)] {
            let removed = files::remove_orphans(folder, &self.identity.store, &named)?;
            if removed > 0 {
                tracing::info!(folder = %folder.display(), removed, "files of interrupted writes removed");
            }
        }
        Ok(())
    }

    pub fn next_id(&mut self) -> Result<MessageId, StoreError> {
        self.identity.next_id(&self.connection)
    }

    /// One transaction that survives a power cut once this returns; it also notes the uptime.
    pub fn durably<T>(
        &mut self,
        now: Stamp,
        operation: &'static str,
        subject: &str,
        work: impl FnOnce(&Transaction<'_>, &Identity) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction = self.connection.transaction().during(operation, subject)?;
        note_uptime(&transaction, now).during(operation, subject)?;
        let value = work(&transaction, &self.identity)?;
        transaction.commit().during(operation, subject)?;
        Ok(value)
    }

    /// One transaction that a power cut may undo, without a sync of its own; a later durable one takes it along.
    pub fn cheaply<T>(
        &mut self,
        operation: &'static str,
        subject: &str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.connection.pragma_update(None, "synchronous", "NORMAL").during(operation, subject)?;
        let run = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let outcome: rusqlite::Result<T> = run(&mut self.connection);
        self.connection.pragma_update(None, "synchronous", "FULL").during(operation, subject)?;
        outcome.during(operation, subject)
    }

    pub fn save_time(&mut self, wall: Wall) -> Result<(), StoreError> {
        self.cheaply("save", "the time", |transaction| {
            transaction.execute("UPDATE identity SET saved_time = ?1", [wall.as_unix_millis()]).map(drop)
        })
    }
}

pub(crate) fn configure(connection: &Connection) -> Result<(), StoreError> {
    const SUBJECT: &str = "the connection";
    connection.busy_timeout(BUSY_TIMEOUT).during("configure", SUBJECT)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .during("configure", SUBJECT)?;
    if mode != "wal" {
        return Err(StoreError::JournalMode { found: mode });
    }
    connection.pragma_update(None, "synchronous", "FULL").during("configure", SUBJECT)?;
    connection.pragma_update(None, "foreign_keys", true).during("configure", SUBJECT)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(())).during("configure", SUBJECT)
}

/// Also how far a trusted clock was ahead of the uptime, the least of this boot: one that has jumped since is not
/// believed that more time has passed.
pub(crate) fn note_uptime(connection: &Connection, now: Stamp) -> rusqlite::Result<()> {
    const NOTE: &str = "UPDATE identity SET uptime_last_ms = max(uptime_last_ms, ?1), \
        least_offset_ms = min(coalesce(least_offset_ms, ?2), coalesce(?2, least_offset_ms))";
    let uptime_ms = to_sql(now.mono.as_millis());
    let offset_ms = now.quality.is_trusted().then(|| now.wall.as_unix_millis().saturating_sub(uptime_ms));
    connection.prepare_cached(NOTE)?.execute((uptime_ms, offset_ms)).map(drop)
}

/// SQLite's integers are signed; nothing counted here comes near the difference.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn wall(value: Option<i64>) -> Option<Wall> {
    value.map(Wall::from_unix_millis)
}
