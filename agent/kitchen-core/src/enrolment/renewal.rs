//! When a certificate is renewed, and what follows: ask, prove the new one at the broker, keep it or take the old one
//! back. Times and outcomes come in, steps go out.

use std::time::Duration;

use crate::backoff::doubled;
use crate::time::{Mono, Stamp, Wall, millis};

/// Asked again at the latest after so long: the clock may have been set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Of the lifetime: renewal begins at two thirds, or up to a twelfth earlier, so that boxes that were enrolled together
/// don't come together, and an authority that is away for a third of it is back in time.
const SPREAD: u32 = 12;

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Wall,
    pub not_after: Wall,
}

impl Validity {
    /// Whether somebody should look why it was not renewed: at two thirds it is at the latest, and half of the rest is gone.
    #[must_use]
    pub fn is_overdue(self, now: Wall) -> bool {
        now > self.not_after.before(self.lifetime() / 6)
    }

    fn lifetime(self) -> Duration {
        let ms = self.not_after.as_unix_millis().saturating_sub(self.not_before.as_unix_millis());
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalOutput {
    /// Ask the authority for the next certificate.
    Ask,
    /// Connect with the new certificate; the old one stays.
    Prove,
    /// The new one has connected: the old one may go.
    Keep,
    /// The broker does not take the new one: connect with the old one again.
    TakeBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Asking,
    Proving,
}

/// The renewal of one box's certificate.
#[derive(Clone, Debug)]
pub struct Renewal {
    validity: Validity,
    due: Wall,
    state: State,
    failures: u32,
    /// Nothing is asked before.
    not_until: Mono,
    wake: Mono,
    random: fastrand::Rng,
    outputs: Vec<RenewalOutput>,
}

impl Renewal {
    /// For the certificate in use; `is_unproven` when it was just taken and has never connected.
    #[must_use]
    pub fn new(validity: Validity, is_unproven: bool, seed: u64, now: Stamp) -> Self {
        let mut renewal = Self {
            validity,
            due: validity.not_after,
            state: if is_unproven { State::Proving } else { State::Waiting },
            failures: 0,
            not_until: Mono::ZERO,
            wake: now.mono,
            random: fastrand::Rng::with_seed(seed),
            outputs: Vec::new(),
        };
        renewal.take(validity);
        renewal
    }

    /// When the certificate will be renewed.
    #[must_use]
    pub fn due(&self) -> Wall {
        self.due
    }

    pub fn handle_timeout(&mut self, now: Stamp) {
        let is_due = self.state == State::Waiting && now.wall >= self.due;
        if is_due && now.mono >= self.not_until {
            self.state = State::Asking;
            self.outputs.push(RenewalOutput::Ask);
        }
        let ahead = self.due.as_unix_millis().saturating_sub(now.wall.as_unix_millis());
        let ahead = Duration::from_millis(u64::try_from(ahead).unwrap_or(0)).min(LOOK_EVERY);
        self.wake = (now.mono + ahead).max(self.not_until);
    }

    /// The authority gave a new certificate, and it lies safely beside the old one.
    pub fn handle_answer(&mut self, validity: Validity) {
        if self.state == State::Asking {
            self.take(validity);
            self.state = State::Proving;
            self.outputs.push(RenewalOutput::Prove);
        }
    }

    /// The authority did not answer, or gave none.
    pub fn handle_failure(&mut self, now: Mono) {
        if self.state == State::Asking {
            self.rest(now);
        }
    }

    /// The box is connected with the certificate in use.
    pub fn handle_connected(&mut self) {
        if self.state == State::Proving {
            self.state = State::Waiting;
            self.failures = 0;
            self.outputs.push(RenewalOutput::Keep);
        }
    }

    /// The broker does not let the certificate in use in; `old` is the one before, while there is one.
    pub fn handle_refused(&mut self, old: Option<Validity>, now: Mono) {
        if self.state == State::Proving
            && let Some(old) = old
        {
            self.take(old);
            self.outputs.push(RenewalOutput::TakeBack);
            self.rest(now);
        }
    }

    /// When [`Renewal::handle_timeout`] is to be called; nothing to wait for while others are asked.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        (self.state == State::Waiting).then_some(self.wake)
    }

    pub fn poll_output(&mut self) -> Option<RenewalOutput> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    fn take(&mut self, validity: Validity) {
        let lifetime = validity.lifetime();
        let spread = self.random.u64(0..=millis(lifetime / SPREAD));
        self.validity = validity;
        self.due = validity.not_before.after(lifetime * 2 / 3 - Duration::from_millis(spread));
    }

    /// Waits longer each time, in proportion to the lifetime: of what is left a dozen tries at least fit in.
    fn rest(&mut self, now: Mono) {
        let lifetime = self.validity.lifetime();
        let shortest = (lifetime / 2000).clamp(Duration::from_secs(1), Duration::from_secs(60));
        let longest = (lifetime / 60).clamp(shortest, Duration::from_secs(86_400));
        let ceiling = doubled(shortest, self.failures + 1).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting;
        let wait = shortest + Duration::from_millis(self.random.u64(0..=millis(ceiling.saturating_sub(shortest))));
        self.not_until = now + wait;
        self.wake = self.not_until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::TimeQuality;

    const DAY: u64 = 86_400;

    #[test]
    fn a_certificate_is_overdue_when_half_of_the_time_for_its_renewal_is_gone() {
        let held = validity(0, 360);
        assert!(!held.is_overdue(stamp(299 * DAY).wall) && held.is_overdue(stamp(301 * DAY).wall));
    }

    fn stamp(seconds: u64) -> Stamp {
        Stamp {
            mono: Mono::from_millis(seconds * 1000),
            wall: Wall::from_unix_millis(i64::try_from(seconds * 1000).expect("small")),
            quality: TimeQuality::Ntp,
        }
    }

    fn validity(from: u64, days: u64) -> Validity {
        Validity { not_before: stamp(from).wall, not_after: stamp(from + days * DAY).wall }
    }

    fn outputs(renewal: &mut Renewal) -> Vec<RenewalOutput> {
        std::iter::from_fn(|| renewal.poll_output()).collect()
    }

    #[test]
    fn boxes_that_were_enrolled_together_renew_by_two_thirds_spread_over_a_twelfth() {
        let due: Vec<i64> = (0..200)
            .map(|seed| Renewal::new(validity(0, 360), false, seed, stamp(0)).due().as_unix_millis() / 1000)
            .collect();
        let (first, last) = (due.iter().min().expect("some"), due.iter().max().expect("some"));
        assert!(*first >= 210 * 86_400 && *last <= 240 * 86_400 && last - first > 25 * 86_400, "{first} {last}");
    }

    #[test]
    fn the_old_one_goes_only_when_the_new_one_has_connected() {
        let mut renewal = Renewal::new(validity(0, 360), false, 1, stamp(0));
        renewal.handle_timeout(stamp(209 * DAY));
        assert_eq!(outputs(&mut renewal), []);
        renewal.handle_timeout(stamp(271 * DAY));
        assert_eq!(outputs(&mut renewal), [RenewalOutput::Ask]);
        renewal.handle_answer(validity(271 * DAY, 360));
        assert_eq!((outputs(&mut renewal), renewal.poll_timeout()), (vec![RenewalOutput::Prove], None));
        renewal.handle_connected();
        assert_eq!(outputs(&mut renewal), [RenewalOutput::Keep]);
        renewal.handle_connected();
        renewal.handle_timeout(stamp(400 * DAY));
        assert_eq!(outputs(&mut renewal), []);
    }

    #[test]
    fn a_new_one_that_the_broker_refuses_is_taken_back_and_asked_for_again_later() {
        let mut renewal = Renewal::new(validity(0, 360), false, 1, stamp(0));
        renewal.handle_timeout(stamp(271 * DAY));
        renewal.handle_answer(validity(271 * DAY, 360));
        renewal.handle_refused(Some(validity(0, 360)), stamp(271 * DAY).mono);
        let steps = [RenewalOutput::Ask, RenewalOutput::Prove, RenewalOutput::TakeBack];
        assert_eq!(outputs(&mut renewal), steps);
        renewal.handle_timeout(stamp(271 * DAY));
        assert_eq!(outputs(&mut renewal), [], "not at once");
        let wake = renewal.poll_timeout().expect("waits");
        renewal.handle_timeout(stamp(wake.as_millis() / 1000 + 1));
        assert_eq!(outputs(&mut renewal), [RenewalOutput::Ask]);
    }

    #[test]
    fn an_authority_that_is_away_for_a_third_of_the_lifetime_left_is_asked_often_enough() {
        for days in [1, 365] {
            let mut renewal = Renewal::new(validity(0, days), false, 7, stamp(0));
            let mut now = stamp(days * DAY * 3 / 4);
            let mut asked = 0;
            while now.wall < validity(0, days).not_after {
                renewal.handle_timeout(now);
                if outputs(&mut renewal).contains(&RenewalOutput::Ask) {
                    asked += 1;
                    renewal.handle_failure(now.mono);
                }
                now = stamp(renewal.poll_timeout().expect("waits").as_millis() / 1000 + 1);
            }
            assert!((12..=500).contains(&asked), "{days} days: asked {asked} times");
        }
    }
}
