//! A damaged database is set aside under a name that says so, and a new one takes over with what could be read.
//! Enters: the folder of a store. Leaves: a sound `agent.db`, and in it a row of `losses` that says what is known.
//! Interrupted at any instant, the next start goes on: the damaged file stays in place until the new one is complete.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kitchen_core::alert::AlertBody;
use kitchen_core::outbox::OutboxKind;
use kitchen_core::wire::{Envelope, MessageId};
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, params, params_from_iter};
use serde_json::json;

use crate::error::{At as _, During as _, StoreError};
use crate::files::{Layout, sync_folder};
use crate::identity::random_store_id;
use crate::{alerts, database, eviction, identity, ledger, outbox, schema};

/// Being filled, and complete: from then on it will take over.
const FILLING: &str = "agent.db.rescue";
const COMPLETE: &str = "agent.db.rescued";
const DAMAGED: &str = "agent.db.damaged-";
/// Left by a check of a running agent: the file is damaged where a look at the start would not see it.
const MARKED: &str = "agent.db.is-damaged";
/// Damaged databases kept; older ones are deleted.
const KEPT: usize = 2;
/// Up to this size the start compares indexes with their tables too; a memory card reads it in a second or two.
const THOROUGH_BYTES: u64 = 64 << 20;
/// A database is never larger; a header that says so is damaged itself.
const LARGEST_BYTES: u64 = 4 << 30;
/// Where a page can't be read, reading goes on this many rows further at most.
const LONGEST_GAP: i64 = 1 << 20;
/// Tables with what must not be lost, those first that others refer to, and the version of the schema that brought
/// each. The recording's index is made anew from its files.
const TABLES: [(&str, u32); 10] = [
    ("alerts", 1),
    ("records", 1),
    ("snapshots", 1),
    ("clips", 1),
    ("outbox", 1),
    ("chain", 4),
    (LEDGER, ledger::SINCE),
    ("demand", ledger::SINCE),
    ("months", ledger::SINCE),
    ("counting", ledger::SINCE),
];
const LEDGER: &str = "ledger";

/// Ends an interrupted rescue, looks whether the database is sound, and if it is not, rescues what can be read.
pub(crate) fn ensure_sound(layout: &Layout) -> Result<(), StoreError> {
    remove_database(&layout.directory.join(FILLING))?;
    if exists(&layout.directory.join(COMPLETE))? {
        return take_over(layout);
    }
    if !exists(&layout.database)? {
        return Ok(());
    }
    let Some(damage) = damage(layout)? else { return Ok(()) };
    tracing::error!(database = %layout.database.display(), damage, "the database is damaged; rescuing what can be read");
    let filling = layout.directory.join(FILLING);
    fill(layout, &filling, &damage)?;
    let complete = layout.directory.join(COMPLETE);
    fs::rename(&filling, &complete).at("rename to", &complete)?;
    sync_folder(&layout.directory)?;
    take_over(layout)
}

/// Has the next start rescue the database although a quick look finds nothing.
pub(crate) fn mark_damaged(layout: &Layout, damage: &str) -> Result<(), StoreError> {
    let path = layout.directory.join(MARKED);
    fs::write(&path, damage).at("write", &path)?;
    sync_folder(&layout.directory)
}

/// What is wrong with the database; `None` when it is sound. An error when that can't be told, as on a failing disk.
fn damage(layout: &Layout) -> Result<Option<String>, StoreError> {
    let mark = layout.directory.join(MARKED);
    match fs::read_to_string(&mark) {
        Ok(damage) => return Ok(Some(damage)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(source).at("read", &mark),
    }
    let size = layout.database.metadata().at("look for", &layout.database)?.len();
    let look = || -> Result<Option<String>, StoreError> {
        let connection = Connection::open(&layout.database)
            .map_err(|source| StoreError::Open { path: layout.database.clone(), source })?;
        database::configure(&connection)?;
        let check = if size <= THOROUGH_BYTES { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
        let found: String = connection.query_row(check, [], |row| row.get(0)).during("check", "the pages")?;
        if found != "ok" {
            return Ok(Some(found));
        }
        if let Some(altered) = schema::altered(&connection)? {
            return Ok(Some(altered));
        }
        if schema::version(&connection)? == schema::known_version() {
            // What the agent reads at its start: one unreadable row there would keep it from starting.
            outbox::waiting(&connection, usize::MAX)?;
            alerts::open_alerts(&connection, layout)?;
            eviction::named_files(&connection)?;
            identity::saved_time(&connection)?;
        }
        Ok(None)
    };
    match look() {
        Err(error) if is_of_the_file(&error) => Ok(Some(with_source(&error))),
        outcome => outcome,
    }
}

/// Whether what is read is wrong, and not the disk, its rights or somebody else's lock. The statements are always the
/// same: one that SQLite does not take means a damaged head or schema.
fn is_of_the_file(error: &StoreError) -> bool {
    let source = match error {
        StoreError::Database { source, .. } | StoreError::Open { source, .. } => source,
        StoreError::Json { .. } | StoreError::UnknownAlert { .. } => return true,
        _ => return false,
    };
    !matches!(
        source.sqlite_error_code(),
        Some(
            ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
        )
    )
}

fn with_source(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The damaged files go aside, log first: it must never lie beside a database that it does not belong to.
fn take_over(layout: &Layout) -> Result<(), StoreError> {
    let (aside, _) = next_names(layout)?;
    if exists(&layout.database)? {
        let (log, shared) = (beside(&layout.database, "-wal"), beside(&layout.database, "-shm"));
        if exists(&log)? {
            fs::rename(&log, beside(&aside, "-wal")).at("set aside", &log)?;
        }
        remove(&shared)?;
        sync_folder(&layout.directory)?;
        fs::rename(&layout.database, &aside).at("set aside", &layout.database)?;
        sync_folder(&layout.directory)?;
    }
    let complete = layout.directory.join(COMPLETE);
    fs::rename(&complete, &layout.database).at("rename to", &layout.database)?;
    remove(&layout.directory.join(MARKED))?;
    sync_folder(&layout.directory)?;
    remove_old(layout)
}

/// The name for the next damaged database and its number.
fn next_names(layout: &Layout) -> Result<(PathBuf, u32), StoreError> {
    let number = numbers(layout)?.last().map_or(1, |last| last + 1);
    Ok((layout.directory.join(format!("{DAMAGED}{number}")), number))
}

/// The numbers of the damaged databases that are kept, in ascending order. One whose log only was set aside is not
/// there yet.
fn numbers(layout: &Layout) -> Result<Vec<u32>, StoreError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&layout.directory).at("list", &layout.directory)? {
        let name = entry.at("list", &layout.directory)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(DAMAGED));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn remove_old(layout: &Layout) -> Result<(), StoreError> {
    let numbers = numbers(layout)?;
    for number in &numbers[..numbers.len().saturating_sub(KEPT)] {
        remove_database(&layout.directory.join(format!("{DAMAGED}{number}")))?;
    }
    Ok(())
}

/// Makes the new database and copies into it, then says what was lost.
fn fill(layout: &Layout, path: &Path, damage: &str) -> Result<(), StoreError> {
    let mut new = Connection::open(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
    database::configure(&new)?;
    schema::migrate(&mut new)?;
    new.pragma_update(None, "foreign_keys", false).during("configure", "the connection")?;
    let (_, number) = next_names(layout)?;
    let transaction = new.transaction().during("begin", "the rescue")?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut incomplete = Vec::new();
    let mut former = (None, None);
    lengthen(&layout.database)?;
    match Connection::open_with_flags(&layout.database, flags) {
        Ok(old) => {
            // The damaged file stays as it was found.
            let _ = old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            let version = schema::version(&old).unwrap_or(0);
            for (table, since) in TABLES {
                // What it never had is no loss; its version alone may be what is damaged.
                let is_older = (1..since).contains(&version);
                if is_older && columns(&old, table).map_or(true, |columns| columns.is_empty()) {
                    continue;
                }
                if !copy_table(&old, &transaction, table)? {
                    incomplete.push(table);
                }
            }
            former = old
                .query_row("SELECT store, saved_time FROM identity", [], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap_or_default();
        }
        Err(error) => {
            tracing::error!(%error, "nothing can be read of the damaged database");
            incomplete.extend(TABLES.map(|(table, _)| table));
        }
    }
    let lost = mend(&transaction)?;
    for table in ledger::drop_unreadable(&transaction)? {
        if !incomplete.contains(&table) {
            incomplete.push(table);
        }
    }
    if incomplete.contains(&LEDGER) {
        ledger::mark_incomplete(&transaction)?;
    }
    let (store, saved_time): (Option<String>, Option<i64>) = former;
    // A store of its own, so that no id is given out twice; its first boot is counted when it is opened.
    transaction
        .execute("INSERT INTO identity VALUES (1, ?1, 0, '', 1, 0, ?2, 0, 0, NULL)", (random_store_id(), saved_time))
        .during("write", "the store's identity")?;
    let count = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).during("count", "rescued rows");
    let body = json!({
        "what": "database", "reason": damage, "set_aside": format!("{DAMAGED}{number}"), "store": store,
        "rescued": {
            "alerts": count("SELECT count(*) FROM alerts")?, "records": count("SELECT count(*) FROM records")?,
            "snapshots": count("SELECT count(*) FROM snapshots")?, "clips": count("SELECT count(*) FROM clips")?,
            "waiting": count("SELECT count(*) FROM outbox")?,
        },
        "lost": { "messages": lost, "incomplete": incomplete },
    });
    transaction.execute("INSERT INTO losses (body) VALUES (?1)", [body.to_string()]).during("note", "the loss")?;
    transaction.commit().during("commit", "the rescue")?;
    new.close().map_err(|(_, source)| source).during("close", "the rescued database")
}

/// SQLite reads nothing of a file that is shorter than it says: zeros take the place of what is missing.
fn lengthen(path: &Path) -> Result<(), StoreError> {
    let mut head = [0; 32];
    let file = File::options().read(true).write(true).open(path).at("open", path)?;
    let length = file.metadata().at("measure", path)?.len();
    if length < head.len() as u64 {
        return Ok(());
    }
    file.read_exact_at(&mut head, 0).at("read", path)?;
    let page = u64::from(u16::from_be_bytes([head[16], head[17]]));
    let pages = u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]));
    let is_plausible = page.is_power_of_two() && page >= 512 && page * pages <= LARGEST_BYTES;
    if is_plausible && length < page * pages {
        file.set_len(page * pages).at("lengthen", path)?;
    }
    Ok(())
}

/// Copies what can be read of a table in the order of its rows; whether that was all.
fn copy_table(old: &Connection, new: &Connection, table: &str) -> Result<bool, StoreError> {
    let known = columns(new, table).during("look up", table)?;
    let Ok(there) = columns(old, table) else { return Ok(false) };
    let shared: Vec<&str> = known.iter().filter(|name| there.contains(name)).map(String::as_str).collect();
    if shared.is_empty() {
        return Ok(false);
    }
    let names = shared.join(", ");
    // The new store counts its boots anew; those of the former must not look like its own, nor like each other.
    let values = if table == LEDGER { names.replacen("boot", "-rowid", 1) } else { names.clone() };
    let select = format!("SELECT rowid, {values} FROM {table} WHERE rowid > ?1 ORDER BY rowid");
    let marks = vec!["?"; shared.len()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})");
    let mut insert = new.prepare(&insert).during("copy", table)?;
    let (mut last, mut gap, mut is_whole) = (0, 0, true);
    loop {
        let outcome = read_from(old, &select, shared.len(), last, |rowid, values| {
            last = rowid;
            gap = 0;
            // A row that breaks a rule of the table is not what was once written.
            match insert.execute(params_from_iter(values)) {
                Ok(0) => is_whole = false,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(table, rowid, %error, "a row of the damaged database can't be kept");
                    is_whole = false;
                }
            }
        });
        match outcome {
            Ok(()) => return Ok(is_whole),
            Err(error) => {
                tracing::debug!(table, last, %error, "a part of the damaged database can't be read");
                is_whole = false;
                gap = if gap == 0 { 1 } else { gap * 2 };
                if gap > LONGEST_GAP {
                    return Ok(false);
                }
                last += gap;
            }
        }
    }
}

fn read_from(
    old: &Connection,
    select: &str,
    count: usize,
    after: i64,
    mut take: impl FnMut(i64, Vec<Value>),
) -> rusqlite::Result<()> {
    let mut query = old.prepare_cached(select)?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        let values: Vec<Value> = (1..=count).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?;
        take(row.get(0)?, values);
    }
    Ok(())
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT name FROM pragma_table_info(?1)")?.query_map([table], |row| row.get(0))?.collect()
}

/// Makes the copied rows fit each other again; how many messages are known to be lost.
fn mend(new: &Connection) -> Result<usize, StoreError> {
    let mut lost = drop_unreadable_records(new)?;
    rebuild_alerts(new)?;
    let run = |sql: &str| new.execute(sql, []).during("mend", "rescued rows");
    run("UPDATE records SET alert_id = NULL WHERE alert_id NOT IN (SELECT alert_id FROM alerts)")?;
    run("DELETE FROM alerts WHERE alert_id NOT IN (SELECT alert_id FROM records WHERE alert_id IS NOT NULL)")?;
    for id in foreign_ids(new).during("read", "rescued alerts")? {
        new.execute("DELETE FROM alerts WHERE alert_id = ?1", [id]).during("remove", "a damaged alert")?;
    }
    run("UPDATE clips SET alert_id = NULL WHERE alert_id NOT IN (SELECT alert_id FROM alerts)")?;
    lost += run("DELETE FROM snapshots WHERE alert_id NOT IN (SELECT alert_id FROM alerts)")?;
    lost +=
        run("DELETE FROM outbox WHERE id NOT IN (SELECT id FROM records) AND id NOT IN (SELECT id FROM snapshots) \
        AND id NOT IN (SELECT clip_id FROM clips)")?;
    // A place in the outbox that makes no sense is made anew below.
    run("DELETE FROM outbox WHERE kind NOT IN ('alert', 'record', 'command', 'snapshot', 'clip') \
        OR priority NOT BETWEEN 0 AND 9 OR attempts NOT BETWEEN 0 AND 1000000000 OR bytes < 0")?;
    // Ages by uptime began in another store.
    run("UPDATE outbox SET created_uptime_ms = 0")?;
    queue_again(new)?;
    Ok(lost)
}

/// A flipped bit inside of a row is no damage to SQLite.
fn drop_unreadable_records(new: &Connection) -> Result<usize, StoreError> {
    let mut bad = Vec::new();
    let mut find = || -> rusqlite::Result<()> {
        let mut query = new.prepare("SELECT position, id, envelope FROM records")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (id, bytes): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
            let envelope = serde_json::from_slice::<Envelope>(&bytes);
            if !envelope.is_ok_and(|envelope| envelope.id.to_string() == id && has_its_body(envelope)) {
                bad.push(row.get::<_, i64>(0)?);
            }
        }
        Ok(())
    };
    find().during("read", "rescued records")?;
    for position in &bad {
        new.execute("DELETE FROM records WHERE position = ?1", [position]).during("remove", "a damaged record")?;
    }
    Ok(bad.len())
}

fn foreign_ids(new: &Connection) -> rusqlite::Result<Vec<String>> {
    let ids =
        new.prepare("SELECT alert_id FROM alerts")?.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>();
    Ok(ids?.into_iter().filter(|id: &String| id.parse::<MessageId>().is_err()).collect())
}

fn has_its_body(envelope: Envelope) -> bool {
    !envelope.kind.starts_with("alert.") || serde_json::from_value::<AlertBody>(envelope.body).is_ok()
}

/// An alert whose row is gone is known from its records.
fn rebuild_alerts(new: &Connection) -> Result<(), StoreError> {
    const ORPHANS: &str = "SELECT alert_id, envelope FROM records WHERE alert_id IS NOT NULL \
        AND alert_id NOT IN (SELECT alert_id FROM alerts) ORDER BY position";
    let read = || -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
        new.prepare(ORPHANS)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    for (alert_id, bytes) in read().during("read", "rescued records")? {
        let body = serde_json::from_slice::<Envelope>(&bytes)
            .and_then(|envelope| serde_json::from_value::<AlertBody>(envelope.body));
        let Ok(body) = body else { continue };
        let close_reason = body.reason.and_then(|reason| serde_json::to_value(reason).ok());
        let closed_at = close_reason.as_ref().map(|_| body.opened_at.as_unix_millis());
        new.execute(
            "INSERT INTO alerts (alert_id, rule, tier, camera, opened_at, closed_at, close_reason) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (alert_id) DO UPDATE SET \
                closed_at = coalesce(closed_at, excluded.closed_at), \
                close_reason = coalesce(close_reason, excluded.close_reason)",
            params![
                alert_id,
                body.rule.as_str(),
                body.tier,
                body.camera,
                body.opened_at.as_unix_millis(),
                closed_at,
                close_reason.as_ref().and_then(serde_json::Value::as_str),
            ],
        )
        .during("rebuild", &alert_id)?;
    }
    Ok(())
}

/// What has no receipt waits again, also where its place in the outbox is gone: sent twice does no harm.
fn queue_again(new: &Connection) -> Result<(), StoreError> {
    const RECORDS: &str = "SELECT r.id, r.topic_leaf, length(r.envelope), coalesce(a.tier, 0), \
        coalesce(a.opened_at, 0) FROM records r LEFT JOIN alerts a USING (alert_id) \
        WHERE r.receipted_at IS NULL AND r.id NOT IN (SELECT id FROM outbox) ORDER BY r.position";
    const SNAPSHOTS: &str = "SELECT s.id, 'snapshot/', s.bytes, 0, a.opened_at FROM snapshots s JOIN alerts a \
        USING (alert_id) WHERE s.receipted_at IS NULL AND s.evicted_at IS NULL \
        AND s.id NOT IN (SELECT id FROM outbox) ORDER BY s.rowid";
    const CLIPS: &str = "SELECT c.clip_id, 'clip/', c.bytes, coalesce(a.tier, 0), coalesce(a.opened_at, 0) \
        FROM clips c LEFT JOIN alerts a USING (alert_id) WHERE c.stored_at IS NULL AND c.evicted_at IS NULL \
        AND c.clip_id NOT IN (SELECT id FROM outbox) ORDER BY c.rowid";
    for sql in [RECORDS, SNAPSHOTS, CLIPS] {
        type Row = (String, String, i64, u8, i64);
        let read = || -> rusqlite::Result<Vec<Row>> {
            new.prepare(sql)?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
                .collect()
        };
        for (id, leaf, bytes, tier, created) in read().during("read", "what has no receipt")? {
            let kind = match leaf.split('/').next() {
                Some("alert") => OutboxKind::Alert,
                Some("snapshot") => OutboxKind::Snapshot,
                Some("clip") => OutboxKind::Clip,
                Some("command") => OutboxKind::Command,
                _ => OutboxKind::Record,
            };
            new.execute(
                "INSERT INTO outbox (id, kind, priority, bytes, created_at, created_trusted, created_uptime_ms) \
                    VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)",
                params![id, kind.as_str(), kind.priority(tier), bytes, created],
            )
            .during("queue", &id)?;
        }
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().at("look for", path)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

fn remove_database(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm", ""] {
        remove(&beside(path, suffix))?;
    }
    Ok(())
}
