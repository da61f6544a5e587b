//! What the operator charges: a package, steps of prices, free windows, a hard stop. Bytes come in, exact money goes out.
//! Never asks what was sent or why.

use crate::config::BudgetConfig;
use crate::schedule::Schedule;
use crate::time::{Stamp, TimeZone, Wall};

use super::yuan::Yuan;

/// Where no tariff is configured, this one counts: what a reseller asks without a contract.
const WITHOUT_TARIFF: Yuan = Yuan::whole(20);
/// Our clock and the operator's may differ by so much: what is sent this near to a window's edge is paid for.
const EDGE_MS: i64 = 60_000;

/// A price and up to which billable byte of the month it holds; `u64::MAX` is without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    up_to: u64,
    yuan_per_gb: Yuan,
}

/// See the head of this file. "Billable" are all bytes of the month but those of free windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Tariff {
    steps: Vec<Step>,
    hard_stop: Option<u64>,
    free: Vec<Schedule>,
    zone: TimeZone,
}

impl Tariff {
    /// Of a checked configuration. Beyond the last step's end the dearest price holds.
    #[must_use]
    pub fn new(config: &BudgetConfig, zone: TimeZone) -> Self {
        let package = config.package_gb.gigabytes();
        let mut steps = Vec::new();
        if package > 0 {
            steps.push(Step { up_to: package, yuan_per_gb: Yuan::ZERO });
        }
        for step in &config.tariffs {
            let up_to = step.up_to_gb.map_or(u64::MAX, |end| package.saturating_add(end.gigabytes()));
            steps.push(Step { up_to, yuan_per_gb: step.yuan_per_gb.yuan() });
        }
        if steps.last().is_none_or(|last| last.up_to < u64::MAX) {
            let dearest = config.tariffs.iter().map(|step| step.yuan_per_gb.yuan()).max().unwrap_or(WITHOUT_TARIFF);
            steps.push(Step { up_to: u64::MAX, yuan_per_gb: dearest });
        }
        let free = config.free.iter().filter_map(|window| window.parse().ok()).collect();
        Self { steps, hard_stop: config.hard_stop_gb.map(super::Decimal::gigabytes), free, zone }
    }

    /// What the next `bytes` cost after `position` billable ones.
    #[must_use]
    pub fn cost(&self, position: u64, bytes: u64) -> Yuan {
        let end = position.saturating_add(bytes);
        let mut from = position;
        let mut total = Yuan::ZERO;
        for step in &self.steps {
            let to = step.up_to.min(end);
            if to > from {
                total += step.yuan_per_gb.times_gigabytes(to - from);
                from = to;
            }
        }
        total
    }

    /// How many bytes `money` pays for after `position` billable ones.
    #[must_use]
    pub fn affordable(&self, position: u64, mut money: Yuan) -> u64 {
        if money < Yuan::ZERO {
            return 0;
        }
        let (mut from, mut bytes) = (position, 0_u64);
        for step in self.steps.iter().filter(|step| step.up_to > position) {
            let there = step.up_to - from;
            let bought = money.buys(step.yuan_per_gb).min(there);
            bytes = bytes.saturating_add(bought);
            if bought < there {
                break;
            }
            money = money - step.yuan_per_gb.times_gigabytes(bought);
            from = step.up_to;
        }
        bytes
    }

    /// The byte of the month, free ones counted, at which the operator cuts the link.
    #[must_use]
    pub const fn hard_stop(&self) -> Option<u64> {
        self.hard_stop
    }

    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether what is sent now costs nothing. Never while the clock is not trusted.
    #[must_use]
    pub fn is_free(&self, now: Stamp) -> bool {
        now.quality.is_trusted() && self.is_free_at(now.wall)
    }

    /// As [`Self::is_free`], of a time to come.
    #[must_use]
    pub fn is_free_at(&self, wall: Wall) -> bool {
        let is_inside = |offset_ms: i64| {
            let local = Wall::from_unix_millis(wall.as_unix_millis().saturating_add(offset_ms)).local(&self.zone);
            self.free.iter().any(|window| window.contains(local))
        };
        !self.free.is_empty() && is_inside(-EDGE_MS) && is_inside(EDGE_MS)
    }

    #[must_use]
    pub fn has_free_windows(&self) -> bool {
        !self.free.is_empty()
    }

    /// When the next free window begins, within a week.
    #[must_use]
    pub fn next_free(&self, after: Wall) -> Option<Wall> {
        if self.free.is_empty() {
            return None;
        }
        let minute = after.as_unix_millis().div_euclid(60_000) + 1;
        (minute..minute + 7 * 1440)
            .map(|minute| Wall::from_unix_millis(minute * 60_000))
            .find(|wall| self.is_free_at(*wall))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::time::{Mono, TimeQuality};

    fn tariff(text: &str) -> Tariff {
        let text = format!("[device]\nid = \"mh07-000123\"\n[budget]\n{text}");
        let config = Config::parse(&text, &[]).expect("valid");
        Tariff::new(&config.budget, config.time_zone())
    }

    fn yuan(text: &str) -> Yuan {
        text.parse().expect(text)
    }

    const STEPS: &str = "package_gb = 1\n[[budget.tariff]]\nup_to_gb = 10.0\nyuan_per_gb = 5.0\n[[budget.tariff]]\nyuan_per_gb = 20.0\n";

    #[test]
    fn steps_follow_the_package_and_each_byte_is_paid_at_its_own_price() {
        let tariff = tariff(STEPS);
        assert_eq!(tariff.cost(0, 1_000_000_000), Yuan::ZERO);
        assert_eq!(tariff.cost(0, 3_000_000_000), yuan("10"));
        assert_eq!(tariff.cost(10_500_000_000, 1_000_000_000), yuan("12.5"));
        assert_eq!(tariff.affordable(0, yuan("10")), 3_000_000_000);
        assert_eq!(tariff.affordable(10_500_000_000, yuan("12.5")), 1_000_000_000);
        assert_eq!(tariff.affordable(0, yuan("-1")), 0);
        assert!(tariff.cost(u64::MAX - 5, u64::MAX) < yuan("1"));
    }

    #[test]
    fn without_a_tariff_the_dear_one_counts_and_a_last_step_with_an_end_goes_on_at_the_dearest_price() {
        assert_eq!(tariff("").cost(0, 1_000_000_000), yuan("20"));
        let ended = tariff(
            "[[budget.tariff]]\nup_to_gb = 1\nyuan_per_gb = 7\n[[budget.tariff]]\nup_to_gb = 2\nyuan_per_gb = 3\n",
        );
        assert_eq!(ended.cost(2_000_000_000, 1_000_000_000), yuan("7"));
    }

    #[test]
    fn a_free_window_is_free_but_for_its_edges_and_only_by_a_trusted_clock() {
        let tariff = tariff("free = [\"23:00-06:00\"]\n");
        let at = |text: &str, quality| Stamp { mono: Mono::ZERO, wall: text.parse().expect(text), quality };
        assert!(tariff.is_free(at("2026-11-24T16:00:00Z", TimeQuality::Ntp)), "midnight in Shanghai");
        assert!(!tariff.is_free(at("2026-11-24T16:00:00Z", TimeQuality::Floor)));
        assert!(!tariff.is_free(at("2026-11-24T15:00:30Z", TimeQuality::Ntp)), "half a minute inside");
        assert!(!tariff.is_free(at("2026-11-24T21:59:30Z", TimeQuality::Ntp)), "half a minute before its end");
        assert!(!tariff.is_free(at("2026-11-24T05:00:00Z", TimeQuality::Ntp)));
        let next = tariff.next_free("2026-11-24T05:00:30Z".parse().expect("a time"));
        assert_eq!(next.map(|wall| wall.to_string()).as_deref(), Some("2026-11-24T15:01:00.000Z"));
    }

    proptest! {
        /// What can be afforded can be paid, and not a byte more.
        #[test]
        fn the_affordable_is_exact(position in 0_u64..20_000_000_000, milli in 0_u64..100_000) {
            let tariff = tariff(STEPS);
            let money = yuan(&format!("{}.{:03}", milli / 1000, milli % 1000));
            let bytes = tariff.affordable(position, money);
            prop_assert!(tariff.cost(position, bytes) <= money);
            prop_assert!(tariff.cost(position, bytes + 1) > money);
        }

        /// In parts or at once, the same money but for the rounding of each part.
        #[test]
        fn parts_cost_what_the_whole_costs(position in 0_u64..12_000_000_000, a in 0_u64..2_000_000_000, b in 0_u64..2_000_000_000) {
            let tariff = tariff(STEPS);
            prop_assert_eq!(tariff.cost(position, a) + tariff.cost(position + a, b), tariff.cost(position, a + b));
        }
    }
}
