//! The two kinds of time. [`Mono`] orders and measures; [`Wall`] only labels.
//! Never reads a clock: shells implement [`Clock`], tests write literals.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since the box booted, counted through suspend. Orders and measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mono(u64);

impl Mono {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// Whole milliseconds of a duration, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970-01-01T00:00:00Z. A label only: it jumps when the right time arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

impl Wall {
    #[must_use]
    pub const fn from_unix_millis(ms: i64) -> Self {
        Self(ms)
    }

    #[must_use]
    pub const fn as_unix_millis(self) -> i64 {
        self.0
    }

    /// This label moved back by `duration`.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This label moved on by `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    pub(crate) fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// The time in a `Date` header of HTTP or RTSP, e.g. `Tue, 24 Nov 2026 05:12:31 GMT`.
    #[must_use]
    pub fn from_date_header(text: &str) -> Option<Self> {
        let timestamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
        Some(Self(timestamp.as_millisecond()))
    }

    /// Weekday (0 is Monday) and minutes since midnight in `zone`.
    #[must_use]
    pub fn local(self, zone: &TimeZone) -> LocalTime {
        let local = self.timestamp().to_zoned_datetime(zone.0.clone());
        LocalTime {
            weekday: u8::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0),
            minute: u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0),
        }
    }

    /// The instant at which the day of this label began in `zone`.
    #[must_use]
    pub fn start_of_day(self, zone: &TimeZone) -> Self {
        let local = self.timestamp().to_zoned_datetime(zone.0.clone());
        local.start_of_day().map_or(self, |start| Self(start.timestamp().as_millisecond()))
    }

    /// `YYYY-MM-DD HH:MM:SS` in `zone`, for people.
    #[must_use]
    pub fn local_text(self, zone: &TimeZone) -> String {
        self.timestamp().to_zoned_datetime(zone.0.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// RFC 3339 in UTC with milliseconds, as the contract writes it.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.timestamp())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no RFC 3339 time such as 2026-11-24T05:12:31.250Z")]
pub struct WallError(String);

impl FromStr for Wall {
    type Err = WallError;

    fn from_str(text: &str) -> Result<Self, WallError> {
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| WallError(text.to_owned()))?;
        Ok(Self(timestamp.as_millisecond()))
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What a wall-clock label is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeQuality {
    Ntp,
    Modem,
    Rtc,
    /// Not before the last time saved on disk.
    Floor,
    None,
}

impl TimeQuality {
    pub const ALL: [Self; 5] = [Self::Ntp, Self::Modem, Self::Rtc, Self::Floor, Self::None];

    /// The contract's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ntp => "ntp",
            Self::Modem => "modem",
            Self::Rtc => "rtc",
            Self::Floor => "floor",
            Self::None => "none",
        }
    }

    /// Whether the clock was set by something that knows the time.
    #[must_use]
    pub const fn is_trusted(self) -> bool {
        !matches!(self, Self::Floor | Self::None)
    }
}

/// One instant on both clocks, with the quality of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub mono: Mono,
    pub wall: Wall,
    pub quality: TimeQuality,
}

impl Stamp {
    /// What the wall clock showed, or will show, at another instant of the same boot, were it not set in between.
    #[must_use]
    pub fn wall_at(self, at: Mono) -> Wall {
        if at < self.mono { self.wall.before(self.mono.since(at)) } else { self.wall.after(at.since(self.mono)) }
    }
}

/// Where shells take the time from. The only thing that tests replace.
pub trait Clock: Send + Sync + 'static {
    fn mono(&self) -> Mono;
    fn stamp(&self) -> Stamp;
}

/// An IANA time zone, e.g. `Asia/Shanghai`, from the database built into the program.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone(pub(crate) jiff::tz::TimeZone);

impl TimeZone {
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// # Errors
    /// The name when the database has no such zone.
    pub fn named(name: &str) -> Result<Self, String> {
        jiff::tz::TimeZone::get(name).map(Self).map_err(|_| name.to_owned())
    }
}

/// Weekday (0 is Monday) and minute of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub weekday: u8,
    pub minute: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_writes_milliseconds_and_reads_itself() {
        let wall = Wall::from_unix_millis(1_795_497_151_250);
        assert_eq!(wall.to_string(), "2026-11-24T05:12:31.250Z");
        assert_eq!(wall.to_string().parse::<Wall>().expect("own format"), wall);
        assert_eq!(Wall::from_unix_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_date_header_is_read() {
        let wall = Wall::from_date_header("Tue, 24 Nov 2026 05:12:31 GMT").expect("a date");
        assert_eq!(wall.to_string(), "2026-11-24T05:12:31.000Z");
        assert_eq!(Wall::from_date_header("yesterday"), None);
    }

    #[test]
    fn local_time_is_that_of_the_zone() {
        let shanghai = TimeZone::named("Asia/Shanghai").expect("bundled");
        let wall: Wall = "2026-11-24T20:30:00Z".parse().expect("literal");
        assert_eq!(wall.local(&shanghai), LocalTime { weekday: 2, minute: 4 * 60 + 30 });
        assert_eq!(wall.start_of_day(&shanghai).to_string(), "2026-11-24T16:00:00.000Z");
        assert_eq!(wall.local_text(&shanghai), "2026-11-25 04:30:00");
    }

    #[test]
    fn mono_never_goes_below_zero() {
        let early = Mono::from_millis(5);
        assert_eq!(early.since(Mono::from_millis(9)), Duration::ZERO);
        assert_eq!(early - Duration::from_secs(1), Mono::ZERO);
    }
}
