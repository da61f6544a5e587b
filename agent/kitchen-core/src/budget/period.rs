//! The operator's month: from its first day's midnight in the box's zone to the next. Never asks what the clock is worth.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::{TimeZone, Wall};

/// One month of the operator's, `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Period {
    pub from: Wall,
    pub to: Wall,
}

impl Period {
    /// The one in which `wall` lies; a month without the start day begins on its last day.
    #[must_use]
    pub fn containing(wall: Wall, start_day: u8, zone: &TimeZone) -> Self {
        let date = wall.timestamp().to_zoned_datetime(zone.0.clone()).date();
        let begins = |first: jiff::civil::Date| {
            let day = i8::try_from(start_day).unwrap_or(1).clamp(1, first.days_in_month());
            midnight(jiff::civil::date(first.year(), first.month(), day), zone)
        };
        let this = date.first_of_month();
        // The calendar ends in the year 9999; there the month is the last one.
        let next = |first: jiff::civil::Date| first.last_of_month().tomorrow().unwrap_or(first);
        let before = |first: jiff::civil::Date| first.yesterday().map_or(first, jiff::civil::Date::first_of_month);
        let start = begins(this);
        if start <= wall {
            Self { from: start, to: begins(next(this)) }
        } else {
            Self { from: begins(before(this)), to: start }
        }
    }

    #[must_use]
    pub fn contains(self, wall: Wall) -> bool {
        self.from <= wall && wall < self.to
    }
}

fn midnight(date: jiff::civil::Date, zone: &TimeZone) -> Wall {
    let start = date.to_zoned_datetime(zone.0.clone()).map(|zoned| zoned.timestamp().as_millisecond());
    Wall::from_unix_millis(start.unwrap_or(i64::MAX))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} – {}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(wall: &str, start_day: u8) -> (String, String) {
        let zone = TimeZone::named("Asia/Shanghai").expect("bundled");
        let period = Period::containing(wall.parse().expect(wall), start_day, &zone);
        (period.from.local_text(&zone), period.to.local_text(&zone))
    }

    #[test]
    fn a_month_begins_at_the_box_s_own_midnight() {
        let (from, to) = period("2026-11-30T15:59:59Z", 1);
        assert_eq!((from.as_str(), to.as_str()), ("2026-11-01 00:00:00", "2026-12-01 00:00:00"));
        assert_eq!(period("2026-11-30T16:00:00Z", 1).0, "2026-12-01 00:00:00");
    }

    #[test]
    fn another_start_day_and_short_months() {
        assert_eq!(period("2026-03-14T00:00:00Z", 15), ("2026-02-15 00:00:00".into(), "2026-03-15 00:00:00".into()));
        assert_eq!(period("2026-02-28T04:00:00Z", 31), ("2026-02-28 00:00:00".into(), "2026-03-31 00:00:00".into()));
        assert_eq!(period("2026-12-31T20:00:00Z", 20).1, "2027-01-20 00:00:00");
    }

    #[test]
    fn months_follow_each_other_without_a_gap() {
        let zone = TimeZone::named("Asia/Shanghai").expect("bundled");
        for start_day in [1, 15, 29, 31] {
            let mut period = Period::containing("2024-01-10T00:00:00Z".parse().expect("a time"), start_day, &zone);
            for _ in 0..40 {
                let next = Period::containing(period.to, start_day, &zone);
                assert_eq!(next.from, period.to);
                assert!(next.contains(next.from) && !period.contains(next.from));
                period = next;
            }
        }
    }
}
