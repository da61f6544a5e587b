//! How long to wait before another try: anything from the shortest wait to a ceiling that doubles, so that the boxes of a
//! district don't all try at once. Enters: a seeded generator, ceilings. Leaves: waits.

use std::time::Duration;

use crate::time::millis;

/// Nothing is tried again sooner.
pub(crate) const SHORTEST: Duration = Duration::from_secs(5);

/// Twice as long, so many times.
pub(crate) fn doubled(duration: Duration, times: u32) -> Duration {
    duration.saturating_mul(2_u32.saturating_pow(times.min(16)))
}

/// Full jitter: uniform between the shortest wait and `ceiling`.
pub(crate) fn jittered(random: &mut fastrand::Rng, ceiling: Duration) -> Duration {
    SHORTEST + Duration::from_millis(random.u64(0..=millis(ceiling.saturating_sub(SHORTEST))))
}
