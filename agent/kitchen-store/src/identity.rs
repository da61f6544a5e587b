//! Who speaks: the store's id, the boot, the sequence of message ids, sessions and saved times.
//! The sequence is reserved in blocks, so that an id costs no sync; what a power cut leaves of a block is skipped.

use kitchen_core::evidence::EvidenceKey;
use kitchen_core::time::{Mono, Wall};
use kitchen_core::wire::{MessageId, Session};
use rusqlite::{Connection, OptionalExtension as _};

use crate::database::{from_sql, to_sql};
use crate::error::{During as _, StoreError};

/// Ids reserved with one commit.
const BLOCK: u64 = 64;
const STORE_ID_LENGTH: usize = 6;

#[derive(Debug)]
pub(crate) struct Identity {
    pub store: String,
    pub device: String,
    /// With which the links of the evidence chain are signed.
    pub key: EvidenceKey,
    pub boot: u32,
    next: u64,
    reserved_until: u64,
    /// Uptime of all earlier boots together, as far as it was written down.
    uptime_before_ms: u64,
}

impl Identity {
    /// Makes the identity of a new database, or reads it and counts a boot that it has not seen.
    pub fn open(
        connection: &mut Connection,
        key: EvidenceKey,
        device: &str,
        boot_id: &str,
    ) -> Result<Self, StoreError> {
        const SUBJECT: &str = "the store's identity";
        let transaction = connection.transaction().during("read", SUBJECT)?;
        let saved: Option<(String, u32, String, i64, i64)> = transaction
            .query_row(
                "SELECT store, boot, boot_id, next_sequence, uptime_before_ms + uptime_last_ms FROM identity",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
            )
            .optional()
            .during("read", SUBJECT)?;
        let (store, boot, next) = match saved {
            None => {
                let store = random_store_id();
                transaction
                    .execute("INSERT INTO identity VALUES (1, ?1, 1, ?2, 1, 0, NULL, 0, 0, NULL)", (&store, boot_id))
                    .during("write", SUBJECT)?;
                (store, 1, 1)
            }
            Some((store, boot, saved_boot_id, next, _)) if saved_boot_id == boot_id => (store, boot, next),
            Some((store, boot, _, next, uptime_ms)) => {
                transaction
                    .execute(
                        "UPDATE identity SET boot = ?1, boot_id = ?2, uptime_before_ms = ?3, uptime_last_ms = 0, \
                            least_offset_ms = NULL",
                        (boot + 1, boot_id, uptime_ms),
                    )
                    .during("write", SUBJECT)?;
                (store, boot + 1, next)
            }
        };
        let uptime_before_ms: i64 = transaction
            .query_row("SELECT uptime_before_ms FROM identity", [], |row| row.get(0))
            .during("read", SUBJECT)?;
        transaction.commit().during("write", SUBJECT)?;
        Ok(Self {
            store,
            device: device.to_owned(),
            key,
            boot,
            next: from_sql(next),
            reserved_until: from_sql(next),
            uptime_before_ms: from_sql(uptime_before_ms),
        })
    }

    /// An id that was never given out before. Call it outside a transaction.
    pub fn next_id(&mut self, connection: &Connection) -> Result<MessageId, StoreError> {
        if self.next >= self.reserved_until {
            let until = self.next + BLOCK;
            connection
                .execute("UPDATE identity SET next_sequence = ?1", [to_sql(until)])
                .during("reserve", "message ids")?;
            self.reserved_until = until;
        }
        let sequence = self.next;
        self.next += 1;
        Ok(MessageId { store: self.store.clone(), boot: self.boot, sequence })
    }

    /// Uptime over all boots of this store. It never runs ahead: the end of a boot that nobody wrote down is missing.
    pub fn uptime_ms(&self, now: Mono) -> u64 {
        self.uptime_before_ms.saturating_add(now.as_millis())
    }
}

pub(crate) fn next_session(connection: &Connection) -> Result<Session, StoreError> {
    connection
        .query_row("UPDATE identity SET session = session + 1 RETURNING store, session", [], |row| {
            Ok(Session { store: row.get(0)?, n: from_sql(row.get(1)?) })
        })
        .during("count", "the session")
}

pub(crate) fn saved_time(connection: &Connection) -> Result<Option<Wall>, StoreError> {
    connection
        .query_row("SELECT saved_time FROM identity", [], |row| row.get::<_, Option<i64>>(0))
        // No row: cut off between the schema and the identity of a new database.
        .optional()
        .map(|saved| saved.flatten().map(Wall::from_unix_millis))
        .during("read", "the saved time")
}

/// `fastrand` is seeded by the operating system, so boxes flashed from one image differ.
pub(crate) fn random_store_id() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..STORE_ID_LENGTH).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])).collect()
}
