//! When a rule is active: `09:00-14:00,16:30-21:30`, `mon-fri 09:00-14:00`, over midnight `22:00-05:00`.
//! Text comes in once; then a local time is either inside or outside.

use std::str::FromStr;

use crate::time::LocalTime;

const DAY: u16 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Spans of the week in which a rule is active. The default is always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// None at all: always active.
    spans: Vec<Span>,
}

/// `[from, to)` in minutes of the day that starts on one of `weekdays`; `to` lies after midnight when not after `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    weekdays: [bool; 7],
    from: u16,
    to: u16,
}

impl Schedule {
    #[must_use]
    pub fn contains(&self, time: LocalTime) -> bool {
        self.spans.is_empty() || self.spans.iter().any(|span| span.contains(time))
    }
}

impl Span {
    fn contains(&self, time: LocalTime) -> bool {
        let today = usize::from(time.weekday % 7);
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            return self.weekdays[today] && (self.from..self.to).contains(&time.minute);
        }
        (self.weekdays[today] && time.minute >= self.from) || (self.weekdays[yesterday] && time.minute < self.to)
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weekdays = [true; 7];
        let mut spans = Vec::new();
        for part in text.split(',').map(str::trim) {
            let span = match part.split_once(' ') {
                Some((days, span)) => {
                    weekdays = parse_weekdays(days)?;
                    span.trim()
                }
                None => part,
            };
            let (from, to) = span.split_once('-').ok_or_else(|| format!("{part:?} has no span such as 09:00-14:00"))?;
            spans.push(Span { weekdays, from: parse_minute(from)?, to: parse_minute(to)? });
        }
        Ok(Self { spans })
    }
}

fn parse_minute(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is no time of day such as 09:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str, most: u16| {
        let value =
            digits.parse::<u16>().ok().filter(|_| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()));
        value.filter(|&value| value <= most).ok_or_else(wrong)
    };
    let minute_of_day = number(hour, 24)? * 60 + number(minute, 59)?;
    if minute_of_day > DAY { Err(wrong()) } else { Ok(minute_of_day) }
}

fn parse_weekdays(text: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        WEEKDAYS.iter().position(|&day| day == name).ok_or_else(|| format!("{name:?} is no weekday such as mon"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let mut weekdays = [false; 7];
    for offset in 0..=(last + 7 - first) % 7 {
        weekdays[(first + offset) % 7] = true;
    }
    Ok(weekdays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(schedule: &str, weekday: u8, hour: u16, minute: u16) -> bool {
        schedule.parse::<Schedule>().expect(schedule).contains(LocalTime { weekday, minute: hour * 60 + minute })
    }

    #[test]
    fn spans_include_their_start_and_leave_out_their_end() {
        let lunch_and_dinner = "09:00-14:00,16:30-21:30";
        assert!(active(lunch_and_dinner, 0, 9, 0));
        assert!(!active(lunch_and_dinner, 0, 14, 0));
        assert!(active(lunch_and_dinner, 6, 21, 29));
        assert!(Schedule::default().contains(LocalTime { weekday: 3, minute: 0 }));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = "fri 22:00-05:00";
        assert!(active(night, 4, 23, 0));
        assert!(active(night, 5, 4, 59));
        assert!(!active(night, 4, 4, 59));
        assert!(!active(night, 5, 22, 0));
        assert!(active("00:00-24:00", 2, 23, 59));
    }

    #[test]
    fn weekdays_hold_until_others_are_named_and_may_pass_sunday() {
        let schedule = "mon-fri 09:00-14:00,16:30-21:30,sat 10:00-12:00";
        assert!(active(schedule, 4, 17, 0));
        assert!(!active(schedule, 5, 17, 0));
        assert!(active(schedule, 5, 11, 0));
        assert!(active("sun-mon 08:00-09:00", 0, 8, 0));
        assert!(!active("sun-mon 08:00-09:00", 1, 8, 0));
    }

    #[test]
    fn what_is_no_schedule_is_named() {
        for wrong in ["", "9:00-14:00", "09:00", "25:00-26:00", "foo 09:00-10:00", "24:30-25:00", "09:00-14:00,"] {
            assert!(wrong.parse::<Schedule>().is_err(), "{wrong:?}");
        }
    }
}
