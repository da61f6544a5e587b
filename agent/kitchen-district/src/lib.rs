//! The district's end of the contract: a reference receiver that stores what boxes send and acknowledges it, and the
//! authority that makes batches of boxes and gives them their certificates.
//! Never acknowledges what is not durable.

pub mod batch;
pub mod ca;
mod clips;
mod district;
mod event;
mod evidence;
mod files;
mod intake;
mod replies;
mod store;

pub use clips::ClipError;
pub use district::{District, DistrictError, DistrictOptions};
pub use event::DistrictEvent;
pub use evidence::evidence_key;
pub use intake::{Intake, IntakeError, Outcome, Stored};
pub use store::StoreError;
