//! How messages pass between box, broker and district of a simulated month, and how links begin and end.

use super::line::{Fate, reconnect_wait};
use super::receiver::{Down, Up};
use super::world::{Event, World};

/// A link on which the broker leaves a message unconfirmed for so long is ended.
const CONFIRM_LIMIT: u64 = 600_000;
/// The broker forgets the session of a box that was away for so long.
const SESSION_MS: u64 = 7 * 86_400_000;
const LATEST: u64 = 3_600_000;

impl World {
    pub(super) fn connect(&mut self) {
        let now = self.clock.now;
        if self.line.is_off() {
            return self.connect_later();
        }
        let is_present = !self.line.is_session_lost && now - self.disconnected_at < SESSION_MS;
        self.line.is_session_lost = false;
        self.line.begin_connection(now);
        let (number, mono) = (self.next_number(), self.clock.mono());
        let agent = self.agent_mut();
        agent.store.next_session().expect("a session");
        for _ in 0..2 {
            agent.store.next_id().expect("an id for birth and sync");
        }
        agent.begin_connection(number, mono);
        agent.connected_at = now;
        agent.scheduler.handle_connected(is_present, mono);
        let kept = std::mem::take(&mut self.line.for_box);
        for message in kept.into_iter().filter(|_| is_present) {
            let delay = self.line.delay(&mut self.random);
            self.at(now + delay, Event::AtBox(message));
        }
        self.perform_all();
        self.plan_next();
    }

    pub(super) fn connect_later(&mut self) {
        let agent = self.agent.as_mut().expect("runs");
        let wait = reconnect_wait(agent.failures, &mut self.random);
        agent.failures = agent.failures.saturating_add(1);
        self.at(self.clock.now + wait, Event::Connect { run: self.run });
    }

    /// The link ends, if there is one.
    pub(super) fn cut(&mut self) {
        let (now, mono) = (self.clock.now, self.clock.mono());
        let Some(agent) = self.agent.as_mut().filter(|agent| agent.connection.is_some()) else { return };
        agent.end_connection(mono);
        if now - agent.connected_at >= 60_000 {
            agent.failures = 0;
        }
        self.disconnected_at = now;
        self.figures.cuts += 1;
        self.connect_later();
    }

    pub(super) fn put_on_line(&mut self, number: u64, token: u64, message: Up) {
        self.figures.bytes += message.length();
        let at = self.line.arrival(message.length(), self.clock.now, &mut self.random);
        self.at(at, Event::AtBroker { number, token, message });
    }

    pub(super) fn reach_broker(&mut self, number: u64, token: u64, message: Up) {
        let is_connected = number == self.connection();
        if !is_connected && self.random.u8(..5) > 0 {
            return;
        }
        let now = self.clock.now;
        let confirmed = now + self.line.delay(&mut self.random);
        if matches!(&message, Up::Picture { id, .. } if self.poisoned.contains(id)) {
            return self.at(confirmed, Event::Confirmed { number, token, is_refused: true });
        }
        let fate = self.line.fate(&mut self.random);
        match fate {
            Fate::Swallowed | Fate::ConfirmationLost => self.at(now + CONFIRM_LIMIT, Event::LeftUnconfirmed { number }),
            _ => self.at(confirmed, Event::Confirmed { number, token, is_refused: false }),
        }
        let latest = if fate == Fate::Late { LATEST } else { 50 };
        let arrives = now + self.random.u64(5..=latest);
        match fate {
            Fate::Swallowed | Fate::Dropped => return,
            Fate::Twice => self.at(arrives + 10, Event::AtDistrict(message.clone())),
            _ => {}
        }
        self.at(arrives, Event::AtDistrict(message));
    }

    pub(super) fn reach_district(&mut self, message: Up) {
        let is_silent = self.line.is_silent();
        if is_silent && !self.line.stores_silently {
            return self.line.for_district.push(message);
        }
        let Some(reply) = self.receiver.take(message).filter(|_| !is_silent) else { return };
        for _ in 0..self.line.copies_of_reply(&mut self.random) {
            let delay = 50 + self.line.delay(&mut self.random);
            self.at(self.clock.now + delay, Event::AtBox(reply.clone()));
        }
    }

    pub(super) fn reach_box(&mut self, message: Down) {
        if self.connection() == 0 {
            return self.line.for_box.push(message);
        }
        self.take_message(message);
        self.plan_next();
    }
}
