//! A message that would like to be sent, as the governor sees it: what it is, how large, and how much it matters.

use std::time::Duration;

use super::overhead::wire_bytes;
use super::rung::Rung;
use crate::outbox::OutboxKind;
use crate::time::Wall;

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
    pub(super) const fn rung(self) -> Rung {
        match (self.kind, self.tier) {
            (OutboxKind::Alert, 1) => Rung::GraveTexts,
            (OutboxKind::Alert | OutboxKind::Record, _) => Rung::Texts,
            (OutboxKind::Snapshot, 1) => Rung::GravePictures,
            (OutboxKind::Snapshot | OutboxKind::Command, _) => Rung::Pictures,
            (OutboxKind::Clip, _) if self.is_requested => Rung::Requests,
            (OutboxKind::Clip, tier) => Rung::of_clip(tier, self.is_stale),
        }
    }
}

/// How old a clip may become before fresh ones of its tier go before it.
pub const STALE_AFTER: Duration = Duration::from_secs(86_400);

/// In this time a clip loses half of its worth.
const HALF_WORTH_MS: u32 = 2 * 86_400_000;

/// What a clip is worth to the district by its tier and age in milliseconds, in parts of a hundred.
#[must_use]
pub fn worth(tier: u8, age_ms: u64) -> f64 {
    let fresh = match tier {
        1 => 100.0,
        2 => 10.0,
        _ => 1.0,
    };
    fresh * (-(age_ms as f64) / f64::from(HALF_WORTH_MS)).exp2()
}

/// The order of clips of one tier by what they are worth for their bytes, the best first: in thousandths of a halving,
/// by age or by twice the size.
#[must_use]
pub fn worthless(bytes: u64, created: Wall) -> i64 {
    let size = (bytes.max(1) as f64).log2() * 1000.0;
    size as i64 - created.as_unix_millis() / i64::from(HALF_WORTH_MS / 1000)
}
