//! How many alerts and clips a day may bring. Tier 1 is exempt from the count.

use crate::time::Wall;

const ALERTS: u32 = 20;
const CLIPS: u32 = 6;

/// Counts of the current local day.
#[derive(Clone, Copy, Debug)]
pub struct DailyCaps {
    day: Wall,
    alerts: u32,
    clips: u32,
    limited: bool,
}

impl DailyCaps {
    /// `day` is the instant at which the local day began; the counts are what it has brought already.
    #[must_use]
    pub const fn new(day: Wall, alerts: u32, clips: u32) -> Self {
        Self { day, alerts, clips, limited: true }
    }

    /// Caps that go on with a day begun. `raised`: for each alert its tier, the instant at which the day of its label
    /// began, and whether it has a clip. A label may lie ahead, given by a clock that was set back since.
    pub fn resumed(day: Wall, raised: impl IntoIterator<Item = (u8, Wall, bool)>) -> Self {
        let mut caps = Self::new(day, 0, 0);
        for (_, _, has_clip) in raised.into_iter().filter(|(tier, of, _)| *tier > 1 && *of == day) {
            caps.alerts += 1;
            caps.clips += u32::from(has_clip);
        }
        caps
    }

    /// Caps that never hold anything back.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { day: Wall::from_unix_millis(0), alerts: 0, clips: 0, limited: false }
    }

    /// Whether one more alert may be raised; it is counted if so.
    pub fn take_alert(&mut self, tier: u8, day: Wall) -> bool {
        self.turn(day);
        !self.limited || take(&mut self.alerts, ALERTS, tier)
    }

    /// Whether one more clip may be made; it is counted if so.
    pub fn take_clip(&mut self, tier: u8, day: Wall) -> bool {
        self.turn(day);
        !self.limited || take(&mut self.clips, CLIPS, tier)
    }

    fn turn(&mut self, day: Wall) {
        if day != self.day {
            *self = Self { day, alerts: 0, clips: 0, ..*self };
        }
    }
}

fn take(count: &mut u32, most: u32, tier: u8) -> bool {
    if tier == 1 {
        return true;
    }
    let allowed = *count < most;
    *count += u32::from(allowed);
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twenty_first_alert_of_a_day_waits_for_the_next_day_unless_it_is_grave() {
        let (monday, tuesday) = (Wall::from_unix_millis(0), Wall::from_unix_millis(86_400_000));
        let mut caps = DailyCaps::new(monday, 18, 6);
        assert!(caps.take_alert(3, monday) && caps.take_alert(2, monday));
        assert!(!caps.take_alert(2, monday));
        assert!(caps.take_alert(1, monday));
        assert!(!caps.take_clip(2, monday));
        assert!(caps.take_clip(2, tuesday) && caps.take_alert(3, tuesday));
    }

    #[test]
    fn alerts_labelled_by_a_clock_that_ran_ahead_use_no_day_up() {
        let (today, in_ten_years) = (Wall::from_unix_millis(0), Wall::from_unix_millis(3_652 * 86_400_000));
        let ahead = std::iter::repeat_n((2, in_ten_years, true), 30);
        let mut caps = DailyCaps::resumed(today, ahead.chain([(2, today, true), (1, today, true)]));
        assert!((0..19).all(|_| caps.take_alert(2, today)) && !caps.take_alert(2, today));
        assert!((0..5).all(|_| caps.take_clip(2, today)) && !caps.take_clip(2, today));
    }
}
