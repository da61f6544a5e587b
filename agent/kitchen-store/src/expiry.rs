//! Gives up what has waited longer than its class may, and says so in a record of the same transaction.
//! Ages are wall time between trusted labels, else uptime; with an untrusted clock nothing expires.

use std::time::Duration;

use kitchen_core::outbox::OutboxKind;
use kitchen_core::time::{Stamp, millis};
use rusqlite::Connection;
use serde_json::json;

use crate::database::{Database, is_trusted, note_uptime, to_sql};
use crate::error::{During as _, StoreError};
use crate::outbox::insert_own_record;

/// Ids in one record, so that it stays below 2 KB.
const IDS_IN_A_RECORD: usize = 100;

impl Database {
    pub fn expire(&mut self, now: Stamp) -> Result<usize, StoreError> {
        if !is_trusted(now.quality) {
            self.cheaply("note", "the uptime", |transaction| note_uptime(transaction, now))?;
            return Ok(0);
        }
        let mut expired = 0;
        for kind in OutboxKind::ALL {
            expired += self.expire_kind(kind, now)?;
        }
        if expired == 0 {
            self.cheaply("note", "the uptime", |transaction| note_uptime(transaction, now))?;
        }
        Ok(expired)
    }

    fn expire_kind(&mut self, kind: OutboxKind, now: Stamp) -> Result<usize, StoreError> {
        let Some(days) = kind.expiry_days() else { return Ok(0) };
        let lifetime = Duration::from_secs(u64::from(days) * 86_400);
        let wall_limit = now.wall.before(lifetime).as_unix_millis();
        // Uptimes are never negative: a box that has not run for so long expires nothing by uptime.
        let uptime_limit_ms = self.identity.uptime_ms(now.mono).checked_sub(millis(lifetime)).map_or(-1, to_sql);
        let ids = overdue(&self.connection, kind, wall_limit, uptime_limit_ms)?;
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

fn overdue(
    connection: &Connection,
    kind: OutboxKind,
    wall_limit: i64,
    uptime_limit_ms: i64,
) -> Result<Vec<String>, StoreError> {
    const QUERY: &str = "SELECT id FROM outbox WHERE kind = ?1 AND CASE created_trusted \
        WHEN 1 THEN created_at <= ?2 ELSE created_uptime_ms <= ?3 END ORDER BY position";
    let read = |connection: &Connection| {
        connection
            .prepare_cached(QUERY)?
            .query_map((kind.as_str(), wall_limit, uptime_limit_ms), |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()
    };
    read(connection).during("list overdue", kind)
}
