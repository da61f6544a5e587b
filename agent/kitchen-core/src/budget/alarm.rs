//! `box_health` for the money: at 80, 95 and 100 per cent of what the month may cost an alert opens, once a month each.
//! The share used comes in; violations go out.

use std::collections::VecDeque;

use super::period::Period;
use crate::alert::CloseReason;
use crate::rules::RuleId;
use crate::time::Mono;
use crate::watch::{Violation, ViolationKey};

/// The share used, in per cent, from which on it is told.
pub const NEARLY_USED: u32 = 80;
const THRESHOLDS: [u32; 3] = [NEARLY_USED, 95, 100];

/// See the head of this file.
#[derive(Debug, Default)]
pub struct BudgetAlarm {
    period: Option<Period>,
    /// Since when each threshold is passed, and whether its alert was raised.
    open: [Option<Mono>; 3],
    raised: [bool; 3],
    output: VecDeque<Violation>,
}

impl BudgetAlarm {
    /// After a restart: `raised` are the thresholds whose alerts this month has seen.
    #[must_use]
    pub fn resumed(period: Period, raised: impl IntoIterator<Item = u32>) -> Self {
        let mut alarm = Self { period: Some(period), ..Self::default() };
        for threshold in raised {
            if let Some(index) = THRESHOLDS.iter().position(|known| *known == threshold) {
                alarm.raised[index] = true;
            }
        }
        alarm
    }

    /// The share used of what may be used.
    pub fn handle_used(&mut self, percent: u32, period: Period, now: Mono) {
        if self.period != Some(period) {
            self.period = Some(period);
            self.raised = [false; 3];
            for (index, open) in self.open.iter_mut().enumerate() {
                if let Some(began) = open.take() {
                    let (key, reason) = (key(THRESHOLDS[index]), CloseReason::Cleared);
                    self.output.push_back(Violation::Closed { key, began, ended: now, score: None, reason });
                }
            }
        }
        for (index, threshold) in THRESHOLDS.into_iter().enumerate() {
            if percent >= threshold && !self.raised[index] {
                self.raised[index] = true;
                self.open[index] = Some(now);
                let detail = Some(format!("{percent} % of the month's traffic budget is used"));
                self.output.push_back(Violation::Opened { key: key(threshold), began: now, score: None, detail });
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Violation> {
        self.output.pop_front()
    }

    /// The zone of a threshold's alert, and back.
    #[must_use]
    pub fn threshold(zone: &str) -> Option<u32> {
        zone.strip_prefix("budget_")?.parse().ok().filter(|threshold| THRESHOLDS.contains(threshold))
    }
}

fn key(threshold: u32) -> ViolationKey {
    ViolationKey { rule: RuleId::BoxHealth, zone: Some(format!("budget_{threshold}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{TimeZone, Wall};

    fn month(text: &str) -> Period {
        let wall: Wall = text.parse().expect(text);
        Period::containing(wall, 1, &TimeZone::UTC)
    }

    fn opened(alarm: &mut BudgetAlarm) -> Vec<String> {
        std::iter::from_fn(|| alarm.poll_output())
            .map(|violation| match violation {
                Violation::Opened { key, .. } => format!("+{}", key.zone.unwrap_or_default()),
                Violation::Closed { key, .. } => format!("-{}", key.zone.unwrap_or_default()),
                Violation::Updated { .. } => "?".to_owned(),
            })
            .collect()
    }

    #[test]
    fn each_threshold_alarms_once_a_month() {
        let (mut alarm, november, december) =
            (BudgetAlarm::default(), month("2026-11-24T00:00:00Z"), month("2026-12-02T00:00:00Z"));
        for percent in [10, 79, 80, 85, 80] {
            alarm.handle_used(percent, november, Mono::ZERO);
        }
        assert_eq!(opened(&mut alarm), ["+budget_80"]);
        alarm.handle_used(101, november, Mono::ZERO);
        assert_eq!(opened(&mut alarm), ["+budget_95", "+budget_100"]);
        alarm.handle_used(1, december, Mono::ZERO);
        assert_eq!(opened(&mut alarm), ["-budget_80", "-budget_95", "-budget_100"]);
        alarm.handle_used(81, december, Mono::ZERO);
        assert_eq!(opened(&mut alarm), ["+budget_80"]);
    }

    #[test]
    fn a_restart_repeats_none() {
        let november = month("2026-11-24T00:00:00Z");
        let raised = ["budget_80", "budget_7", "stove"].into_iter().filter_map(BudgetAlarm::threshold);
        let mut alarm = BudgetAlarm::resumed(november, raised);
        alarm.handle_used(96, november, Mono::ZERO);
        assert_eq!(opened(&mut alarm), ["+budget_95"]);
    }
}
