//! What the uplink needs of the box: messages that wait, ids, and what the box says of itself.
//! The agent implements both over its store; calls block for milliseconds and are made off the runtime.

use std::sync::Arc;

use kitchen_core::outbox::{Payload, Waiting};
use kitchen_core::wire::{ClipReceipt, Envelope, HeartbeatBody, Receipt, Session, StateBody};
use serde_json::Value;

/// A failure of the store, as the store words it.
#[derive(Debug, thiserror::Error)]
#[error("outbox: {0}")]
pub struct OutboxError(pub Box<dyn std::error::Error + Send + Sync>);

impl OutboxError {
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// The messages without receipt, as they lie on disk.
pub trait Outbox: Send + Sync + 'static {
    /// The first `limit` messages by priority, then age, without those set aside.
    ///
    /// # Errors
    /// When the store can't be read.
    fn waiting(&self, limit: usize) -> Result<Vec<Waiting>, OutboxError>;

    /// What to publish for a message; `None` when it is no longer there.
    ///
    /// # Errors
    /// When the store or the file can't be read.
    fn load(&self, id: &str) -> Result<Option<Payload>, OutboxError>;

    /// They were handed to the link: one more attempt each.
    ///
    /// # Errors
    /// When the store can't be written.
    fn sent(&self, ids: &[String]) -> Result<(), OutboxError>;

    /// The district has stored these. Unknown and repeated ids are no error. Returns the ids that still wait: the
    /// receipt is for another message of that id, by a box with a copy of this one's card.
    ///
    /// # Errors
    /// When the store can't be written; the receipts then count as not received.
    fn receipted(&self, receipts: &[Receipt]) -> Result<Vec<String>, OutboxError>;

    /// The district has the whole clip, or does not want it. Unknown and repeated ids are no error. `false` when it
    /// still waits: the answer is about another clip of that id.
    ///
    /// # Errors
    /// When the store can't be written.
    fn clip_ended(&self, answer: &ClipReceipt) -> Result<bool, OutboxError>;

    /// The district held these ids already, with other bytes: another box uses them, or this one did in a time that its
    /// card has forgotten. Whether ids come from a new store now, so that no further one repeats.
    ///
    /// # Errors
    /// When the store can't be written.
    fn conflicted(&self, ids: &[String]) -> Result<bool, OutboxError>;

    /// The message failed alone; it is no longer listed by `waiting`, and the record `set_aside` tells the district.
    ///
    /// # Errors
    /// When the store can't be written.
    fn set_aside(&self, id: &str, failures: u32) -> Result<(), OutboxError>;

    /// A session number that was never used before.
    ///
    /// # Errors
    /// When the store can't be written.
    fn next_session(&self) -> Result<Session, OutboxError>;

    /// An envelope with a fresh id, for what is sent without a place in the outbox.
    ///
    /// # Errors
    /// When the store can't be written.
    fn envelope(&self, kind: &str, body: Value) -> Result<Envelope, OutboxError>;
}

/// What the box says of itself.
pub trait Presence: Send + Sync + 'static {
    /// The body of `up/state`, online.
    fn state(&self, session: Session) -> StateBody;
    fn heartbeat(&self) -> HeartbeatBody;
    /// Why the box goes offline on purpose.
    fn farewell(&self) -> String {
        "stopped".to_owned()
    }
    /// The uplink has gone round its loop.
    fn progress(&self) {}
}

/// Runs a blocking call of the store off the runtime.
pub(crate) async fn blocking<S, T>(
    store: &Arc<S>,
    call: impl FnOnce(&S) -> Result<T, OutboxError> + Send + 'static,
) -> Result<T, OutboxError>
where
    S: ?Sized + Send + Sync + 'static,
    T: Send + 'static,
{
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || call(&store)).await.unwrap_or_else(|error| Err(OutboxError::new(error)))
}
