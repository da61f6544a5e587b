//! The wait before the next connection: full jitter, 5 s at first, 5 minutes at last, so that the boxes of a district don't
//! all come at once when its broker is back.
//! Never begins anew for a connection that did not last, so that two boxes with one id do not fight in a storm.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
const LASTING: Duration = Duration::from_secs(60);

/// Counts tries that came to nothing.
#[derive(Debug, Default)]
pub struct Reconnect {
    failures: u32,
}

impl Reconnect {
    /// How long to wait, after a connection that lasted `connected` (zero when there was none).
    pub fn wait(&mut self, connected: Duration) -> Duration {
        if connected >= LASTING {
            self.failures = 0;
        }
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(fastrand::u64(0..=kitchen_core::time::millis(ceiling)))
    }

    fn ceiling(&self) -> Duration {
        FIRST.saturating_mul(2_u32.saturating_pow(self.failures.min(16))).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_five_minutes_and_begins_anew_after_a_lasting_connection() {
        let mut reconnect = Reconnect::default();
        assert!(reconnect.wait(Duration::ZERO) <= Duration::from_secs(5));
        assert!(reconnect.wait(Duration::from_secs(3)) <= Duration::from_secs(10));
        for _ in 0..40 {
            assert!(reconnect.wait(Duration::ZERO) <= Duration::from_secs(300));
        }
        assert_eq!(reconnect.ceiling(), Duration::from_secs(300));
        assert!(reconnect.wait(Duration::from_secs(61)) <= Duration::from_secs(5));
    }

    #[test]
    fn a_thousand_boxes_that_lose_their_broker_together_come_back_spread_out() {
        let mut a_second = [0; 5];
        for _ in 0..1000 {
            let wait = Reconnect::default().wait(Duration::from_secs(86_400));
            a_second[usize::try_from(wait.as_secs().min(4)).expect("small")] += 1;
        }
        assert!(a_second.iter().all(|boxes| (120..280).contains(boxes)), "{a_second:?}");
    }
}
