//! How long to wait before another try: anything from the shortest wait to a ceiling that doubles, so that the boxes of a
//! district don't all try at once. Enters: a seed, ceilings. Leaves: waits.

use std::time::Duration;

use crate::time::millis;

/// Nothing is tried again sooner.
pub(crate) const SHORTEST: Duration = Duration::from_secs(5);

/// Twice as long, so many times.
pub(crate) fn doubled(duration: Duration, times: u32) -> Duration {
    duration.saturating_mul(2_u32.saturating_pow(times.min(16)))
}

/// SplitMix64: enough to spread retries.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Uniform between the shortest delay and `ceiling`.
    pub(crate) fn delay(&mut self, ceiling: Duration) -> Duration {
        let spread = millis(ceiling.saturating_sub(SHORTEST));
        SHORTEST + Duration::from_millis(self.next() % (spread + 1))
    }
}
