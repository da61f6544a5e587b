//! The clocks of a simulated box, as the agent's own clock tells them: time since boot, a wall clock that starts in
//! 1970 and jumps, and what it is worth. The simulation alone knows the true time.

use std::time::Duration;

use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};

/// The true time at which a month begins; the program was built a day before.
const BEGINNING: i64 = 1_795_564_800_000;
const BUILT: i64 = BEGINNING - 86_400_000;
/// The agent starts so long after the kernel.
const START_MS: u64 = 20_000;

/// A box without a clock battery.
#[derive(Debug)]
pub(super) struct BoxClock {
    /// Milliseconds since the month began.
    pub now: u64,
    booted: u64,
    /// How far the wall clock is off.
    skew_ms: i64,
    is_synchronised: bool,
    floor: i64,
    /// Of all earlier boots.
    uptime_before_ms: u64,
}

impl BoxClock {
    pub fn new() -> Self {
        let mut clock =
            Self { now: START_MS, booted: 0, skew_ms: 0, is_synchronised: false, floor: BUILT, uptime_before_ms: 0 };
        clock.boot();
        clock
    }

    /// The kernel starts: time since boot begins anew, and the wall clock in 1970.
    pub fn boot(&mut self) {
        self.booted = self.now - START_MS;
        self.is_synchronised = false;
        self.skew_ms = -(BEGINNING + signed(self.now));
    }

    pub fn shut_down(&mut self) {
        self.uptime_before_ms += self.now - self.booted;
    }

    /// The agent starts: what an earlier one saw of the time counts no more.
    pub fn start_agent(&mut self, saved: Option<Wall>) {
        self.floor = saved.map_or(BUILT, |saved| saved.as_unix_millis().max(BUILT));
    }

    pub fn set_right(&mut self) {
        self.skew_ms = 0;
        self.is_synchronised = true;
    }

    pub fn jump(&mut self, by_ms: i64) {
        if self.is_synchronised {
            self.skew_ms += by_ms;
        }
    }

    /// By how much a label that looks right is wrong.
    pub fn error(&self) -> Duration {
        Duration::from_millis(if self.is_synchronised { self.skew_ms.unsigned_abs() } else { 0 })
    }

    pub fn mono(&self) -> Mono {
        Mono::from_millis(self.now - self.booted)
    }

    pub fn stamp(&self) -> Stamp {
        let wall = BEGINNING + signed(self.now) + self.skew_ms;
        let is_trusted = self.is_synchronised && wall >= BUILT;
        let (wall, quality) =
            if is_trusted { (wall, TimeQuality::Ntp) } else { (wall.max(self.floor), TimeQuality::Floor) };
        Stamp { mono: self.mono(), wall: Wall::from_unix_millis(wall), quality }
    }

    /// How long the box has been running in all its boots together.
    pub fn uptime(&self) -> Duration {
        Duration::from_millis(self.uptime_before_ms + self.now - self.booted)
    }

    /// This instant on the box's clock, from one of the simulation's.
    pub fn instant_of(&self, mono: Mono) -> u64 {
        self.booted + mono.as_millis()
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).expect("a month is short")
}
