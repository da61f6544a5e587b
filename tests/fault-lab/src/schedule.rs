//! A random plan of faults and messages over a limited time; the same seed gives the same plan.

use std::time::Duration;

use crate::broker::{Action, Fault, Side};
use crate::site::Ending;

/// Faults happen within it; afterwards the broker behaves.
pub const FAULTY: Duration = Duration::from_secs(15);

const FAULTS: usize = 24;
const MESSAGES: usize = 18;
const LONGEST_DELAY_MS: u64 = 3_000;

/// What happens at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Arm(Fault),
    Cut(Side),
    Forget(Side),
    RefuseConnections(Duration),
    ReadSlowly(Side, Duration),
    Alert {
        picture_bytes: Option<usize>,
    },
    Record,
    Clip {
        bytes: usize,
    },
    /// More records at once than the uplink lists.
    Backlog,
    /// An alert whose picture the broker never takes.
    Poison,
    RestartUplink(Ending),
    RestartDistrict(Ending),
    RestartStore(Ending),
}

/// Steps in the order of their time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    pub steps: Vec<(Duration, Step)>,
}

impl Schedule {
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut steps = Vec::new();
        // The first messages and faults stand before the first connection.
        for number in 0..MESSAGES {
            let at = if number < 4 { Duration::ZERO } else { moment(&mut random) };
            steps.push((at, message(&mut random)));
        }
        steps.push((moment(&mut random) / 2, Step::Clip { bytes: random.usize(60_000..400_000) }));
        if random.bool() {
            steps.push((moment(&mut random), Step::Clip { bytes: random.usize(1_000..100_000) }));
        }
        if random.u8(..15) == 0 {
            steps.push((moment(&mut random) / 4, Step::Backlog));
        }
        if random.u8(..5) == 0 {
            steps.push((moment(&mut random) / 2, Step::Poison));
        }
        for number in 0..FAULTS {
            let at = if number < 4 { Duration::ZERO } else { moment(&mut random) };
            steps.push((at, Step::Arm(fault(&mut random))));
        }
        for _ in 0..random.usize(1..4) {
            steps.push((moment(&mut random), trouble(&mut random)));
        }
        for _ in 0..random.usize(0..3) {
            steps.push((moment(&mut random), restart(&mut random)));
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { seed, steps }
    }
}

fn moment(random: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(random.u64(..kitchen_core::time::millis(FAULTY)))
}

fn message(random: &mut fastrand::Rng) -> Step {
    match random.u8(..10) {
        0..=3 => Step::Alert { picture_bytes: None },
        4..=6 => Step::Alert { picture_bytes: Some(random.usize(1_000..40_000)) },
        _ => Step::Record,
    }
}

fn fault(random: &mut fastrand::Rng) -> Fault {
    let side = side(random);
    let all = Fault::all(side);
    let chosen = all[random.usize(..all.len())];
    let ms = random.u64(10..LONGEST_DELAY_MS);
    let action = match chosen.action {
        Action::Late { .. } => Action::Late { ms },
        Action::Stall { .. } => Action::Stall { ms },
        other => other,
    };
    Fault { action, skip: random.u8(..4), ..chosen }
}

fn side(random: &mut fastrand::Rng) -> Side {
    if random.bool() { Side::Box } else { Side::District }
}

fn trouble(random: &mut fastrand::Rng) -> Step {
    let duration = Duration::from_millis(random.u64(200..4_000));
    match random.u8(..4) {
        0 => Step::Cut(side(random)),
        1 => Step::Forget(side(random)),
        2 => Step::RefuseConnections(duration),
        _ => Step::ReadSlowly(side(random), duration),
    }
}

fn restart(random: &mut fastrand::Rng) -> Step {
    let ending = if random.bool() { Ending::InOrder } else { Ending::Abrupt };
    match random.u8(..3) {
        0 => Step::RestartUplink(ending),
        1 => Step::RestartDistrict(ending),
        _ => Step::RestartStore(ending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_plan_again_and_another_seed_another_one() {
        assert_eq!(Schedule::random(7), Schedule::random(7));
        assert_ne!(Schedule::random(7).steps, Schedule::random(8).steps);
    }
}
