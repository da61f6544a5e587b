//! A clock that can be made to run faster, so that minutes of back-off pass in seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kitchen_core::time::{Clock, Mono, Stamp, TimeQuality, Wall, millis};

/// Monotonic time by its own measure; wall time is the machine's.
#[derive(Debug)]
pub struct LabClock(Mutex<Pace>);

#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    at: Mono,
    speed: u32,
}

impl Pace {
    fn now(&self) -> Mono {
        self.at + self.since.elapsed() * self.speed
    }
}

impl Default for LabClock {
    fn default() -> Self {
        Self(Mutex::new(Pace { since: Instant::now(), at: Mono::from_millis(60_000), speed: 1 }))
    }
}

impl LabClock {
    /// From now on `speed` seconds pass in each.
    pub fn set_speed(&self, speed: u32) {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pace = Pace { since: Instant::now(), at: pace.now(), speed };
    }
}

impl Clock for LabClock {
    fn mono(&self) -> Mono {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now()
    }

    fn stamp(&self) -> Stamp {
        let since: Duration = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = Wall::from_unix_millis(i64::try_from(millis(since)).unwrap_or(i64::MAX));
        Stamp { mono: self.mono(), wall, quality: TimeQuality::Ntp }
    }
}
