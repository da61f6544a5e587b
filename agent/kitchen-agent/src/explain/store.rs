//! Why the box's own database or files can't be used.

use kitchen_store::{StoreCause, StoreError};

use crate::fault::Fault;
use crate::notice::{Notice, notice};

#[must_use]
pub fn store(error: &StoreError) -> Notice {
    let fault = match error.cause() {
        StoreCause::DiskFull => Some(Fault::DiskFull),
        StoreCause::ReadOnly => Some(Fault::DiskReadOnly),
        StoreCause::NotPermitted => Some(Fault::StateUnwritable),
        StoreCause::Damaged => Some(Fault::DatabaseDamaged),
        StoreCause::NeverMade => Some(Fault::AgentDown),
        StoreCause::Other => None,
    };
    match error {
        StoreError::Missing { path } => notice!("store-missing", fault, path = path.display()),
        StoreError::InUse { path } => notice!("store-in-use", fault, path = path.display()),
        StoreError::SchemaNewer { found, known } => notice!("store-newer", fault, found = found, known = known),
        StoreError::SchemaOlder { found, known } => notice!("store-older", fault, found = found, known = known),
        StoreError::UnknownAlert { alert_id } => notice!("store-no-alert", fault, id = alert_id),
        StoreError::AlreadyClosed { alert_id } => notice!("store-closed-alert", fault, id = alert_id),
        StoreError::File { path, .. } => {
            notice!("store-file", fault.or(Some(Fault::StateUnwritable)), path = path.display())
        }
        StoreError::Damaged { path } => notice!("store-file-damaged", fault, path = path.display()),
        StoreError::Open { path, .. } => {
            notice!("store-open", fault.or(Some(Fault::StateUnwritable)), path = path.display())
        }
        StoreError::DamagedRecord { id } => notice!("store-record-damaged", fault, id = id),
        StoreError::JournalMode { .. } => notice!("store-file-system", Fault::StateUnwritable),
        StoreError::Thread { .. } | StoreError::Stopped { .. } => notice!("store-stopped", Fault::AgentRestarts),
        StoreError::Database { .. } | StoreError::Migrate { .. } | StoreError::Json { .. } => {
            notice!("store-database", fault.or(Some(Fault::DatabaseDamaged)))
        }
    }
}
