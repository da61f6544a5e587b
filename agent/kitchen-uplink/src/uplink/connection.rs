//! One connection to the broker as the uplink knows it: what is under way on it, what is due, and how it ended.

use std::collections::HashMap;
use std::time::Duration;

use kitchen_core::time::{Mono, Wall};
use kitchen_core::wire::Session;

use crate::explain::LinkTrouble;
use crate::mqtt::{Link, Token};

/// What became of one connection.
pub(super) enum Ended {
    /// How long it lasted, and why it ended.
    Broken(Duration, LinkTrouble),
    /// On purpose, to save money: no trouble to wait for.
    Resting,
}

/// Why the loop over one connection ended.
pub(super) enum End {
    Broken(LinkTrouble),
    /// The money left is not for a connection, until then.
    Resting(Wall),
    /// Another keepalive or certificate is wanted, which only a new connection brings.
    Anew,
    /// What the box said of itself on this connection, and its will, no longer hold.
    Outdated,
    Cancelled,
}

/// A publication that the broker has not confirmed.
pub(super) struct UnderWay {
    pub part: Part,
    /// As a packet.
    pub bytes: u64,
}

/// What a publication belongs to.
pub(super) enum Part {
    Message(String),
    Chunk { clip_id: String, offset: u64 },
}

/// One connection while it lasts.
pub(super) struct Connection {
    pub link: Link,
    pub since: Mono,
    pub session: Session,
    pub under_way: HashMap<Token, UnderWay>,
    pub heartbeat_at: Mono,
    pub list_at: Mono,
    pub is_outdated: bool,
    /// Bytes of the district's messages.
    pub received: u64,
    /// Since when another keepalive is wanted.
    pub other_keepalive_since: Option<Mono>,
}
