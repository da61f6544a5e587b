//! When a part that failed is started again, and when there is no hope: a growing pause, and a limit within a span.
//! Counts failures; never starts anything.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// More failures than this within [`SPAN`] are no accident.
const MOST: usize = 6;
const SPAN: Duration = Duration::from_secs(600);

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after this pause.
    StartAgain(Duration),
    GiveUp,
}

/// The failures of one part.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    recent: VecDeque<Mono>,
    count: u64,
}

impl Restarts {
    pub fn handle_failure(&mut self, now: Mono) -> Verdict {
        self.recent.retain(|&at| now.since(at) < SPAN);
        self.recent.push_back(now);
        self.count += 1;
        if self.recent.len() > MOST {
            return Verdict::GiveUp;
        }
        let doublings = u32::try_from(self.recent.len() - 1).unwrap_or(u32::MAX);
        Verdict::StartAgain(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE))
    }

    /// Failures since the agent's start.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn the_pause_doubles_and_the_seventh_failure_within_ten_minutes_is_the_last() {
        let mut restarts = Restarts::default();
        for (failure, pause) in [1, 2, 4, 8, 16, 32].into_iter().enumerate() {
            let verdict = restarts.handle_failure(at(60 * failure as u64));
            assert_eq!(verdict, Verdict::StartAgain(Duration::from_secs(pause)));
        }
        assert_eq!(restarts.handle_failure(at(400)), Verdict::GiveUp);
    }

    #[test]
    fn a_failure_now_and_then_is_forgotten_but_counted() {
        let mut restarts = Restarts::default();
        for hour in 0..100 {
            assert_eq!(restarts.handle_failure(at(3600 * hour)), Verdict::StartAgain(FIRST_PAUSE));
        }
        assert_eq!(restarts.count(), 100);
    }
}
