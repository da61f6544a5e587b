//! The authority: it knows which boxes there will be, gives each its certificate, renews and revokes them, and writes down
//! all that it did. Never sees a box's private key.

mod claims;
pub mod command;
mod expel;
mod folder;
mod office;
mod register;
mod report;
mod service;
mod signing;

pub use claims::{ClaimsError, import, new_claim};
pub use folder::{Authority, AuthorityError, Settings};
pub use office::{Office, Refused};
pub use register::{AuditEvent, Register, RegisterError};
pub use report::{EnrolmentReport, SiteState};
pub use service::{Service, ServiceError};
pub use signing::SigningError;
pub(crate) use signing::random;

use kitchen_core::time::Wall;

/// The authority's clock: a server's, which the network sets.
#[must_use]
pub fn now() -> Wall {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
