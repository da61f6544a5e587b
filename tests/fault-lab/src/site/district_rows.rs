//! What the district holds durably, read from its database and files as anybody could.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kitchen_core::outbox::Payload;
use kitchen_core::wire::sha256_hex;
use rusqlite::{Connection, OptionalExtension as _, Params};

const PATIENCE: Duration = Duration::from_secs(20);

/// The district's store beside the district.
#[derive(Debug)]
pub(super) struct DistrictRows(Connection);

impl DistrictRows {
    pub fn open(store: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(store.join("district.sqlite"))?;
        connection.busy_timeout(PATIENCE)?;
        Ok(Self(connection))
    }

    /// Whether the message lies there byte for byte, and nothing else under its id.
    pub fn holds(&self, id: &str, payload: &Payload) -> bool {
        match payload {
            Payload::Record { bytes, .. } => self.record(id).as_ref() == Some(bytes),
            Payload::Snapshot { bytes, .. } => self.snapshot(id).as_ref() == Some(bytes),
            Payload::Clip { init, .. } => self.clip(id).is_some_and(|bytes| sha256_hex(&bytes) == init.sha256),
        }
    }

    pub fn conflicts(&self) -> i64 {
        self.0.query_row("SELECT count(*) FROM conflicts", [], |row| row.get(0)).unwrap_or(-1)
    }

    fn record(&self, id: &str) -> Option<Vec<u8>> {
        self.one("SELECT envelope FROM records WHERE id = ?1", [id])
    }

    fn snapshot(&self, id: &str) -> Option<Vec<u8>> {
        self.one::<String>("SELECT path FROM snapshots WHERE id = ?1", [id]).and_then(read)
    }

    fn clip(&self, id: &str) -> Option<Vec<u8>> {
        self.one::<String>("SELECT path FROM clips WHERE clip_id = ?1 AND state = 'stored'", [id]).and_then(read)
    }

    fn one<T: rusqlite::types::FromSql>(&self, query: &str, parameters: impl Params) -> Option<T> {
        self.0.query_row(query, parameters, |row| row.get(0)).optional().expect("the district's database can be read")
    }
}

fn read(path: String) -> Option<Vec<u8>> {
    std::fs::read(PathBuf::from(path)).ok()
}
