//! Times as people write them on a command line: `2h` ago, `today`, `08:30`, `2026-11-24 08:30:05`, or RFC 3339.
//! Without a zone they are in the device's. Never reads a clock.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};

use crate::time::{TimeZone, Wall};

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no time such as 2h, 30min, today, 08:30, \"2026-11-24 08:30\" or 2026-11-24T00:30:00Z")]
pub struct TimeTextError(pub String);

/// The instant that `text` means for somebody who reads `now` from a clock in `zone`.
///
/// # Errors
/// [`TimeTextError`] with the text.
pub fn parse(text: &str, now: Wall, zone: &TimeZone) -> Result<Wall, TimeTextError> {
    let wrong = || TimeTextError(text.to_owned());
    let trimmed = text.trim();
    if let Ok(wall) = trimmed.parse() {
        return Ok(wall);
    }
    if let Some(ago) = span(trimmed) {
        return Ok(now.before(ago));
    }
    let today = now.timestamp().to_zoned_datetime(zone.0.clone()).date();
    let local: DateTime = match trimmed {
        "now" => return Ok(now),
        "today" => today.at(0, 0, 0, 0),
        "yesterday" => today.yesterday().map_err(|_| wrong())?.at(0, 0, 0, 0),
        _ => civil(trimmed, today).ok_or_else(wrong)?,
    };
    let timestamp = zone.0.to_timestamp(local).map_err(|_| wrong())?;
    Ok(Wall::from_unix_millis(timestamp.as_millisecond()))
}

fn civil(text: &str, today: Date) -> Option<DateTime> {
    if let Ok(time) = text.parse::<Time>() {
        // A date alone would be read as one too.
        return text.contains(':').then(|| today.to_datetime(time));
    }
    if let Ok(date) = text.parse::<Date>()
        && !text.contains(':')
    {
        return Some(date.at(0, 0, 0, 0));
    }
    text.parse::<DateTime>().ok()
}

/// `90s`, `30min`, `2h`, `3d`.
fn span(text: &str) -> Option<Duration> {
    let split = text.find(|sign: char| !sign.is_ascii_digit())?;
    let count: u64 = text[..split].parse().ok()?;
    let seconds = match &text[split..] {
        "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(count.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let zone = TimeZone::named("Asia/Shanghai").expect("bundled");
        let now: Wall = "2026-11-24T05:12:31.250Z".parse().expect("literal");
        for (text, meant) in [
            ("2h", "2026-11-24T03:12:31.250Z"),
            ("30min", "2026-11-24T04:42:31.250Z"),
            ("90s", "2026-11-24T05:11:01.250Z"),
            ("3d", "2026-11-21T05:12:31.250Z"),
            ("now", "2026-11-24T05:12:31.250Z"),
            ("today", "2026-11-23T16:00:00.000Z"),
            ("yesterday", "2026-11-22T16:00:00.000Z"),
            ("08:30", "2026-11-24T00:30:00.000Z"),
            ("08:30:05", "2026-11-24T00:30:05.000Z"),
            ("2026-11-24", "2026-11-23T16:00:00.000Z"),
            ("2026-11-24 08:30", "2026-11-24T00:30:00.000Z"),
            ("2026-11-24 08:30:05.5", "2026-11-24T00:30:05.500Z"),
            (" 2026-11-24T08:30 ", "2026-11-24T00:30:00.000Z"),
            ("2026-11-24T08:30:00Z", "2026-11-24T08:30:00.000Z"),
            ("2026-11-24T08:30:00+02:00", "2026-11-24T06:30:00.000Z"),
        ] {
            let parsed = parse(text, now, &zone).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.to_string(), meant, "{text}");
        }
        for wrong in ["", "soon", "2x", "25:00", "2026-13-01", "8", "-2h", "99999999999999999999d"] {
            assert!(parse(wrong, now, &zone).is_err(), "{wrong}");
        }
    }
}
