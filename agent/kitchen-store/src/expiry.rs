//! Gives up what has waited longer than its class may, and says so in a record of the same transaction.
//! Ages are uptime within a boot; from an earlier one wall time between trusted labels if that is more, since no uptime
//! ran while the box was off. A clock that jumps makes nothing older; with an untrusted clock nothing expires.

use std::time::Duration;

use kitchen_core::outbox::OutboxKind;
use kitchen_core::time::{Mono, Stamp, Wall, millis};
use rusqlite::Connection;
use serde_json::json;

use crate::database::{Database, note_uptime, to_sql};
use crate::error::{During as _, StoreError};
use crate::outbox::insert_own_record;

/// Ids in one record, so that it stays below 2 KB.
const IDS_IN_A_RECORD: usize = 100;

impl Database {
    pub fn expire(&mut self, now: Stamp) -> Result<usize, StoreError> {
        self.cheaply("note", "the uptime", |transaction| note_uptime(transaction, now))?;
        if !now.quality.is_trusted() {
            return Ok(0);
        }
        let offset_ms: i64 = self
            .connection
            .query_row("SELECT least_offset_ms FROM identity", [], |row| row.get(0))
            .during("read", "the clock's offset")?;
        let wall = Wall::from_unix_millis(offset_ms.saturating_add(to_sql(now.mono.as_millis())));
        OutboxKind::ALL.into_iter().try_fold(0, |expired, kind| Ok(expired + self.expire_kind(kind, wall, now)?))
    }

    fn expire_kind(&mut self, kind: OutboxKind, wall: Wall, now: Stamp) -> Result<usize, StoreError> {
        let Some(days) = kind.expiry_days() else { return Ok(0) };
        let lifetime = Duration::from_secs(u64::from(days) * 86_400);
        let limits = Limits {
            wall: wall.before(lifetime).as_unix_millis(),
            // Uptimes are never negative: a box that has not run for so long expires nothing by uptime.
            uptime_ms: self.identity.uptime_ms(now.mono).checked_sub(millis(lifetime)).map_or(-1, to_sql),
            boot_began_ms: to_sql(self.identity.uptime_ms(Mono::ZERO)),
        };
        let ids = overdue(&self.connection, kind, &limits)?;
        self.expire_ids(kind, now, &ids)
    }

    fn expire_ids(&mut self, kind: OutboxKind, now: Stamp, ids: &[String]) -> Result<usize, StoreError> {
        for some in ids.chunks(IDS_IN_A_RECORD) {
            let record_id = self.next_id()?;
            self.durably(now, "expire", kind.as_str(), |transaction, identity| {
                let mut delete =
                    transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1").during("expire", kind)?;
                for id in some {
                    delete.execute([id]).during("expire", id)?;
                }
                let body = json!({ "kind": kind.as_str(), "count": some.len(), "ids": some });
                insert_own_record(transaction, identity, now, &record_id, "expired", body)
            })?;
        }
        Ok(ids.len())
    }
}

/// Who is older has expired.
struct Limits {
    wall: i64,
    uptime_ms: i64,
    boot_began_ms: i64,
}

fn overdue(connection: &Connection, kind: OutboxKind, limits: &Limits) -> Result<Vec<String>, StoreError> {
    const QUERY: &str = "SELECT id FROM outbox WHERE kind = ?1 AND (created_uptime_ms <= ?2 \
        OR created_trusted AND created_at <= ?3 AND created_uptime_ms <= ?4) ORDER BY position";
    let read = |connection: &Connection| {
        connection
            .prepare_cached(QUERY)?
            .query_map((kind.as_str(), limits.uptime_ms, limits.wall, limits.boot_began_ms), |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()
    };
    read(connection).during("list overdue", kind)
}
