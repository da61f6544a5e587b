//! A message that would like to be sent, as the governor sees it: what it is, how large, and how much it matters.

use std::time::Duration;

use super::overhead::wire_bytes;
use crate::outbox::OutboxKind;

/// The rungs above the one of texts of tier 1 alerts; clips of the tiers follow the last of them.
pub(super) const TEXTS: usize = 2;
/// Those of tier 1; the other ones' is the next.
pub(super) const PICTURES: usize = 3;
pub(super) const REQUESTS: usize = 5;

/// A message that would like to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub kind: OutboxKind,
    pub tier: u8,
    /// On the link, in both directions.
    pub bytes: u64,
    /// A clip that the district asked for.
    pub is_requested: bool,
    /// A clip older than a day: fresh ones of its tier go before it.
    pub is_stale: bool,
}

impl Wanted {
    /// A message whose content has so many bytes.
    #[must_use]
    pub const fn message(kind: OutboxKind, tier: u8, bytes: u64) -> Self {
        // Topic, packet and the receipt that comes back.
        Self {
            kind,
            tier,
            bytes: wire_bytes(bytes + 120, true) + wire_bytes(240, true),
            is_requested: false,
            is_stale: false,
        }
    }

    /// Its place on the governor's ladder.
    pub(super) const fn rung(self) -> usize {
        match (self.kind, self.tier) {
            (OutboxKind::Alert, 1) => 1,
            (OutboxKind::Alert | OutboxKind::Record, _) => TEXTS,
            (OutboxKind::Snapshot, 1) => PICTURES,
            (OutboxKind::Snapshot | OutboxKind::Command, _) => PICTURES + 1,
            (OutboxKind::Clip, _) if self.is_requested => REQUESTS,
            (OutboxKind::Clip, 1) => REQUESTS + 1 + self.is_stale as usize,
            (OutboxKind::Clip, 2) => REQUESTS + 2 + self.is_stale as usize,
            (OutboxKind::Clip, _) => REQUESTS + 3 + self.is_stale as usize,
        }
    }
}

/// How old a clip may become before fresh ones of its tier go before it.
pub const STALE_AFTER: Duration = Duration::from_secs(86_400);

/// What a clip is worth to the district by its tier and age in milliseconds, in parts of a hundred: two days halve it.
#[must_use]
pub fn worth(tier: u8, age_ms: u64) -> f64 {
    let fresh = match tier {
        1 => 100.0,
        2 => 10.0,
        _ => 1.0,
    };
    fresh * (-(age_ms as f64) / (2.0 * 86_400_000.0)).exp2()
}
