//! What waits for the district's receipt: kinds, their order, and what is sent for each.
//! The store fills these types and the uplink sends them, so that neither knows the other.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::time::Wall;
use crate::wire::ClipInit;

/// The class of a waiting message; order and expiry follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboxKind {
    Alert,
    Record,
    Command,
    Snapshot,
    Clip,
}

impl OutboxKind {
    pub const ALL: [Self; 5] = [Self::Alert, Self::Record, Self::Command, Self::Snapshot, Self::Clip];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Record => "record",
            Self::Command => "command",
            Self::Snapshot => "snapshot",
            Self::Clip => "clip",
        }
    }

    /// 0 is sent first: tier 1 alerts, other alerts and records, command states, snapshots, clips by tier.
    #[must_use]
    pub const fn priority(self, tier: u8) -> u8 {
        match (self, tier) {
            (Self::Alert, 1) => 0,
            (Self::Alert | Self::Record, _) => 1,
            (Self::Command, _) => 2,
            (Self::Snapshot, _) => 3,
            (Self::Clip, 1) => 4,
            (Self::Clip, 2) => 5,
            (Self::Clip, _) => 6,
        }
    }

    /// The tier that led to a priority, as far as that tells it.
    #[must_use]
    pub const fn tier(self, priority: u8) -> u8 {
        match (self, priority) {
            (Self::Alert, 0) | (Self::Clip, 4) => 1,
            (Self::Alert, _) | (Self::Clip, 5) => 2,
            _ => 3,
        }
    }

    /// Days after which an unsent message of this kind is given up; `None` is never.
    #[must_use]
    pub const fn expiry_days(self) -> Option<u32> {
        match self {
            Self::Alert | Self::Record => None,
            Self::Command => Some(1),
            Self::Snapshot => Some(30),
            Self::Clip => Some(7),
        }
    }
}

impl fmt::Display for OutboxKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutboxKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("{text:?} is no outbox kind"))
    }
}

/// One message that has no receipt yet. `id` is a message id, for a clip its clip id.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub id: String,
    pub kind: OutboxKind,
    pub priority: u8,
    /// Of the alert that it belongs to; 3 where there is none.
    pub tier: u8,
    pub bytes: u64,
    pub created: Wall,
    pub attempts: u32,
    pub sent: Option<Wall>,
    /// Only for a clip.
    pub clip: Option<ClipInit>,
}

/// What to publish for one waiting message. `topic_leaf` follows `kitchen/v1/{device}/up/`.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// An envelope, the same bytes at every resend.
    Record { topic_leaf: String, bytes: Vec<u8> },
    /// A JPEG with its MQTT user properties.
    Snapshot { topic_leaf: String, bytes: Vec<u8>, properties: Vec<(String, String)> },
    /// A clip to send in chunks from the file at `path`.
    Clip { init: ClipInit, path: PathBuf },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_text_goes_first_and_the_largest_bytes_last() {
        let order = [
            (OutboxKind::Alert, 1),
            (OutboxKind::Alert, 2),
            (OutboxKind::Command, 3),
            (OutboxKind::Snapshot, 1),
            (OutboxKind::Clip, 1),
            (OutboxKind::Clip, 2),
            (OutboxKind::Clip, 3),
        ];
        assert_eq!(order.map(|(kind, tier)| kind.priority(tier)), [0, 1, 2, 3, 4, 5, 6]);
        for (kind, tier) in order.into_iter().filter(|(kind, _)| matches!(kind, OutboxKind::Alert | OutboxKind::Clip)) {
            assert_eq!(kind.tier(kind.priority(tier)), tier);
        }
        assert_eq!(OutboxKind::Record.priority(1), 1);
    }

    #[test]
    fn kinds_read_what_they_write() {
        for kind in OutboxKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }
}
