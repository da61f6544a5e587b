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
}
