//! What can go wrong with the store: a variant is the operation that failed and its subject.
//! Sources are kept separate; messages tell what to check next.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not {operation} {}; check free space, permissions and the disk", .path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },

    #[error("could not {operation} {subject} in the database; check free space and the disk")]
    Database { operation: &'static str, subject: String, source: rusqlite::Error },

    #[error("no database at {}; check device.state_dir, and that the agent has run once", .path.display())]
    Missing { path: PathBuf },

    #[error("could not open the database {}; check permissions and the disk", .path.display())]
    Open { path: PathBuf, source: rusqlite::Error },

    #[error("the store {} is in use by another agent; check for a second one", .path.display())]
    InUse { path: PathBuf },

    #[error("the database has schema version {found}, this agent knows {known}; install the newer agent")]
    SchemaNewer { found: u32, known: u32 },

    #[error("the database has schema version {found}, this program reads {known}; start the agent once to upgrade it")]
    SchemaOlder { found: u32, known: u32 },

    #[error("could not upgrade the database to schema version {version}; check free space and the disk")]
    Migrate { version: u32, source: rusqlite::Error },

    #[error("the database does not take the journal mode WAL but {found:?}; check the file system of device.state_dir")]
    JournalMode { found: String },

    #[error("could not read or write the JSON of {subject}")]
    Json { subject: String, source: serde_json::Error },

    #[error("there is no alert {alert_id} in this store")]
    UnknownAlert { alert_id: String },

    #[error("the alert {alert_id} is closed already")]
    AlreadyClosed { alert_id: String },

    #[error("the file {} has not the hash of its row any more; check the disk", .path.display())]
    Damaged { path: PathBuf },

    #[error("the record {id} is not what was once stored; check the disk")]
    DamagedRecord { id: String },

    #[error("could not start the store's thread; check memory and limits")]
    Thread { source: io::Error },

    #[error("could not {operation}: the store's thread has ended; check the log for its panic")]
    Stopped { operation: &'static str },
}

/// What lies behind a failure of the store, as a technician would name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCause {
    DiskFull,
    ReadOnly,
    NotPermitted,
    Damaged,
    NeverMade,
    Other,
}

impl StoreError {
    #[must_use]
    pub fn cause(&self) -> StoreCause {
        match self {
            Self::File { source, .. } | Self::Thread { source } => cause_of_io(source),
            Self::Database { source, .. } | Self::Open { source, .. } | Self::Migrate { source, .. } => {
                cause_of_database(source)
            }
            Self::Missing { .. } => StoreCause::NeverMade,
            Self::Damaged { .. } | Self::DamagedRecord { .. } | Self::Json { .. } => StoreCause::Damaged,
            _ => StoreCause::Other,
        }
    }
}

fn cause_of_io(error: &io::Error) -> StoreCause {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreCause::DiskFull,
        io::ErrorKind::ReadOnlyFilesystem => StoreCause::ReadOnly,
        io::ErrorKind::PermissionDenied => StoreCause::NotPermitted,
        _ => StoreCause::Other,
    }
}

fn cause_of_database(error: &rusqlite::Error) -> StoreCause {
    use rusqlite::{Error, ErrorCode};
    // A value that is not what was written.
    if matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
    ) {
        return StoreCause::Damaged;
    }
    // No room for the memory that it shares between readers, which is a file: the first thing that a start needs.
    if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE) {
        return StoreCause::DiskFull;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreCause::DiskFull,
        Some(ErrorCode::ReadOnly) => StoreCause::ReadOnly,
        Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::AuthorizationForStatementDenied) => {
            StoreCause::NotPermitted
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreCause::Damaged,
        _ => StoreCause::Other,
    }
}

/// Names the operation and the subject of a failure.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str, subject: impl Display) -> Result<T, StoreError>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, operation: &'static str, subject: impl Display) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { operation, subject: subject.to_string(), source })
    }
}

impl<T> During<T> for serde_json::Result<T> {
    fn during(self, _: &'static str, subject: impl Display) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Json { subject: subject.to_string(), source })
    }
}

/// Names the operation and the path of a failure.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::File { operation, path: path.to_owned(), source })
    }
}
