//! What the box remembers: alerts, their records, pictures and clips, and what waits for the district's receipt.
//! SQLite in `agent.db`, files in `snapshots/` and `clips/`; a file is on the disk before the row that names it.
//! The rolling recording lies beside it, in `recording/`.
//! One thread owns the connection. Never reads a clock: stamps come in as arguments.

mod adopt;
mod alert_evidence;
mod alerts;
mod chain;
mod database;
mod demand;
mod error;
mod eviction;
mod expiry;
mod files;
mod identity;
mod ledger;
mod outbox;
mod outbox_list;
mod reader;
mod recording;
mod rescue;
mod schema;
mod store;

pub use alert_evidence::{AlertEvidence, EvidenceFile};
pub use alerts::{AlertRow, NewClip, NewSnapshot, OpenedAlert, RecordRow};
pub use chain::evidence_key;
pub use error::{StoreCause, StoreError};
pub use eviction::{Quotas, Tidied};
pub use outbox::Receipted;
pub use outbox_list::{OutboxContent, OutboxRow};
pub use reader::Reader;
pub use recording::{HeldRecording, Reconciled, RecordingFolder, reconcile};
pub use store::{OpenOptions, Store};
