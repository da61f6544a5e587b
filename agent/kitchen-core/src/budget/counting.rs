//! What the interface counted, given to the classes that caused it.
//! Readings of an interface's counters and modelled bytes by class come in; bytes by class go out. Never reads a file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TrafficClass;
use crate::time::{Mono, millis};

/// Faster than any link of a kitchen, in bytes a second: a counter that would have had to run faster was reset.
const FASTEST: u64 = 12_500_000;
/// What was modelled and is not counted within this, and twice this at most, is not awaited any more.
const PATIENCE: Duration = Duration::from_secs(60);
const HALF_32_BIT: u64 = 1 << 31;
const WHOLE_32_BIT: u64 = 1 << 32;

/// The two counters of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub received: u64,
    pub sent: u64,
}

/// How much an interface's counters went on: they wrap at 32 bits on old kernels, and begin anew with the interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceCounter {
    last: Option<(Reading, Mono)>,
}

impl InterfaceCounter {
    /// `last`: what was read before within this boot. After a boot counters begin at zero.
    #[must_use]
    pub fn new(last: Option<(Reading, Mono)>) -> Self {
        Self { last }
    }

    /// The bytes since the last reading, in both directions. Nothing for the first: what was before is not known.
    pub fn handle_reading(&mut self, reading: Reading, now: Mono) -> u64 {
        let Some((before, at)) = self.last.replace((reading, now)) else { return 0 };
        let elapsed = now.since(at);
        let received = went_on(before.received, reading.received, elapsed);
        received.saturating_add(went_on(before.sent, reading.sent, elapsed))
    }
}

fn went_on(before: u64, now: u64, elapsed: Duration) -> u64 {
    if now >= before {
        return now - before;
    }
    if (HALF_32_BIT..WHOLE_32_BIT).contains(&before) {
        let wrapped = now + (WHOLE_32_BIT - before);
        if wrapped <= FASTEST.saturating_mul(millis(elapsed) / 1000 + 1) {
            return wrapped;
        }
    }
    now
}

/// Gives counted bytes to classes. What was modelled may pass the interface a little later.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    /// Modelled since `turned_at`, and before it.
    fresh: [u64; TrafficClass::COUNT],
    stale: [u64; TrafficClass::COUNT],
    turned_at: Option<Mono>,
}

impl Attribution {
    /// The model says that so many bytes of a class are on their way.
    pub fn handle_modelled(&mut self, class: TrafficClass, bytes: u64) {
        let fresh = &mut self.fresh[class as usize];
        *fresh = fresh.saturating_add(bytes);
    }

    /// Modelled and not counted yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.stale.iter().chain(&self.fresh).fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// So many bytes were counted since the last time. What no model expected is protocol up to a tenth of what one
    /// did, and foreign beyond. What was expected for long in vain never came: a socket holds back what a slow link is to
    /// carry, while the counts of a busy one follow each other in a moment.
    pub fn handle_counted(&mut self, counted: u64, now: Mono) -> [u64; TrafficClass::COUNT] {
        let mut given = [0; TrafficClass::COUNT];
        let mut left = counted;
        for pending in [&mut self.stale, &mut self.fresh] {
            left -= share(left, pending, &mut given);
        }
        let expected: u64 = given.iter().sum();
        let protocol = left.min(expected / 10);
        given[TrafficClass::Protocol as usize] += protocol;
        given[TrafficClass::Other as usize] += left - protocol;
        if self.turned_at.is_none_or(|at| now.since(at) >= PATIENCE) {
            self.stale = std::mem::take(&mut self.fresh);
            self.turned_at = Some(now);
        }
        given
    }
}

/// Gives at most `counted` bytes to the classes that await some, in proportion; how many in all.
fn share(counted: u64, pending: &mut [u64; TrafficClass::COUNT], given: &mut [u64; TrafficClass::COUNT]) -> u64 {
    let total: u64 = pending.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes));
    let wanted = counted.min(total);
    if wanted == 0 {
        return 0;
    }
    let mut left = wanted;
    for (pending, given) in pending.iter_mut().zip(given.iter_mut()) {
        let part = u64::try_from(u128::from(*pending) * u128::from(wanted) / u128::from(total)).unwrap_or(u64::MAX);
        *pending -= part;
        *given += part;
        left -= part;
    }
    // The rest of the division, a byte or few.
    for (pending, given) in pending.iter_mut().zip(given.iter_mut()) {
        let part = left.min(*pending);
        *pending -= part;
        *given += part;
        left -= part;
    }
    wanted - left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counter(received: u64) -> InterfaceCounter {
        InterfaceCounter::new(Some((Reading { received, sent: 0 }, Mono::ZERO)))
    }

    fn after(counter: &mut InterfaceCounter, received: u64, seconds: u64) -> u64 {
        counter.handle_reading(Reading { received, sent: 0 }, Mono::from_millis(seconds * 1000))
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn counters_go_on_wrap_and_begin_anew() {
        assert_eq!(after(&mut counter(1_000), 1_500, 10), 500);
        assert_eq!(after(&mut counter(WHOLE_32_BIT - 100), 50, 10), 150, "wrapped");
        assert_eq!(after(&mut counter(3_000_000_000), 50, 10), 50, "so much can't have passed: begun anew");
        assert_eq!(after(&mut counter(1 << 40), 7, 10), 7, "begun anew");
        let mut new = InterfaceCounter::default();
        assert_eq!((after(&mut new, 5_000_000, 1), after(&mut new, 5_000_010, 2)), (0, 10));
    }

    #[test]
    fn counted_bytes_go_to_those_who_sent_them() {
        let mut attribution = Attribution::default();
        attribution.handle_modelled(TrafficClass::Clip, 9_000);
        attribution.handle_modelled(TrafficClass::Protocol, 1_000);
        assert_eq!(attribution.pending(), 10_000);
        let given = attribution.handle_counted(5_000, at(1));
        assert_eq!((given[TrafficClass::Clip as usize], given[TrafficClass::Protocol as usize]), (4_500, 500));
        let given = attribution.handle_counted(5_900, at(2));
        assert_eq!((given[TrafficClass::Clip as usize], given[TrafficClass::Protocol as usize]), (4_500, 1_000));
        assert_eq!(given[TrafficClass::Other as usize], 400, "foreign");
        assert_eq!(attribution.pending(), 0);
    }

    #[test]
    fn what_never_comes_is_not_awaited_for_ever() {
        let mut attribution = Attribution::default();
        attribution.handle_modelled(TrafficClass::Clip, 9_000);
        for second in 0..60 {
            attribution.handle_counted(0, at(second));
            assert_eq!(attribution.pending(), 9_000, "it may be on its way still");
        }
        attribution.handle_counted(0, at(60));
        assert_eq!(attribution.pending(), 0);
    }

    proptest! {
        #[test]
        fn every_counted_byte_is_given_once(steps in prop::collection::vec((0_usize..8, 0_u64..100_000, 0_u64..100_000), 1..50)) {
            let mut attribution = Attribution::default();
            for (step, (class, modelled, counted)) in steps.into_iter().enumerate() {
                attribution.handle_modelled(TrafficClass::ALL[class], modelled);
                let given = attribution.handle_counted(counted, at(10 * step as u64));
                prop_assert_eq!(given.iter().sum::<u64>(), counted);
            }
        }
    }
}
