//! What the connection itself may use: connecting, keepalive, receipts, and whatever comes down. It fills up evenly over the
//! month, so that a storm of reconnects or a flood empties it and the box rests, instead of spending what alerts need.

use std::time::Duration;

use crate::time::{Mono, millis};

/// Of a month at least so much, and at least and at most such parts of a hundred of the money for all but the reserve.
const LEAST_BYTES: u64 = 12_000_000;
const LEAST_PERCENT: u64 = 3;
const MOST_PERCENT: u64 = 25;
/// Without a farewell nobody knows that the box is off on purpose.
const FAREWELLS_BYTES: u64 = 32_000;
/// So many parts of the month's allowance can be used at once, and a box that rests comes back with a quarter of that.
const AT_ONCE: u64 = 8;
const BACK_WITH: u64 = 4;
const MONTH_MS: u128 = 30 * 86_400_000;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Allowance {
    month_bytes: u64,
    left: u64,
    filled_at: Mono,
    is_used_up: bool,
}

impl Allowance {
    pub fn new(now: Mono) -> Self {
        Self { month_bytes: 0, left: u64::MAX, filled_at: now, is_used_up: false }
    }

    /// What the month can pay for, but for the reserve.
    pub fn handle_means(&mut self, bytes: u64) {
        let part = |percent: u64| bytes / 100 * percent;
        let allowed = part(LEAST_PERCENT).max(LEAST_BYTES).min(part(MOST_PERCENT));
        self.month_bytes = allowed.max(FAREWELLS_BYTES);
        self.left = self.left.min(self.capacity());
    }

    pub fn handle_used(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }

    pub fn handle_time(&mut self, now: Mono) {
        let elapsed = u128::from(millis(now.since(self.filled_at)));
        let filled = u64::try_from(u128::from(self.month_bytes) * elapsed / MONTH_MS).unwrap_or(u64::MAX);
        if filled > 0 {
            self.filled_at = now;
            self.left = self.left.saturating_add(filled).min(self.capacity());
        }
        self.is_used_up = self.left == 0 || (self.is_used_up && self.left < self.capacity() / BACK_WITH);
    }

    pub const fn of_month(&self) -> u64 {
        self.month_bytes
    }

    pub const fn is_used_up(&self) -> bool {
        self.is_used_up
    }

    /// How long the rest will last, if there is one.
    pub fn refilled_after(&self) -> Option<Duration> {
        let lacking = (self.capacity() / BACK_WITH).saturating_sub(self.left);
        let wait = u128::from(lacking) * MONTH_MS / u128::from(self.month_bytes.max(1));
        self.is_used_up.then(|| Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    fn capacity(&self) -> u64 {
        self.month_bytes / AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Mono {
        Mono::from_millis(hours * 3_600_000)
    }

    #[test]
    fn what_is_used_up_comes_back_after_a_rest() {
        let mut allowance = Allowance::new(at(0));
        allowance.handle_means(1_000_000_000);
        assert_eq!(allowance.of_month(), 30_000_000);
        allowance.handle_used(3_700_000);
        allowance.handle_time(at(0));
        assert!(!allowance.is_used_up());
        allowance.handle_used(100_000);
        allowance.handle_time(at(0));
        let rest = allowance.refilled_after().expect("a rest");
        assert_eq!(rest.as_secs() / 3600, 22);
        allowance.handle_time(at(22));
        assert!(allowance.is_used_up());
        allowance.handle_time(at(23));
        assert!(!allowance.is_used_up() && allowance.refilled_after().is_none());
    }

    #[test]
    fn little_money_allows_a_quarter_of_it_and_none_a_farewell() {
        let mut allowance = Allowance::new(at(0));
        allowance.handle_means(8_000_000);
        assert_eq!(allowance.of_month(), 2_000_000);
        allowance.handle_means(0);
        assert_eq!(allowance.of_month(), FAREWELLS_BYTES);
        allowance.handle_means(u64::MAX);
        allowance.handle_time(at(1));
        assert!(!allowance.is_used_up());
    }
}
