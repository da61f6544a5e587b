//! What the rest of the month will ask for, from what the past weeks asked for: their level, robust to a burst, spread by
//! the hour of the week. Demands by the hour come in; bytes still to be expected go out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tariff::Tariff;
use crate::outbox::OutboxKind;
use crate::time::Wall;

/// Older weeks tell nothing of the next ones.
pub const HISTORY_WEEKS: i64 = 8;

const WEEK: i64 = 168;
const DAY: i64 = 24;
const HOUR_MS: i64 = 3_600_000;
const MILLION: u64 = 1_000_000;
/// Of every four weeks three asked for no more than what is expected.
const QUANTILE: (usize, usize) = (3, 4);
/// Keepalives each 300 s and heartbeats each 900 s, not stretched.
pub(super) const PROTOCOL_A_WEEK: u64 = 1_150_000;

/// Who asks for bytes, whether or not they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    Alert,
    Text,
    /// Pictures of tier 1.
    #[serde(rename = "snapshot_1")]
    Snapshot1,
    Snapshot,
    /// Clips that the district asks for, and answers to its commands.
    Request,
    #[serde(rename = "clip_1")]
    Clip1,
    #[serde(rename = "clip_2")]
    Clip2,
    #[serde(rename = "clip_3")]
    Clip3,
    Protocol,
}

impl Demand {
    pub const COUNT: usize = 9;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Alert,
        Self::Text,
        Self::Snapshot1,
        Self::Snapshot,
        Self::Request,
        Self::Clip1,
        Self::Clip2,
        Self::Clip3,
        Self::Protocol,
    ];

    /// Of a waiting message.
    #[must_use]
    pub const fn of(kind: OutboxKind, tier: u8, is_requested: bool) -> Self {
        match (kind, tier) {
            (OutboxKind::Alert, 1) => Self::Alert,
            (OutboxKind::Alert | OutboxKind::Record, _) => Self::Text,
            (OutboxKind::Command, _) => Self::Request,
            (OutboxKind::Snapshot, 1) => Self::Snapshot1,
            (OutboxKind::Snapshot, _) => Self::Snapshot,
            (OutboxKind::Clip, _) if is_requested => Self::Request,
            (OutboxKind::Clip, 1) => Self::Clip1,
            (OutboxKind::Clip, 2) => Self::Clip2,
            (OutboxKind::Clip, _) => Self::Clip3,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Text => "text",
            Self::Snapshot1 => "snapshot_1",
            Self::Snapshot => "snapshot",
            Self::Request => "request",
            Self::Clip1 => "clip_1",
            Self::Clip2 => "clip_2",
            Self::Clip3 => "clip_3",
            Self::Protocol => "protocol",
        }
    }

    /// Bytes on the link of one of them, before any was seen.
    const fn usual(self) -> u64 {
        match self {
            Self::Alert | Self::Text => 1_800,
            Self::Snapshot1 | Self::Snapshot => 40_000,
            Self::Request | Self::Clip1 | Self::Clip2 | Self::Clip3 => 740_000,
            Self::Protocol => 1_000,
        }
    }
}

/// How much was asked for in one hour since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemandRow {
    pub hour: i64,
    pub demand: Demand,
    pub bytes: u64,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    bytes: u64,
    count: u64,
}

/// What one demand asks for in a week, and how its paid hours share it.
#[derive(Clone, Debug)]
struct Expected {
    week_bytes: u64,
    typical_bytes: u64,
    /// Millionths of the week's bytes asked for before each hour of the week, free hours counting nothing.
    before: Vec<u64>,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Forecast {
    hours: BTreeMap<i64, [Asked; Demand::COUNT]>,
    since: Option<i64>,
    expected: Vec<Expected>,
    made_on: i64,
    /// By the hour of the week: what is sent then costs nothing.
    free: Vec<bool>,
}

impl Default for Forecast {
    fn default() -> Self {
        let mut forecast =
            Self { hours: BTreeMap::new(), since: None, expected: Vec::new(), made_on: i64::MIN, free: Vec::new() };
        forecast.make(0);
        forecast
    }
}

impl Forecast {
    /// From what was saved, in any order.
    #[must_use]
    pub fn restore(rows: &[DemandRow]) -> Self {
        let mut forecast = Self::default();
        for row in rows {
            forecast.note(row.hour, row.demand, row.bytes, row.count);
        }
        forecast
    }

    #[must_use]
    pub fn hour(wall: Wall) -> i64 {
        wall.as_unix_millis().div_euclid(HOUR_MS)
    }

    /// So many bytes on the link were asked for by one message.
    pub fn handle_demand(&mut self, demand: Demand, bytes: u64, now: Wall) {
        self.note(Self::hour(now), demand, bytes, 1);
    }

    /// Which hours of the week cost nothing, as the tariff has them.
    pub fn set_tariff(&mut self, tariff: &Tariff, now: Wall) {
        let hour = Self::hour(now);
        let monday = hour - hour.rem_euclid(WEEK);
        let is_free = |hour: i64| {
            let at = |minute: i64| Wall::from_unix_millis((monday + hour) * HOUR_MS + minute * 60_000);
            tariff.is_free_at(at(2)) && tariff.is_free_at(at(30)) && tariff.is_free_at(at(58))
        };
        self.free = if tariff.has_free_windows() { (0..WEEK).map(is_free).collect() } else { Vec::new() };
        self.make(hour);
    }

    /// Looks back anew once a day.
    pub fn handle_time(&mut self, now: Wall) {
        let hour = Self::hour(now);
        if hour < self.made_on || hour >= self.made_on + DAY {
            let oldest = hour - HISTORY_WEEKS * WEEK;
            self.hours = self.hours.split_off(&oldest);
            self.make(hour);
        }
    }

    /// Bytes that `demand` will ask for in paid hours between two times, with a margin for chance.
    #[must_use]
    pub fn rest(&self, demand: Demand, from: Wall, to: Wall) -> u64 {
        let (from, to) = (Self::hour(from), Self::hour(to));
        if to <= from {
            return 0;
        }
        let expected = &self.expected[demand as usize];
        let weeks = u64::try_from((to - from) / WEEK).unwrap_or(0);
        let (start, end) = (from.rem_euclid(WEEK), from.rem_euclid(WEEK) + (to - from) % WEEK);
        let before = |hour: i64| {
            let whole = u64::try_from(hour / WEEK).unwrap_or(0) * expected.before[WEEK as usize];
            whole + expected.before[usize::try_from(hour % WEEK).unwrap_or(0)]
        };
        let share = weeks * expected.before[WEEK as usize] + before(end) - before(start);
        let bytes = part(expected.week_bytes, share);
        if demand == Demand::Protocol {
            return bytes;
        }
        let left = u64::try_from(to - from).unwrap_or(0).min(WEEK as u64);
        let chance = bytes.saturating_mul(expected.typical_bytes).isqrt();
        bytes.saturating_add(chance).saturating_add(expected.typical_bytes / WEEK as u64 * left)
    }

    /// Bytes on the link of one message of that kind.
    #[must_use]
    pub fn typical(&self, demand: Demand) -> u64 {
        self.expected[demand as usize].typical_bytes
    }

    /// How many such messages a week brings.
    #[must_use]
    pub fn a_week(&self, demand: Demand) -> f64 {
        let expected = &self.expected[demand as usize];
        expected.week_bytes as f64 / expected.typical_bytes.max(1) as f64
    }

    fn note(&mut self, hour: i64, demand: Demand, bytes: u64, count: u64) {
        self.since = Some(self.since.map_or(hour, |since| since.min(hour)));
        let asked = &mut self.hours.entry(hour).or_default()[demand as usize];
        asked.bytes = asked.bytes.saturating_add(bytes);
        asked.count = asked.count.saturating_add(count);
    }

    fn make(&mut self, now: i64) {
        self.made_on = now;
        let age = self.since.map_or(0, |since| (now - since).clamp(0, HISTORY_WEEKS * WEEK));
        let weeks = usize::try_from(age / WEEK).unwrap_or(0);
        let mut pasts = vec![Past::new(weeks); Demand::COUNT];
        for (hour, asked) in self.hours.range(now - HISTORY_WEEKS * WEEK..now) {
            for (past, asked) in pasts.iter_mut().zip(asked).filter(|(_, asked)| asked.count > 0) {
                past.add(*hour, now, *asked);
            }
        }
        self.expected =
            Demand::ALL.into_iter().zip(pasts).map(|(demand, past)| self.expect(demand, past, weeks, age)).collect();
    }

    fn expect(&self, demand: Demand, mut past: Past, weeks: usize, age: i64) -> Expected {
        let Asked { bytes, count } = past.all;
        let typical_bytes = bytes.checked_div(count).unwrap_or_else(|| demand.usual());
        let week_bytes = if weeks > 0 {
            level(&mut past.weeks)
        } else if demand == Demand::Protocol {
            PROTOCOL_A_WEEK
        } else {
            // Less than a day says little: it is not taken for a seventh of a week.
            part(bytes, MILLION * WEEK as u64 / u64::try_from(age.max(DAY)).unwrap_or(1))
        };
        Expected { week_bytes, typical_bytes, before: self.cumulated(&past.by_hour, bytes) }
    }

    /// Half of the week's shape is what was seen, half is even: few weeks don't tell where the next event falls.
    fn cumulated(&self, by_hour: &[u64], bytes: u64) -> Vec<u64> {
        let mut before = vec![0];
        let mut sum = 0;
        for (hour, seen) in by_hour.iter().enumerate() {
            let even = MILLION / WEEK as u64;
            let share = if bytes == 0 { even } else { (even + ratio(*seen, bytes)) / 2 };
            if !self.free.get(hour).copied().unwrap_or(false) {
                sum += share;
            }
            before.push(sum);
        }
        before
    }
}

/// What one demand asked for: by week, the newest first, by hour of the week, and in all.
#[derive(Clone)]
struct Past {
    weeks: Vec<u64>,
    by_hour: [u64; WEEK as usize],
    all: Asked,
}

impl Past {
    fn new(weeks: usize) -> Self {
        Self { weeks: vec![0; weeks.max(1)], by_hour: [0; WEEK as usize], all: Asked::default() }
    }

    fn add(&mut self, hour: i64, now: i64, asked: Asked) {
        self.all.bytes = self.all.bytes.saturating_add(asked.bytes);
        self.all.count = self.all.count.saturating_add(asked.count);
        let of_week = usize::try_from(hour.rem_euclid(WEEK)).unwrap_or(0);
        self.by_hour[of_week] = self.by_hour[of_week].saturating_add(asked.bytes);
        let week = usize::try_from((now - 1 - hour) / WEEK).unwrap_or(usize::MAX);
        if let Some(total) = self.weeks.get_mut(week) {
            *total = total.saturating_add(asked.bytes);
        }
    }
}

/// The third quartile of the weeks, or the mean of all but the greatest where that is more: rare events leave most weeks
/// empty.
fn level(totals: &mut [u64]) -> u64 {
    totals.sort_unstable();
    let weeks = totals.len();
    let quartile = totals[(weeks * QUANTILE.0).div_ceil(QUANTILE.1) - 1];
    let others = &totals[..(weeks - 1).max(1)];
    let sum: u64 = others.iter().fold(0, |sum, total| sum.saturating_add(*total));
    quartile.max(sum / others.len() as u64)
}

fn part(bytes: u64, millionths: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(millionths) / u128::from(MILLION)).unwrap_or(u64::MAX)
}

fn ratio(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * u128::from(MILLION) / u128::from(whole.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(hour: i64) -> Wall {
        Wall::from_unix_millis(hour * HOUR_MS)
    }

    /// A megabyte in each hour of `asks`, over `weeks` weeks before hour `NOW`.
    const NOW: i64 = 500_000 - 500_000 % WEEK;

    fn after(weeks: i64, asks: impl Fn(i64) -> u64) -> Forecast {
        let rows: Vec<_> = (NOW - weeks * WEEK..NOW)
            .map(|hour| DemandRow { hour, demand: Demand::Clip2, bytes: asks(hour), count: u64::from(asks(hour) > 0) })
            .collect();
        let mut forecast = Forecast::restore(&rows);
        forecast.handle_time(wall(NOW));
        forecast
    }

    #[test]
    fn an_even_demand_goes_on() {
        let forecast = after(6, |_| 1_000_000);
        let week = forecast.rest(Demand::Clip2, wall(NOW), wall(NOW + WEEK));
        assert!((168_000_000..186_000_000).contains(&week), "{week}");
        let day = forecast.rest(Demand::Clip2, wall(NOW), wall(NOW + DAY));
        assert!((23_900_000..30_000_000).contains(&day), "{day}");
        assert_eq!(forecast.rest(Demand::Clip2, wall(NOW), wall(NOW)), 0);
        assert_eq!(forecast.typical(Demand::Clip2), 1_000_000);
    }

    #[test]
    fn a_burst_of_one_week_is_not_expected_again() {
        let forecast = after(6, |hour| if hour < NOW - 5 * WEEK { 50_000_000 } else { 1_000_000 });
        let week = forecast.rest(Demand::Clip2, wall(NOW), wall(NOW + WEEK));
        assert!(week < 220_000_000, "{week}");
    }

    #[test]
    fn the_hours_of_the_week_have_their_own_share() {
        let is_busy = |hour: i64| (100..110).contains(&hour.rem_euclid(WEEK));
        let forecast = after(6, |hour| if is_busy(hour) { 10_000_000 } else { 0 });
        let busy = forecast.rest(Demand::Clip2, wall(NOW + 100), wall(NOW + 110));
        let idle = forecast.rest(Demand::Clip2, wall(NOW + 10), wall(NOW + 20));
        assert!(busy > 2 * idle, "{busy} {idle}");
    }

    #[test]
    fn rare_events_are_expected_though_most_weeks_had_none() {
        let forecast = after(8, |hour| if (hour - NOW) % (3 * WEEK) == -5 { 700_000 } else { 0 });
        assert!(forecast.rest(Demand::Clip2, wall(NOW), wall(NOW + 4 * WEEK)) > 700_000);
    }

    #[test]
    fn a_box_without_a_past_expects_keepalives_and_little_else() {
        let forecast = Forecast::default();
        let month = forecast.rest(Demand::Protocol, wall(NOW), wall(NOW + 720));
        assert!((4_000_000..6_000_000).contains(&month), "{month}");
        assert!(forecast.rest(Demand::Clip1, wall(NOW), wall(NOW + 720)) <= Demand::Clip1.usual());
    }
}
