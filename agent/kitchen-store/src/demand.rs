//! What messages ask for on the link, by the hour and by who asks, whether or not they are ever sent.
//! A message enters once, in the transaction that queues it; rows leave for the forecast.

use kitchen_core::budget::{Demand, DemandRow, Forecast, Wanted};
use kitchen_core::time::Stamp;
use rusqlite::{Connection, Row, Transaction};

use crate::database::to_sql;
use crate::error::StoreError;
use crate::ledger::{Table, Unreadable, number};
use crate::outbox::NewWaiting;

/// No sum grows beyond: SQLite's would overflow, and a message must not fail for a figure that is damaged.
const MOST: i64 = i64::MAX / 2;

pub(crate) const DEMAND: Table<DemandRow> =
    Table { name: "demand", select: "SELECT rowid, hour, demand, bytes, count FROM demand", read };

/// Counts a message that was just put into the outbox.
pub(crate) fn note(transaction: &Transaction<'_>, stamp: Stamp, new: NewWaiting<'_>) -> rusqlite::Result<()> {
    const UPSERT: &str = "INSERT INTO demand (hour, demand, bytes, count) VALUES (?1, ?2, ?3, 1) \
        ON CONFLICT (hour, demand) DO UPDATE SET bytes = min(bytes, ?4) + excluded.bytes, count = min(count, ?4) + 1";
    let demand = Demand::of(new.kind, new.tier, new.is_requested);
    let bytes = to_sql(Wanted::message(new.kind, new.tier, new.bytes).bytes).min(MOST);
    transaction.prepare_cached(UPSERT)?.execute((Forecast::hour(stamp.wall), demand.as_str(), bytes, MOST)).map(drop)
}

/// From that hour on, in the order of the hours.
pub(crate) fn since(connection: &Connection, hour: i64) -> Result<Vec<DemandRow>, StoreError> {
    DEMAND.readable(connection, "WHERE hour >= ?1 ORDER BY hour, position", [hour])
}

fn read(row: &Row<'_>) -> Result<DemandRow, Unreadable> {
    let name: String = row.get(2)?;
    let demand = Demand::ALL.into_iter().find(|demand| demand.as_str() == name);
    let demand = demand.ok_or_else(|| format!("{name:?} is no demand"))?;
    Ok(DemandRow { hour: row.get(1)?, demand, bytes: number(row, 3)?, count: number(row, 4)? })
}
