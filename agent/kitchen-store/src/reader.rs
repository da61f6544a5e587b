//! Reads the store while the agent runs or is down: opens read-only, takes no lock, makes no database.

use std::path::Path;

use kitchen_core::budget::{Bucket, DemandRow, Period, Usage};
use kitchen_core::outbox::Waiting;
use kitchen_core::recording::Segment;
use kitchen_core::time::Wall;
use kitchen_core::wire::{MessageId, OutboxHealth};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::alert_evidence::{self, AlertEvidence};
use crate::alerts::{self, AlertRow};
use crate::database::BUSY_TIMEOUT;
use crate::error::{During as _, StoreError};
use crate::files::Layout;
use crate::outbox_list::{self, OutboxContent, OutboxRow};
use crate::recording::{self, HeldRecording};
use crate::{demand, identity, ledger, outbox, schema};

/// The oldest schema that every call can go on with: tables that came later are read as empty.
const READABLE_SINCE: u32 = 5;

/// A store opened for reading only.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    layout: Layout,
}

impl Reader {
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(directory);
        match layout.database.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(StoreError::Missing { path: layout.database }),
            Err(source) => return Err(StoreError::File { operation: "look for", path: layout.database, source }),
        }
        let connection = connect(&layout)?;
        connection.busy_timeout(BUSY_TIMEOUT).during("configure", "the connection")?;
        let (found, known) = (schema::version(&connection)?, schema::known_version());
        match found {
            _ if found > known => {
                schema::require_compatible(&connection, found)?;
                Ok(Self { connection, layout })
            }
            _ if found < READABLE_SINCE => Err(StoreError::SchemaOlder { found, known }),
            _ => Ok(Self { connection, layout }),
        }
    }

    /// The newest `limit` alerts, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn alerts(&self, limit: usize) -> Result<Vec<AlertRow>, StoreError> {
        alerts::alerts(&self.connection, &self.layout, limit)
    }

    /// How many alerts were opened at `since` or later.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn alerts_since(&self, since: Wall) -> Result<u64, StoreError> {
        alerts::alerts_since(&self.connection, since)
    }

    /// The first `limit` messages that wait, in the order in which they are sent.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn outbox_waiting(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        outbox::waiting(&self.connection, limit)
    }

    /// The alerts whose ids are or begin with `prefix`, at most two: one that is meant exactly stands first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn alerts_beginning(&self, prefix: &str) -> Result<Vec<AlertRow>, StoreError> {
        alerts::alerts_beginning(&self.connection, &self.layout, prefix)
    }

    /// What proves an alert.
    ///
    /// # Errors
    /// When the database can't be read, or the box's key, which only the agent's user and root may.
    pub fn alert_evidence(&self, alert_id: &MessageId) -> Result<AlertEvidence, StoreError> {
        alert_evidence::read(&self.connection, &self.layout, alert_id)
    }

    /// The first `limit` messages of the outbox, those set aside last.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn outbox(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        outbox_list::list(&self.connection, limit)
    }

    /// The messages of the outbox whose ids are or begin with `prefix`, at most two: one that is meant exactly first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn outbox_beginning(&self, prefix: &str) -> Result<Vec<OutboxRow>, StoreError> {
        outbox_list::beginning(&self.connection, prefix)
    }

    /// What a message of the outbox says.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn outbox_content(&self, message: &OutboxRow) -> Result<OutboxContent, StoreError> {
        outbox_list::content(&self.connection, &self.layout, message)
    }

    /// How much waits, and since when.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn outbox_health(&self, now: Wall) -> Result<OutboxHealth, StoreError> {
        outbox::health(&self.connection, now)
    }

    /// The first damage that SQLite finds when it goes through the whole file.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn damage(&self) -> Result<Option<String>, StoreError> {
        let check = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let found = self.connection.query_row("PRAGMA quick_check(1)", [], check).during("check", "the pages")?;
        Ok((found != "ok").then_some(found))
    }

    /// The same, and whether every index agrees with its table: minutes on a large database.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn damage_in_full(&self) -> Result<Option<String>, StoreError> {
        let check = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let found =
            self.connection.query_row("PRAGMA integrity_check(1)", [], check).during("check", "the database")?;
        Ok((found != "ok").then_some(found))
    }

    /// The segments that the recording's index names, in order.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn recording(&self) -> Result<Vec<Segment>, StoreError> {
        recording::all(&self.connection)
    }

    /// What the recording holds of each camera.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn recording_held(&self) -> Result<Vec<HeldRecording>, StoreError> {
        recording::held(&self.connection)
    }

    /// The account's hours labelled `since` or later, in the order in which they were first saved.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn ledger(&self, since: Wall) -> Result<Vec<Bucket>, StoreError> {
        ledger::buckets(&self.connection, since)
    }

    /// What the agent saved beside the ledger.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn counting(&self) -> Result<Option<Value>, StoreError> {
        ledger::counting(&self.connection)
    }

    /// What messages have asked for since that hour after 1970, in the order of the hours.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn demand(&self, since_hour: i64) -> Result<Vec<DemandRow>, StoreError> {
        demand::since(&self.connection, since_hour)
    }

    /// The months that the district was told of, with the sums it knows, in their order.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn told_months(&self) -> Result<Vec<(Period, Usage)>, StoreError> {
        ledger::told_months(&self.connection)
    }

    /// The time below which the clock shall not start again.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn saved_time(&self) -> Result<Option<Wall>, StoreError> {
        identity::saved_time(&self.connection)
    }
}

/// Reading a database in WAL mode makes its shared-memory file. Who may not write to the folder
/// can still read a database that was closed cleanly, since then nothing lies in the log.
fn connect(layout: &Layout) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(&layout.database, flags)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    let failed = match open() {
        Ok(connection) => return Ok(connection),
        Err(source) => StoreError::Open { path: layout.database.clone(), source },
    };
    let log = layout.directory.join("agent.db-wal");
    if log.metadata().is_ok_and(|log| log.len() > 0) {
        return Err(failed);
    }
    let path = layout.database.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Connection::open_with_flags(format!("file:{path}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)
        .map_err(|_| failed)
}
