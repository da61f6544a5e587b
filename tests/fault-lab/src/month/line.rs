//! The line between box and district with the broker on it: late, cut, off for days, and a broker that confirms what it
//! then drops. Enters: what one end says and the time. Leaves: what arrives where and when.

use std::time::Duration;

use kitchen_core::time::millis;

use super::plan::Plan;
use super::receiver::{Down, Up};

/// What becomes of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    /// Confirmed and dropped: no receipt.
    Dropped,
    /// Neither confirmed nor delivered.
    Swallowed,
    ConfirmationLost,
    Twice,
    /// Confirmed at once, delivered after other things.
    Late,
}

/// The line as it is now.
#[derive(Debug)]
pub(super) struct Line {
    bits_per_second: u64,
    latency_ms: u64,
    /// Outages may overlap.
    reasons_off: u32,
    reasons_silent: u32,
    /// While silent: whether messages are stored all the same, and only the replies lack.
    pub stores_silently: bool,
    free_at: u64,
    last_arrival: u64,
    pub is_session_lost: bool,
    /// At the broker, for a district that does not listen.
    pub for_district: Vec<Up>,
    /// At the broker, for a box that is away.
    pub for_box: Vec<Down>,
    pub is_perfect: bool,
    pub outages: u64,
}

impl Line {
    pub fn new(plan: &Plan) -> Self {
        Self {
            bits_per_second: plan.bits_per_second,
            latency_ms: plan.latency_ms,
            reasons_off: 0,
            reasons_silent: 0,
            stores_silently: false,
            free_at: 0,
            last_arrival: 0,
            is_session_lost: true,
            for_district: Vec::new(),
            for_box: Vec::new(),
            is_perfect: false,
            outages: 0,
        }
    }

    pub fn is_off(&self) -> bool {
        self.reasons_off > 0
    }

    pub fn is_silent(&self) -> bool {
        self.reasons_silent > 0
    }

    pub fn switch_off(&mut self) {
        self.reasons_off += 1;
        self.outages += 1;
    }

    pub fn switch_on(&mut self) {
        self.reasons_off -= 1;
    }

    pub fn fall_silent(&mut self, stores: bool) {
        self.reasons_silent += 1;
        self.stores_silently = stores;
    }

    /// What the broker kept for the district, once nothing keeps it silent any more.
    pub fn speak(&mut self, random: &mut fastrand::Rng) -> Vec<Up> {
        self.reasons_silent -= 1;
        if self.is_silent() {
            return Vec::new();
        }
        let kept = std::mem::take(&mut self.for_district);
        if random.bool() { kept } else { Vec::new() }
    }

    /// When a message of the box is wholly at the broker.
    pub fn arrival(&mut self, length: u64, now: u64, random: &mut fastrand::Rng) -> u64 {
        self.free_at = self.free_at.max(now) + length * 8_000 / self.bits_per_second;
        self.last_arrival = self.last_arrival.max(self.free_at + self.delay(random));
        self.last_arrival
    }

    pub fn delay(&self, random: &mut fastrand::Rng) -> u64 {
        self.latency_ms + random.u64(..=self.latency_ms)
    }

    pub fn begin_connection(&mut self, now: u64) {
        (self.free_at, self.last_arrival) = (now, now);
    }

    pub fn fate(&self, random: &mut fastrand::Rng) -> Fate {
        if self.is_perfect {
            return Fate::Arrives;
        }
        match random.u16(..2_000) {
            0..20 => Fate::Dropped,
            20 => Fate::Swallowed,
            21 => Fate::ConfirmationLost,
            22..40 => Fate::Twice,
            40..60 => Fate::Late,
            _ => Fate::Arrives,
        }
    }

    /// How often a reply arrives.
    pub fn copies_of_reply(&self, random: &mut fastrand::Rng) -> usize {
        match random.u8(..100) {
            _ if self.is_perfect => 1,
            0 | 1 => 0,
            2 => 2,
            _ => 1,
        }
    }
}

/// Full jitter as after the real uplink's connections: 5 s at first, 5 min at last.
pub(super) fn reconnect_wait(failures: u32, random: &mut fastrand::Rng) -> u64 {
    let ceiling = Duration::from_secs(5).saturating_mul(2_u32.saturating_pow(failures.min(16)));
    random.u64(0..=millis(ceiling.min(Duration::from_secs(300))))
}
