//! `box_health`: heat, too low a supply voltage, short memory or a full disk for a whole window; it closes when all has
//! been well for as long. Detection is slowed down at once, before anything else has to give way; a full disk is no
//! reason for that.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::alert::CloseReason;
use crate::rules::RuleId;
use crate::time::Mono;
use crate::watch::{Violation, ViolationKey};

/// A Raspberry Pi slows itself down from 80 °C on, and hard from 85 °C.
const HOT_C: f32 = 80.0;
const VERY_HOT_C: f32 = 85.0;
const COOL_C: f32 = 75.0;
/// Shares of all memory that programs can still get.
const SHORT_MEMORY: f32 = 0.05;
const ENOUGH_MEMORY: f32 = 0.08;
const FULL_DISK_BYTES: u64 = 50_000_000;
const ENOUGH_DISK_BYTES: u64 = 100_000_000;

/// What was measured; absent where the box can't.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    pub temperature_c: Option<f32>,
    /// The supply voltage is too low now.
    pub undervoltage: Option<bool>,
    /// Memory that programs can still get, as a share of all.
    pub memory_available: Option<f32>,
    /// Free for the agent's state.
    pub disk_free_bytes: Option<u64>,
}

#[derive(Debug)]
pub struct BoxHealth {
    window: Duration,
    cool_down: Duration,
    readings: Readings,
    is_hot: bool,
    is_memory_short: bool,
    is_disk_full: bool,
    ailing_since: Option<Mono>,
    well_since: Option<Mono>,
    open_since: Option<Mono>,
    cool_until: Option<Mono>,
    output: VecDeque<Violation>,
}

impl BoxHealth {
    #[must_use]
    pub fn new(window: Duration, cool_down: Duration) -> Self {
        Self {
            window,
            cool_down,
            readings: Readings::default(),
            is_hot: false,
            is_memory_short: false,
            is_disk_full: false,
            ailing_since: None,
            well_since: None,
            open_since: None,
            cool_until: None,
            output: VecDeque::new(),
        }
    }

    /// New measurements, every few seconds.
    pub fn handle_readings(&mut self, readings: Readings, now: Mono) {
        self.readings = readings;
        let temperature = readings.temperature_c.unwrap_or(0.0);
        self.is_hot = temperature >= if self.is_hot { COOL_C } else { HOT_C };
        let memory = readings.memory_available.unwrap_or(1.0);
        self.is_memory_short = memory < if self.is_memory_short { ENOUGH_MEMORY } else { SHORT_MEMORY };
        let free_bytes = readings.disk_free_bytes.unwrap_or(u64::MAX);
        self.is_disk_full = free_bytes < if self.is_disk_full { ENOUGH_DISK_BYTES } else { FULL_DISK_BYTES };
        if self.is_at_ease() && !self.is_disk_full {
            self.ailing_since = None;
            let well_since = *self.well_since.get_or_insert(now);
            self.close_if_well_since(well_since, now);
        } else {
            self.well_since = None;
            let ailing_since = *self.ailing_since.get_or_insert(now);
            self.open_if_ailing_since(ailing_since, now);
        }
    }

    /// The alert is committed: the cool-down counts.
    pub fn handle_raised(&mut self, now: Mono) {
        self.cool_until = Some(now + self.cool_down);
    }

    /// The alert was not raised: it is tried again a window later.
    pub fn handle_suppressed(&mut self, now: Mono) {
        self.open_since = None;
        self.cool_until = Some(now + self.window);
    }

    pub fn poll_output(&mut self) -> Option<Violation> {
        self.output.pop_front()
    }

    /// The share of the wanted looks that detection may take: 1 for a box that is well.
    #[must_use]
    pub fn pace(&self) -> f32 {
        let is_very_hot = self.readings.temperature_c.is_some_and(|celsius| celsius >= VERY_HOT_C);
        match (self.is_at_ease(), is_very_hot) {
            (true, _) => 1.0,
            (false, false) => 0.5,
            (false, true) => 0.25,
        }
    }

    fn is_at_ease(&self) -> bool {
        !self.is_hot && !self.is_memory_short && self.readings.undervoltage != Some(true)
    }

    fn open_if_ailing_since(&mut self, began: Mono, now: Mono) {
        let is_cooling = self.cool_until.is_some_and(|until| now < until);
        if self.open_since.is_some() || is_cooling || now.since(began) < self.window {
            return;
        }
        self.open_since = Some(began);
        let detail = Some(self.to_string());
        self.output.push_back(Violation::Opened { key: key(), began, score: None, detail });
    }

    fn close_if_well_since(&mut self, ended: Mono, now: Mono) {
        if now.since(ended) < self.window {
            return;
        }
        if let Some(began) = self.open_since.take() {
            let reason = CloseReason::Cleared;
            self.output.push_back(Violation::Closed { key: key(), began, ended, score: None, reason });
        }
    }
}

fn key() -> ViolationKey {
    ViolationKey { rule: RuleId::BoxHealth, zone: None }
}

/// What the box suffers from, for the technician.
impl fmt::Display for BoxHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ailments = Vec::new();
        if self.is_hot {
            ailments.push(format!("{:.0} °C", self.readings.temperature_c.unwrap_or_default()));
        }
        if self.readings.undervoltage == Some(true) {
            ailments.push("supply voltage too low".to_owned());
        }
        if self.is_memory_short {
            let percent = self.readings.memory_available.unwrap_or_default() * 100.0;
            ailments.push(format!("only {percent:.0} % of the memory available"));
        }
        if self.is_disk_full {
            let megabytes = self.readings.disk_free_bytes.unwrap_or_default() / 1_000_000;
            ailments.push(format!("only {megabytes} MB of the disk free"));
        }
        f.write_str(&ailments.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    fn health() -> BoxHealth {
        BoxHealth::new(WINDOW, Duration::from_secs(86_400))
    }

    fn hot(celsius: f32) -> Readings {
        Readings { temperature_c: Some(celsius), ..Readings::default() }
    }

    #[test]
    fn heat_slows_detection_at_once_and_is_reported_after_its_window() {
        let mut health = health();
        for (seconds, celsius, pace) in [(0, 79.0, 1.0), (5, 80.5, 0.5), (10, 86.0, 0.25), (15, 77.0, 0.5)] {
            health.handle_readings(hot(celsius), at(seconds));
            assert_eq!(health.pace(), pace, "{celsius} °C");
        }
        assert_eq!(health.poll_output(), None);
        health.handle_readings(hot(82.0), at(65));
        let opened = health.poll_output();
        assert!(
            matches!(&opened, Some(Violation::Opened { began, detail: Some(detail), .. })
                if *began == at(5) && detail == "82 °C"),
            "{opened:?}"
        );
        health.handle_raised(at(65));
        health.handle_readings(hot(70.0), at(70));
        assert_eq!((health.pace(), health.poll_output()), (1.0, None));
        health.handle_readings(hot(70.0), at(130));
        assert!(matches!(health.poll_output(), Some(Violation::Closed { ended, .. }) if ended == at(70)));
    }

    #[test]
    fn after_an_alert_the_next_waits_for_the_cool_down() {
        let mut health = health();
        for seconds in (0..=60).step_by(5) {
            health.handle_readings(hot(90.0), at(seconds));
        }
        assert!(health.poll_output().is_some());
        health.handle_raised(at(60));
        for seconds in (65..=200).step_by(5) {
            health.handle_readings(hot(20.0), at(seconds));
        }
        assert!(health.poll_output().is_some());
        for seconds in (205..=1000).step_by(5) {
            health.handle_readings(hot(90.0), at(seconds));
        }
        assert_eq!(health.poll_output(), None);
    }

    #[test]
    fn a_full_disk_is_reported_and_slows_nothing_down() {
        let mut health = health();
        let free = |bytes| Readings { disk_free_bytes: Some(bytes), ..Readings::default() };
        for seconds in (0..=60).step_by(5) {
            health.handle_readings(free(49_000_000), at(seconds));
            assert_eq!(health.pace(), 1.0);
        }
        let opened = health.poll_output();
        let told = Some("only 49 MB of the disk free".to_owned());
        assert!(matches!(&opened, Some(Violation::Opened { detail, .. }) if *detail == told), "{opened:?}");
        for seconds in (65..=130).step_by(5) {
            health.handle_readings(free(90_000_000), at(seconds));
        }
        assert_eq!(health.poll_output(), None, "a little more is not enough yet");
        for seconds in (135..=200).step_by(5) {
            health.handle_readings(free(120_000_000), at(seconds));
        }
        assert!(matches!(health.poll_output(), Some(Violation::Closed { ended, .. }) if ended == at(135)));
    }

    #[test]
    fn low_voltage_and_short_memory_count_and_what_is_not_measured_does_not() {
        let mut health = health();
        health.handle_readings(Readings::default(), at(0));
        assert_eq!(health.pace(), 1.0);
        health.handle_readings(Readings { undervoltage: Some(true), ..Readings::default() }, at(1));
        assert_eq!((health.pace(), health.to_string().as_str()), (0.5, "supply voltage too low"));
        health.handle_readings(Readings { memory_available: Some(0.04), ..Readings::default() }, at(2));
        assert_eq!((health.pace(), health.to_string().as_str()), (0.5, "only 4 % of the memory available"));
        health.handle_readings(Readings { memory_available: Some(0.07), ..Readings::default() }, at(3));
        assert_eq!(health.pace(), 0.5, "a little more is not enough yet");
        health.handle_readings(Readings { memory_available: Some(0.3), ..Readings::default() }, at(4));
        assert_eq!(health.pace(), 1.0);
    }
}
