//! Notices when the wall clock is set right: labels given before can then be mended by the offset.
//! Enters: stamps, now and then. Leaves: how far earlier labels of this boot were off. Never changes a label.

use crate::time::Stamp;

/// Clocks drift and are slewed; a smaller step is not worth a record.
const LEAST_STEP_MS: i64 = 2_000;

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub struct ClockWatch {
    before: Option<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Wall clock less uptime.
    offset_ms: i64,
    is_trusted: bool,
}

impl ClockWatch {
    /// The milliseconds to add to the labels before, when the clock was set right since the last stamp: it came to be
    /// trusted, or jumped while it was.
    pub fn handle_stamp(&mut self, now: Stamp) -> Option<i64> {
        let uptime_ms = i64::try_from(now.mono.as_millis()).unwrap_or(i64::MAX);
        let seen = Seen {
            offset_ms: now.wall.as_unix_millis().saturating_sub(uptime_ms),
            is_trusted: now.quality.is_trusted(),
        };
        let before = self.before.replace(seen)?;
        let step_ms = seen.offset_ms.saturating_sub(before.offset_ms);
        (seen.is_trusted && step_ms.abs() >= LEAST_STEP_MS).then_some(step_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::TimeQuality;
    use crate::time::{Mono, Wall};

    fn stamp(uptime_s: u64, wall_s: i64, quality: TimeQuality) -> Stamp {
        Stamp { mono: Mono::from_millis(uptime_s * 1000), wall: Wall::from_unix_millis(wall_s * 1000), quality }
    }

    #[test]
    fn labels_of_an_untrusted_clock_are_mended_once_it_is_right() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.handle_stamp(stamp(10, 1_000_000, TimeQuality::Floor)), None);
        assert_eq!(watch.handle_stamp(stamp(70, 1_000_060, TimeQuality::Floor)), None);
        assert_eq!(watch.handle_stamp(stamp(130, 1_086_520, TimeQuality::Ntp)), Some(86_400_000));
        assert_eq!(watch.handle_stamp(stamp(190, 1_086_580, TimeQuality::Ntp)), None);
    }

    #[test]
    fn a_jump_of_a_trusted_clock_is_told_and_drift_is_not() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.handle_stamp(stamp(10, 1_000_000, TimeQuality::Rtc)), None);
        assert_eq!(watch.handle_stamp(stamp(70, 1_000_061, TimeQuality::Ntp)), None);
        assert_eq!(watch.handle_stamp(stamp(130, 999_121, TimeQuality::Ntp)), Some(-1_000_000));
    }

    #[test]
    fn a_jump_to_an_untrusted_time_mends_nothing() {
        let mut watch = ClockWatch::default();
        assert_eq!(watch.handle_stamp(stamp(10, 1_000_000, TimeQuality::Ntp)), None);
        assert_eq!(watch.handle_stamp(stamp(70, 5, TimeQuality::None)), None);
    }
}
