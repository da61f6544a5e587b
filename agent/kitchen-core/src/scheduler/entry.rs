//! A message as the scheduler knows it: its place in the order, and how far it has come.

use crate::budget::worthless;
use crate::outbox::{OutboxKind, Waiting};
use crate::time::{Mono, Wall};
use crate::wire::MessageId;

/// Priority, then age; ids of one store order by boot and sequence. Clips of one priority by what they are worth for
/// their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub priority: u8,
    /// 0 but for clips.
    pub worthless: i64,
    pub boot: u32,
    pub sequence: u64,
    pub id: String,
}

impl Key {
    pub fn new(waiting: &Waiting) -> Self {
        let id = &waiting.id;
        let (boot, sequence) =
            id.parse::<MessageId>().map_or((u32::MAX, u64::MAX), |parsed| (parsed.boot, parsed.sequence));
        let is_clip = waiting.kind == OutboxKind::Clip;
        let worthless = if is_clip { worthless(waiting.bytes, waiting.created) } else { 0 };
        Self { priority: waiting.priority, worthless, boot, sequence, id: id.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting {
        not_before: Mono,
    },
    /// It was not admitted; asked again when that may have changed.
    Held,
    /// Given to the link; the broker has not confirmed it. A clip stays here while it is transferred.
    Sent,
    /// The broker has it; the district's receipt is awaited until then.
    Transmitted {
        resend_at: Mono,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub kind: OutboxKind,
    pub tier: u8,
    pub bytes: u64,
    pub created: Wall,
    pub state: State,
    /// Failures since the last progress: the exponent of the back-off.
    pub failures: u32,
    /// Of these, the ones before which another message got through.
    pub failures_alone: u32,
    /// Receipts of all messages at its last counted failure.
    pub receipts_seen: u64,
    pub was_cut_off: bool,
}

impl Entry {
    /// Of a message that is new; `receipts` of all messages so far.
    pub fn new(waiting: &Waiting, receipts: u64, now: Mono) -> Self {
        Self {
            kind: waiting.kind,
            tier: waiting.tier,
            bytes: waiting.bytes,
            created: waiting.created,
            state: State::Waiting { not_before: now },
            failures: 0,
            failures_alone: 0,
            receipts_seen: receipts,
            was_cut_off: false,
        }
    }

    pub fn is_clip(&self) -> bool {
        self.kind == OutboxKind::Clip
    }

    pub fn is_outstanding(&self) -> bool {
        matches!(self.state, State::Sent | State::Transmitted { .. })
    }

    pub fn is_eligible(&self, now: Mono) -> bool {
        matches!(self.state, State::Waiting { not_before } if not_before <= now)
    }
}
