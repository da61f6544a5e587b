//! The account's hours by class, what the district was told of its months, and what the agent counts by.
//! Buckets and the agent's counting enter together, in one durable transaction; what was saved is read back.
//! Never sums up, and never takes a row for what it does not say: one that can't be read is left out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kitchen_core::budget::{Bucket, ByClass, Forecast, Period, Traffic, TrafficClass, Usage, Yuan};
use kitchen_core::time::{Mono, Stamp, Wall, millis};
use kitchen_core::wire::MessageId;
use rusqlite::{Connection, Params, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::database::{Database, to_sql};
use crate::demand::DEMAND;
use crate::error::{During as _, StoreError};
use crate::outbox::insert_own_record;
use crate::schema;

/// The version of the schema that brought the tables of this file and of `demand.rs`.
pub(crate) const SINCE: u32 = 6;

/// A year's account and the month in which it is compared.
const KEPT: Duration = Duration::from_secs(400 * 86_400);
/// Two weeks more than the forecast looks back.
const DEMAND_KEPT_HOURS: i64 = 10 * 168;
/// Rows pruned in one call: well below a second on a memory card.
const ROWS_AT_ONCE: u32 = 500;

/// One class of a bucket.
struct Entry {
    boot: i64,
    first: Mono,
    last: Mono,
    label: Wall,
    class: TrafficClass,
    traffic: Traffic,
}

/// What the district was told of a class.
#[derive(Serialize, Deserialize)]
struct Told {
    bytes: u64,
    free_bytes: u64,
    yuan: Yuan,
    worst_yuan: Yuan,
}

const LEDGER: Table<Entry> = Table {
    name: "ledger",
    select: "SELECT rowid, boot, first_uptime_ms, last_uptime_ms, label_at, class, bytes, free_bytes, yuan, worst_yuan \
        FROM ledger",
    read: read_entry,
};
const MONTHS: Table<(Period, Usage)> =
    Table { name: "months", select: "SELECT rowid, from_at, to_at, told FROM months", read: read_month };
const COUNTING: Table<Value> =
    Table { name: "counting", select: "SELECT rowid, body FROM counting", read: read_counting };

impl Database {
    pub fn save_ledger(&mut self, now: Stamp, buckets: &[Bucket], counting: &Value) -> Result<(), StoreError> {
        self.durably(now, "save", "the ledger", |transaction, _| {
            save_buckets(transaction, buckets).during("save", "the ledger")?;
            save_counting(transaction, counting)
        })
    }

    pub fn tell_month(
        &mut self,
        stamp: Stamp,
        period: Period,
        usage: &Usage,
        body: Value,
    ) -> Result<MessageId, StoreError> {
        const UPSERT: &str = "INSERT INTO months (from_at, to_at, told) VALUES (?1, ?2, ?3) \
            ON CONFLICT (from_at) DO UPDATE SET to_at = excluded.to_at, told = excluded.told";
        let id = self.next_id()?;
        let told = serde_json::to_string(&told(usage)).during("write", "a month")?;
        self.durably(stamp, "tell", "a month", |transaction, identity| {
            insert_own_record(transaction, identity, stamp, &id, "budget.month", body)?;
            let (from, to) = (period.from.as_unix_millis(), period.to.as_unix_millis());
            transaction.execute(UPSERT, (from, to, told)).map(drop).during("tell", "a month")
        })?;
        Ok(id)
    }

    /// Forgets some of what is too old to be asked for. A time ahead of the clock makes nothing older, and a clock that
    /// is not trusted neither.
    pub fn prune_ledger(&mut self, now: Stamp) -> Result<(), StoreError> {
        const ENTRIES: &str = "DELETE FROM ledger WHERE position IN (SELECT position FROM ledger \
            WHERE label_at < min((SELECT max(label_at) FROM ledger), ?1) - ?2 ORDER BY label_at LIMIT ?3)";
        const HOURS: &str = "DELETE FROM demand WHERE position IN (SELECT position FROM demand \
            WHERE hour < min((SELECT max(hour) FROM demand), ?1) - ?2 ORDER BY hour LIMIT ?3)";
        if !now.quality.is_trusted() {
            return Ok(());
        }
        self.cheaply("prune", "the ledger", |transaction| {
            let kept_ms = to_sql(millis(KEPT));
            transaction.prepare_cached(ENTRIES)?.execute((now.wall.as_unix_millis(), kept_ms, ROWS_AT_ONCE))?;
            let hour = Forecast::hour(now.wall);
            transaction.prepare_cached(HOURS)?.execute((hour, DEMAND_KEPT_HOURS, ROWS_AT_ONCE)).map(drop)
        })
    }
}

fn save_buckets(transaction: &Transaction<'_>, buckets: &[Bucket]) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO ledger (boot, first_uptime_ms, class, last_uptime_ms, label_at, bytes, free_bytes, yuan, \
            worst_yuan) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
            ON CONFLICT (boot, first_uptime_ms, class) DO UPDATE SET last_uptime_ms = excluded.last_uptime_ms, \
            label_at = excluded.label_at, bytes = excluded.bytes, free_bytes = excluded.free_bytes, \
            yuan = excluded.yuan, worst_yuan = excluded.worst_yuan",
    )?;
    let mut delete =
        transaction.prepare_cached("DELETE FROM ledger WHERE boot = ?1 AND first_uptime_ms = ?2 AND class = ?3")?;
    for bucket in buckets {
        let first = to_sql(bucket.first.as_millis());
        for (class, traffic) in TrafficClass::ALL.into_iter().zip(bucket.classes) {
            if traffic.bytes == 0 {
                delete.execute((bucket.boot, first, class.as_str()))?;
                continue;
            }
            upsert.execute(params![
                bucket.boot,
                first,
                class.as_str(),
                to_sql(bucket.last.as_millis()),
                bucket.label.as_unix_millis(),
                to_sql(traffic.bytes),
                to_sql(traffic.free_bytes),
                traffic.yuan.to_string(),
                traffic.worst_yuan.to_string(),
            ])?;
        }
    }
    Ok(())
}

fn save_counting(connection: &Connection, counting: &Value) -> Result<(), StoreError> {
    const UPSERT: &str =
        "INSERT INTO counting (one, body) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET body = excluded.body";
    connection
        .prepare_cached(UPSERT)
        .and_then(|mut upsert| upsert.execute([counting.to_string()]))
        .map(drop)
        .during("save", "the counting")
}

/// Labelled `since` or later, in the order of their first rows.
pub(crate) fn buckets(connection: &Connection, since: Wall) -> Result<Vec<Bucket>, StoreError> {
    let entries = LEDGER.readable(connection, "WHERE label_at >= ?1 ORDER BY position", [since.as_unix_millis()])?;
    let mut places: HashMap<(i64, Mono), usize> = HashMap::new();
    let mut buckets: Vec<Bucket> = Vec::new();
    for Entry { boot, first, last, label, class, traffic } in entries {
        let place = *places.entry((boot, first)).or_insert(buckets.len());
        if place == buckets.len() {
            buckets.push(Bucket { boot, first, last, label, classes: ByClass::default() });
        }
        buckets[place].classes[class as usize] = traffic;
    }
    Ok(buckets)
}

pub(crate) fn counting(connection: &Connection) -> Result<Option<Value>, StoreError> {
    Ok(COUNTING.readable(connection, "", [])?.pop())
}

pub(crate) fn told_months(connection: &Connection) -> Result<Vec<(Period, Usage)>, StoreError> {
    MONTHS.readable(connection, "ORDER BY from_at", [])
}

/// Removes rescued rows that nobody can read; answers the tables that had some.
pub(crate) fn drop_unreadable(new: &Connection) -> Result<Vec<&'static str>, StoreError> {
    let dropped = [LEDGER.drop_unreadable(new)?, DEMAND.drop_unreadable(new)?, MONTHS.drop_unreadable(new)?];
    let tables = [LEDGER.name, DEMAND.name, MONTHS.name].into_iter().zip(dropped);
    Ok(tables.filter(|(_, dropped)| *dropped > 0).map(|(table, _)| table).collect())
}

/// Has the agent know that hours of the ledger are lost.
pub(crate) fn mark_incomplete(new: &Connection) -> Result<(), StoreError> {
    let mut body = match counting(new)? {
        Some(Value::Object(body)) => body,
        _ => Map::new(),
    };
    body.insert("ledger_incomplete".to_owned(), true.into());
    save_counting(new, &body.into())
}

fn read_entry(row: &Row<'_>) -> Result<Entry, Unreadable> {
    Ok(Entry {
        boot: row.get(1)?,
        first: Mono::from_millis(number(row, 2)?),
        last: Mono::from_millis(number(row, 3)?),
        label: Wall::from_unix_millis(row.get(4)?),
        class: row.get::<_, String>(5)?.parse()?,
        traffic: Traffic {
            bytes: number(row, 6)?,
            free_bytes: number(row, 7)?,
            yuan: row.get::<_, String>(8)?.parse()?,
            worst_yuan: row.get::<_, String>(9)?.parse()?,
        },
    })
}

fn read_month(row: &Row<'_>) -> Result<(Period, Usage), Unreadable> {
    let period = Period { from: Wall::from_unix_millis(row.get(1)?), to: Wall::from_unix_millis(row.get(2)?) };
    let told: BTreeMap<TrafficClass, Told> = serde_json::from_str(&row.get::<_, String>(3)?)?;
    let mut usage = Usage::default();
    for (class, Told { bytes, free_bytes, yuan, worst_yuan }) in told {
        usage.classes[class as usize] = Traffic { bytes, free_bytes, yuan, worst_yuan };
    }
    Ok((period, usage))
}

fn read_counting(row: &Row<'_>) -> Result<Value, Unreadable> {
    Ok(serde_json::from_str(&row.get::<_, String>(1)?)?)
}

fn told(usage: &Usage) -> BTreeMap<TrafficClass, Told> {
    let told = |class| {
        let Traffic { bytes, free_bytes, yuan, worst_yuan } = usage.of(class);
        (class, Told { bytes, free_bytes, yuan, worst_yuan })
    };
    TrafficClass::ALL.into_iter().map(told).collect()
}

/// Why a row is not what was written.
pub(crate) type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// A number that is never negative.
pub(crate) fn number(row: &Row<'_>, column: usize) -> Result<u64, Unreadable> {
    Ok(u64::try_from(row.get::<_, i64>(column)?)?)
}

/// A table whose rows are read one by one, so that a row that is altered within hides no other.
pub(crate) struct Table<T> {
    pub name: &'static str,
    /// Up to the table's name; the first column is the row's number.
    pub select: &'static str,
    pub read: fn(&Row<'_>) -> Result<T, Unreadable>,
}

impl<T> Table<T> {
    /// The rows that can be read; none where the schema is older than the table.
    pub fn readable(&self, connection: &Connection, rest: &str, values: impl Params) -> Result<Vec<T>, StoreError> {
        if schema::version(connection)? < SINCE {
            return Ok(Vec::new());
        }
        Ok(self.rows(connection, rest, values).during("read", self.name)?.0)
    }

    /// How many were removed.
    fn drop_unreadable(&self, connection: &Connection) -> Result<usize, StoreError> {
        let (_, unreadable) = self.rows(connection, "", []).during("read", self.name)?;
        for row in &unreadable {
            connection
                .execute(&format!("DELETE FROM {} WHERE rowid = ?1", self.name), [row])
                .during("remove a row of", self.name)?;
        }
        Ok(unreadable.len())
    }

    /// What can be read, and the numbers of the other rows.
    fn rows(&self, connection: &Connection, rest: &str, values: impl Params) -> rusqlite::Result<(Vec<T>, Vec<i64>)> {
        let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
        let mut query = connection.prepare_cached(&format!("{} {rest}", self.select))?;
        let mut rows = query.query(values)?;
        let mut first_error = None;
        while let Some(row) = rows.next()? {
            match (self.read)(row) {
                Ok(read) => readable.push(read),
                Err(error) => {
                    unreadable.push(row.get(0)?);
                    first_error.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_error {
            let count = unreadable.len();
            tracing::warn!(table = self.name, rows = count, %error, "rows that can't be read are left out");
        }
        Ok((readable, unreadable))
    }
}
