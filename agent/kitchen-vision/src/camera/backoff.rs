//! How long to wait before a lost camera is opened again. Pure.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A session that lasted so long counts as healthy.
const HEALTHY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: SHORTEST * 2 }
    }
}

impl Backoff {
    /// The pause after a session of length `session`; `random` is in 0..1.
    pub(super) fn pause(&mut self, session: Duration, random: f64) -> Duration {
        if session >= HEALTHY {
            *self = Self::default();
        }
        let pause = SHORTEST + (self.ceiling - SHORTEST).mul_f64(random.clamp(0.0, 1.0));
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_start_again_after_a_healthy_minute() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..7).map(|_| backoff.pause(Duration::ZERO, 1.0).as_secs()).collect();
        assert_eq!(longest, [2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff.pause(Duration::ZERO, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.pause(Duration::from_secs(60), 1.0), Duration::from_secs(2));
    }
}
