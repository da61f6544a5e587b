//! Which of a camera's pictures are analysed: so many a second, evenly spread.

use std::time::Duration;

use crate::time::Mono;

/// Picks pictures by their time.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    interval: Duration,
    /// Share of the pictures that may be taken, 0..1.
    pace: f32,
    due: Mono,
}

impl Sampler {
    /// `per_second` is positive.
    #[must_use]
    pub fn new(per_second: f32) -> Self {
        Self { interval: Duration::from_secs_f32(1.0 / per_second.max(0.01)), pace: 1.0, due: Mono::ZERO }
    }

    /// Takes only this share of the pictures from now on.
    pub fn set_pace(&mut self, pace: f32) {
        self.pace = pace.clamp(0.01, 1.0);
    }

    /// Whether the picture of this time is to be analysed.
    pub fn take(&mut self, at: Mono) -> bool {
        let interval = self.interval.div_f32(self.pace);
        // A stamp far behind the due time means that the stream began anew.
        let restarted = self.due.since(at) > interval * 2;
        if at < self.due && !restarted {
            return false;
        }
        let next = self.due + interval;
        self.due = if next > at && !restarted { next } else { at + interval };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_a_second_of_fifteen_and_none_in_a_row_after_a_gap() {
        let mut sampler = Sampler::new(2.0);
        let taken = |sampler: &mut Sampler, from: u64, to: u64| {
            (from..to).step_by(66).filter(|&ms| sampler.take(Mono::from_millis(ms))).count()
        };
        assert_eq!(taken(&mut sampler, 0, 10_000), 20);
        assert_eq!(taken(&mut sampler, 60_000, 61_000), 2);
        assert_eq!(taken(&mut sampler, 0, 1_000), 2);
        sampler.set_pace(0.25);
        assert_eq!(taken(&mut sampler, 1_000, 11_000), 5);
    }
}
