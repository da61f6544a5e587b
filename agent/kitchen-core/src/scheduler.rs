//! Which waiting message is sent when: the best priority first, within it the oldest, few at once.
//! Messages, receipts, refusals and the link's state come in; `Send`, `Pause` and `SetAside` go out.
//! Never drops a message: each one waits, is outstanding, was set aside, or has left with its receipt.

mod entry;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use self::entry::{Entry, Key, State};
use crate::backoff::{SHORTEST, doubled, jittered};
use crate::outbox::{OutboxKind, Waiting};
use crate::time::{Mono, Wall};

/// Messages outstanding at once, counted among those at least as urgent as the next one.
pub const MAX_OUTSTANDING: usize = 8;
/// Bytes outstanding at once, counted likewise; a larger message goes alone.
pub const MAX_OUTSTANDING_BYTES: u64 = 128 * 1024;
/// Failures of one message, others having got through before each, after which it is set aside.
pub const SET_ASIDE_AFTER: u32 = 8;
/// Without any receipt for this long only a probe is sent.
pub const SILENCE: Duration = Duration::from_secs(600);

const LONGEST: Duration = Duration::from_secs(600);
const LONGEST_PROBE: Duration = Duration::from_secs(6 * 3600);
const NOT_TAKEN_DELAY: Duration = Duration::from_secs(1);
/// Fruitless probes of one message, after which another has a turn: a message that breaks things may be the oldest.
const PROBES_OF_ONE: u32 = 4;
/// Different messages without a receipt that prove the district silent. Before that, a message never tried in this
/// silence is sent at once: it may be one bad message that gets no receipt.
const WITNESSES: usize = 3;

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Publish it; for a clip, begin its transfer.
    Send { id: String, kind: OutboxKind, priority: u8 },
    /// Stop the transfer of this clip: the district is silent.
    Pause { id: String },
    /// Record it as set aside; it is not sent again until it is queued anew.
    SetAside { id: String, failures: u32 },
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Waiting {
        not_before: Mono,
    },
    /// Nothing admits it for now.
    Held,
    Outstanding,
    SetAside,
}

/// A message whose turn it would be.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub id: &'a str,
    pub kind: OutboxKind,
    pub priority: u8,
    pub tier: u8,
    pub bytes: u64,
    pub created: Wall,
}

#[derive(Clone, Debug)]
struct Probe {
    not_before: Mono,
    /// Fruitless probes so far: the exponent of the back-off.
    failures: u32,
    of: Option<String>,
    of_count: u32,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Scheduler {
    now: Mono,
    is_connected: bool,
    entries: BTreeMap<Key, Entry>,
    keys: HashMap<String, Key>,
    set_aside: HashSet<String>,
    receipts: u64,
    /// Connected time without a receipt before the present connection.
    silent_before: Duration,
    silent_since: Option<Mono>,
    /// Messages outstanding since the last receipt, at most as many as are needed as witnesses.
    tried: HashSet<String>,
    probe: Option<Probe>,
    outputs: VecDeque<Output>,
    random: fastrand::Rng,
}

impl Scheduler {
    /// `seed` spreads the back-off of many boxes.
    #[must_use]
    pub fn new(seed: u64, now: Mono) -> Self {
        Self {
            now,
            is_connected: false,
            entries: BTreeMap::new(),
            keys: HashMap::new(),
            set_aside: HashSet::new(),
            receipts: 0,
            silent_before: Duration::ZERO,
            silent_since: None,
            tried: HashSet::new(),
            probe: None,
            outputs: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The outbox as it is now. `complete`: the list is the whole outbox, so what is absent has left it
    /// (expired, dropped by hand) and is forgotten here too.
    pub fn handle_waiting(&mut self, list: &[Waiting], complete: bool, now: Mono) {
        self.now = now;
        for waiting in list {
            if self.keys.contains_key(&waiting.id) || self.set_aside.contains(&waiting.id) {
                continue;
            }
            let key = Key::new(waiting);
            let entry = Entry::new(waiting, self.receipts, now);
            self.keys.insert(waiting.id.clone(), key.clone());
            self.entries.insert(key, entry);
        }
        if complete {
            let present: HashSet<&str> = list.iter().map(|waiting| waiting.id.as_str()).collect();
            let gone: Vec<String> = self.keys.keys().filter(|id| !present.contains(id.as_str())).cloned().collect();
            for id in gone {
                self.handle_gone(&id, now);
            }
            self.set_aside.retain(|id| present.contains(id.as_str()));
        }
    }

    /// The outbox no longer has this message.
    pub fn handle_gone(&mut self, id: &str, now: Mono) {
        self.now = now;
        if self.remove(id).is_some_and(|entry| entry.is_clip() && entry.is_outstanding()) {
            self.outputs.push_back(Output::Pause { id: id.to_owned() });
        }
    }

    /// The link is up. Without the broker's session everything that was under way counts as lost.
    pub fn handle_connected(&mut self, session_present: bool, now: Mono) {
        self.now = now;
        self.is_connected = true;
        for entry in self.entries.values_mut() {
            if let State::Transmitted { resend_at } = &mut entry.state {
                if session_present {
                    // Its receipt may be queued at the broker.
                    *resend_at = (*resend_at).max(now + SHORTEST);
                } else {
                    entry.state = State::Waiting { not_before: now };
                }
            }
        }
        if let Some(probe) = &mut self.probe
            && !session_present
        {
            probe.not_before = now;
        }
        if self.any_outstanding() {
            self.silent_since = Some(now);
        }
    }

    /// The link is down. What the broker had not confirmed is sent again at once, the second time with a delay.
    pub fn handle_disconnected(&mut self, now: Mono) {
        self.now = now;
        self.is_connected = false;
        if let Some(since) = self.silent_since.take() {
            self.silent_before += now.since(since);
        }
        let cut_off: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Sent || (entry.is_clip() && entry.is_outstanding()))
            .map(|(key, _)| key.clone())
            .collect();
        for key in cut_off {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.was_cut_off {
                self.fail(&key, true);
            } else {
                entry.was_cut_off = true;
                entry.state = State::Waiting { not_before: now };
            }
        }
    }

    /// The broker has confirmed the message: the wait for the district's receipt begins.
    pub fn handle_transmitted(&mut self, id: &str, now: Mono) {
        self.now = now;
        let Some(key) = self.keys.get(id).cloned() else { return };
        let delay = self.resend_delay(&key);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.state == State::Sent && !entry.is_clip() {
            entry.state = State::Transmitted { resend_at: now + delay };
        }
    }

    /// The broker refused it, it is larger than the broker takes, or its transfer came to nothing.
    pub fn handle_refused(&mut self, id: &str, now: Mono) {
        self.now = now;
        if let Some(key) = self.keys.get(id).cloned() {
            self.fail(&key, true);
        }
    }

    /// What was not admitted is asked about again.
    pub fn handle_released(&mut self, now: Mono) {
        self.now = now;
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Held) {
            entry.state = State::Waiting { not_before: now };
        }
    }

    /// Its transfer was stopped since nothing admits it any more: no failure of the clip.
    pub fn handle_held(&mut self, id: &str, now: Mono) {
        self.now = now;
        if let Some(entry) = self.keys.get(id).and_then(|key| self.entries.get_mut(key)) {
            entry.state = State::Held;
        }
    }

    /// The link had no room for it: no failure of the message.
    pub fn handle_not_taken(&mut self, id: &str, now: Mono) {
        self.now = now;
        if let Some(entry) = self.keys.get(id).and_then(|key| self.entries.get_mut(key)) {
            entry.state = State::Waiting { not_before: now + NOT_TAKEN_DELAY };
        }
    }

    /// The district has stored it. Also a repeated or unknown receipt shows that the district listens.
    pub fn handle_receipt(&mut self, id: &str, now: Mono) {
        self.now = now;
        if self.remove(id).is_some() {
            self.receipts += 1;
        }
        self.set_aside.remove(id);
        self.hear_district();
    }

    /// The district spoke, though not of a message that is known here.
    pub fn handle_heard(&mut self, now: Mono) {
        self.now = now;
        self.hear_district();
    }

    /// The district answered about a clip that goes on.
    pub fn handle_answer(&mut self, id: &str, now: Mono) {
        self.now = now;
        if let Some(entry) = self.keys.get(id).and_then(|key| self.entries.get_mut(key))
            && entry.is_outstanding()
        {
            entry.state = State::Sent;
        }
        self.hear_district();
    }

    /// The district has more of the clip than before: its failures are forgotten.
    pub fn handle_progress(&mut self, id: &str, now: Mono) {
        self.now = now;
        if let Some(entry) = self.keys.get(id).and_then(|key| self.entries.get_mut(key)) {
            entry.failures = 0;
            entry.failures_alone = 0;
            entry.was_cut_off = false;
        }
    }

    /// Messages known here, those set aside not counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Receipts that did not come in time, and the beginning of silence.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.now = now;
        if !self.is_connected {
            return;
        }
        let late: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| matches!(entry.state, State::Transmitted { resend_at } if resend_at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            if self.entries.get(&key).is_some_and(Entry::is_clip) {
                self.outputs.push_back(Output::Pause { id: key.id.clone() });
            }
            self.fail(&key, false);
        }
        if self.probe.is_none() && self.silence_ends().is_some_and(|end| end <= now) {
            self.begin_probing();
        }
    }

    /// When `handle_timeout` is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        if !self.is_connected {
            return None;
        }
        let entries = self.entries.values().filter_map(|entry| match entry.state {
            State::Waiting { not_before } => (not_before > self.now).then_some(not_before),
            State::Transmitted { resend_at } => Some(resend_at),
            State::Sent | State::Held => None,
        });
        let silence = if self.probe.is_none() { self.silence_ends() } else { None };
        let probe = self.probe.as_ref().map(|probe| probe.not_before).filter(|at| *at > self.now);
        entries.chain(silence).chain(probe).min()
    }

    /// The next thing to do; call until `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.poll_admitted(|_| true)
    }

    /// As [`Self::poll_output`]; what `admit` refuses is held until [`Self::handle_released`], and holds nothing up.
    pub fn poll_admitted(&mut self, mut admit: impl FnMut(Candidate<'_>) -> bool) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if !self.is_connected {
            return None;
        }
        self.hold(&mut admit);
        let key = if self.probe.is_some() { self.pick_probe() } else { self.pick() }?;
        let is_probe = self.probe.is_some();
        let resend_at = self.now + self.resend_delay(&key);
        let entry = self.entries.get_mut(&key)?;
        // A clip that probes has a limit, since no single confirmation ends it.
        entry.state = if is_probe && entry.is_clip() { State::Transmitted { resend_at } } else { State::Sent };
        let (kind, priority) = (entry.kind, key.priority);
        self.silent_since.get_or_insert(self.now);
        if self.tried.len() < WITNESSES {
            self.tried.insert(key.id.clone());
        }
        Some(Output::Send { id: key.id, kind, priority })
    }

    /// Whether a message of that priority, or of a better one, waits or is outstanding, and is not held.
    #[must_use]
    pub fn waits_for(&self, priority: u8) -> bool {
        self.entries.iter().any(|(key, entry)| key.priority <= priority && entry.state != State::Held)
    }

    /// Whether something more urgent than a clip's next chunk wants the link now.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.probe.is_none()
            && self
                .entries
                .values()
                .any(|entry| !entry.is_clip() && (entry.state == State::Sent || entry.is_eligible(self.now)))
    }

    /// Whether only a probe is sent because the district is silent.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Where the message is, `None` when it is not known (any more).
    #[must_use]
    pub fn place(&self, id: &str) -> Option<Place> {
        if self.set_aside.contains(id) {
            return Some(Place::SetAside);
        }
        let entry = self.entries.get(self.keys.get(id)?)?;
        Some(match entry.state {
            State::Waiting { not_before } => Place::Waiting { not_before },
            State::Held => Place::Held,
            State::Sent | State::Transmitted { .. } => Place::Outstanding,
        })
    }

    /// Holds what is not admitted, up to the first that is.
    fn hold(&mut self, admit: &mut impl FnMut(Candidate<'_>) -> bool) {
        let now = self.now;
        for (key, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.is_eligible(now)) {
            let candidate = Candidate {
                id: &key.id,
                kind: entry.kind,
                priority: key.priority,
                tier: entry.tier,
                bytes: entry.bytes,
                created: entry.created,
            };
            if admit(candidate) {
                return;
            }
            entry.state = State::Held;
        }
    }

    fn pick(&self) -> Option<Key> {
        let (key, entry) = self.entries.iter().find(|(_, entry)| entry.is_eligible(self.now))?;
        self.has_room(key, entry).then(|| key.clone())
    }

    fn has_room(&self, key: &Key, entry: &Entry) -> bool {
        let mut outstanding = self.entries.iter().filter(|(_, other)| other.is_outstanding());
        if entry.is_clip() {
            return !outstanding.any(|(_, other)| other.is_clip());
        }
        let (count, bytes) = outstanding
            .filter(|(other, other_entry)| other.priority <= key.priority && !other_entry.is_clip())
            .fold((0, 0), |(count, bytes), (_, other)| (count + 1, bytes + other.bytes));
        count == 0 || (count < MAX_OUTSTANDING && bytes + entry.bytes <= MAX_OUTSTANDING_BYTES)
    }

    fn pick_probe(&mut self) -> Option<Key> {
        let now = self.now;
        if self.tried.len() < WITNESSES {
            let untried =
                self.entries.iter().find(|(key, entry)| entry.is_eligible(now) && !self.tried.contains(&key.id));
            if let Some((key, _)) = untried.filter(|(key, entry)| self.has_room(key, entry)) {
                return Some(key.clone());
            }
        }
        if self.any_outstanding() {
            return None;
        }
        let probe = self.probe.as_mut().filter(|probe| probe.not_before <= now)?;
        let mut keys = self.entries.iter().filter(|(_, entry)| entry.state != State::Held).map(|(key, _)| key);
        let first = keys.next()?;
        let is_worn_out = probe.of.as_ref() == Some(&first.id) && probe.of_count >= PROBES_OF_ONE;
        let key = if is_worn_out { keys.next().unwrap_or(first) } else { first }.clone();
        if !self.entries.get(&key)?.is_eligible(now) {
            return None;
        }
        probe.of_count = if probe.of.as_ref() == Some(&key.id) { probe.of_count + 1 } else { 1 };
        probe.of = Some(key.id.clone());
        Some(key)
    }

    fn begin_probing(&mut self) {
        for (key, entry) in &mut self.entries {
            if entry.is_outstanding() {
                if entry.is_clip() {
                    self.outputs.push_back(Output::Pause { id: key.id.clone() });
                }
                entry.state = State::Waiting { not_before: self.now };
            }
        }
        let not_before = self.now + jittered(&mut self.random, LONGEST);
        self.probe = Some(Probe { not_before, failures: 0, of: None, of_count: 0 });
    }

    /// Full jitter: anything from the shortest delay to a ceiling that doubles.
    fn resend_delay(&mut self, key: &Key) -> Duration {
        let ceiling = if let Some(probe) = &self.probe {
            doubled(LONGEST, probe.failures).min(LONGEST_PROBE)
        } else {
            let failures = self.entries.get(key).map_or(0, |entry| entry.failures);
            doubled(SHORTEST, failures.saturating_add(1)).min(LONGEST)
        };
        jittered(&mut self.random, ceiling)
    }

    /// One more failure of a message. `delayed`: its back-off begins now, else it has been waited for already.
    fn fail(&mut self, key: &Key, delayed: bool) {
        let delay = if delayed { self.resend_delay(key) } else { Duration::ZERO };
        let receipts = self.receipts;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if receipts > entry.receipts_seen {
            entry.failures_alone += 1;
        }
        entry.receipts_seen = receipts;
        entry.failures = entry.failures.saturating_add(1);
        entry.state = State::Waiting { not_before: self.now + delay };
        let failures = entry.failures;
        if let Some(probe) = &mut self.probe {
            probe.failures = probe.failures.saturating_add(1);
            probe.not_before = self.now + delay;
        }
        if entry.failures_alone >= SET_ASIDE_AFTER {
            self.remove(&key.id);
            self.set_aside.insert(key.id.clone());
            self.outputs.push_back(Output::SetAside { id: key.id.clone(), failures });
        }
    }

    fn hear_district(&mut self) {
        let outstanding = self.entries.iter().filter(|(_, entry)| entry.is_outstanding());
        self.tried = outstanding.take(WITNESSES).map(|(key, _)| key.id.clone()).collect();
        self.silent_before = Duration::ZERO;
        self.silent_since = (self.is_connected && self.any_outstanding()).then_some(self.now);
        if self.probe.take().is_some() {
            for entry in self.entries.values_mut() {
                if let State::Waiting { not_before } = &mut entry.state {
                    *not_before = self.now.min(*not_before);
                }
            }
        }
    }

    fn silence_ends(&self) -> Option<Mono> {
        Some(self.silent_since? + SILENCE.saturating_sub(self.silent_before))
    }

    fn any_outstanding(&self) -> bool {
        self.entries.values().any(Entry::is_outstanding)
    }

    fn remove(&mut self, id: &str) -> Option<Entry> {
        let key = self.keys.remove(id)?;
        let entry = self.entries.remove(&key);
        if self.entries.is_empty() {
            self.silent_since = None;
            self.silent_before = Duration::ZERO;
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    fn waiting(sequence: u64, kind: OutboxKind, tier: u8, bytes: u64) -> Waiting {
        Waiting {
            id: format!("k7f3qa.1.{sequence}"),
            kind,
            priority: kind.priority(tier),
            tier,
            bytes,
            created: Wall::from_unix_millis(0),
            attempts: 0,
            sent: None,
            clip: None,
        }
    }

    fn connected(list: &[Waiting]) -> Scheduler {
        let mut scheduler = Scheduler::new(7, at(0));
        scheduler.handle_waiting(list, true, at(0));
        scheduler.handle_connected(true, at(0));
        scheduler
    }

    fn sequence_of(id: &str) -> u64 {
        id.rsplit('.').next().expect("an id has parts").parse().expect("a number")
    }

    fn sent(scheduler: &mut Scheduler) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(output) = scheduler.poll_output() {
            if let Output::Send { id, .. } = output {
                sent.push(sequence_of(&id));
            }
        }
        sent
    }

    /// Confirms at once whatever is sent, until `end`; answers how often something was sent.
    fn run_silent(scheduler: &mut Scheduler, end: Mono) -> Vec<(u64, u64)> {
        let mut log = Vec::new();
        let mut now = scheduler.now;
        loop {
            for sequence in sent(scheduler) {
                log.push((now.as_millis() / 1000, sequence));
                scheduler.handle_transmitted(&format!("k7f3qa.1.{sequence}"), now);
            }
            match scheduler.poll_timeout() {
                Some(next) if next <= end => now = next,
                _ => return log,
            }
            scheduler.handle_timeout(now);
        }
    }

    #[test]
    fn priority_goes_before_age_and_age_is_a_number() {
        let mut scheduler = connected(&[
            waiting(1, OutboxKind::Snapshot, 1, 100),
            waiting(10, OutboxKind::Alert, 2, 100),
            waiting(9, OutboxKind::Alert, 2, 100),
            waiting(30, OutboxKind::Alert, 1, 100),
            waiting(5, OutboxKind::Clip, 1, 100),
        ]);
        assert_eq!(sent(&mut scheduler), [30, 9, 10, 1, 5]);
    }

    #[test]
    fn few_are_outstanding_and_a_grave_alert_does_not_wait_behind_pictures() {
        let pictures: Vec<_> = (0..20).map(|n| waiting(n, OutboxKind::Snapshot, 2, 40_000)).collect();
        let mut scheduler = connected(&pictures);
        assert_eq!(sent(&mut scheduler), [0, 1, 2], "128 KiB of pictures");
        scheduler.handle_waiting(&[waiting(50, OutboxKind::Alert, 1, 1_000)], false, at(1));
        assert_eq!(sent(&mut scheduler), [50]);

        let alerts: Vec<_> = (0..20).map(|n| waiting(n, OutboxKind::Alert, 1, 1_000)).collect();
        let mut scheduler = connected(&alerts);
        assert_eq!(sent(&mut scheduler).len(), MAX_OUTSTANDING);
        scheduler.handle_receipt("k7f3qa.1.0", at(1));
        assert_eq!(sent(&mut scheduler), [8]);
        let mut scheduler = connected(&[waiting(1, OutboxKind::Snapshot, 1, 500_000)]);
        assert_eq!(sent(&mut scheduler), [1], "a larger message goes alone");
    }

    #[test]
    fn a_message_is_sent_again_with_growing_delays_until_its_receipt() {
        let mut scheduler = connected(&[waiting(1, OutboxKind::Alert, 1, 100)]);
        let times: Vec<u64> = run_silent(&mut scheduler, at(590)).into_iter().map(|(time, _)| time).collect();
        assert_eq!(times[0], 0);
        assert!((5..=10).contains(&times[1]), "{times:?}");
        assert!((4..40).contains(&times.len()), "{times:?}");
        scheduler.handle_receipt("k7f3qa.1.1", at(591));
        assert_eq!((scheduler.place("k7f3qa.1.1"), scheduler.poll_timeout()), (None, None));
    }

    #[test]
    fn a_message_is_not_sent_again_while_the_broker_has_not_confirmed_it() {
        let mut scheduler = connected(&[waiting(1, OutboxKind::Snapshot, 1, 40_000)]);
        assert_eq!(sent(&mut scheduler), [1]);
        scheduler.handle_timeout(at(60));
        assert_eq!(sent(&mut scheduler), [0_u64; 0]);
    }

    #[test]
    fn a_silent_district_gets_one_probe_at_a_time_and_its_first_receipt_opens_the_rest() {
        let list: Vec<_> = (0..30).map(|n| waiting(n, OutboxKind::Alert, 2, 500)).collect();
        let mut scheduler = connected(&list);
        run_silent(&mut scheduler, at(599));
        assert!(!scheduler.is_probing());
        let log = run_silent(&mut scheduler, at(600 + 86_400));
        assert!(scheduler.is_probing());
        let probes: Vec<_> = log.into_iter().filter(|(time, _)| *time > 600).collect();
        assert!((4..40).contains(&probes.len()), "{probes:?}");
        assert!(probes[..4].iter().all(|(_, sequence)| *sequence == 0), "{probes:?}");
        assert!(list.iter().all(|one| scheduler.place(&one.id) != Some(Place::SetAside)), "silence sets nothing aside");

        scheduler.handle_receipt("k7f3qa.1.0", at(90_000));
        assert!(!scheduler.is_probing());
        assert!(sent(&mut scheduler).len() >= MAX_OUTSTANDING - 1, "one may be outstanding as a probe");
    }

    #[test]
    fn a_message_that_alone_fails_eight_times_is_set_aside_and_holds_nothing_up() {
        let mut scheduler = connected(&[waiting(1, OutboxKind::Alert, 1, 100)]);
        let mut now = 0;
        let mut refused = 0;
        for other in 2..20 {
            now += 700;
            scheduler.handle_waiting(&[waiting(other, OutboxKind::Alert, 2, 100)], false, at(now));
            scheduler.handle_timeout(at(now));
            assert!(sent(&mut scheduler).contains(&other), "{other} is held up");
            scheduler.handle_receipt(&format!("k7f3qa.1.{other}"), at(now));
            sent(&mut scheduler);
            scheduler.handle_refused("k7f3qa.1.1", at(now));
            refused += 1;
            if scheduler.place("k7f3qa.1.1") == Some(Place::SetAside) {
                break;
            }
        }
        assert_eq!(refused, SET_ASIDE_AFTER);
        let id = "k7f3qa.1.1".to_owned();
        assert_eq!(scheduler.poll_output(), Some(Output::SetAside { id: id.clone(), failures: 8 }));
        assert_eq!(scheduler.place(&id), Some(Place::SetAside));
        // Queued anew by hand: first gone from the list, then back.
        scheduler.handle_waiting(&[], true, at(now + 1));
        scheduler.handle_waiting(&[waiting(1, OutboxKind::Alert, 1, 100)], true, at(now + 2));
        assert_eq!(sent(&mut scheduler), [1]);
    }

    #[test]
    fn one_message_without_receipt_does_not_hold_up_the_next() {
        let mut scheduler = connected(&[waiting(1, OutboxKind::Alert, 1, 100)]);
        run_silent(&mut scheduler, at(20_000));
        assert!(scheduler.is_probing());
        scheduler.handle_waiting(&[waiting(2, OutboxKind::Alert, 1, 100)], false, at(20_001));
        assert_eq!(sent(&mut scheduler), [2]);
        scheduler.handle_receipt("k7f3qa.1.2", at(20_002));
        assert!(!scheduler.is_probing());
    }

    #[test]
    fn a_cut_link_sends_the_unconfirmed_again_at_once_and_a_lost_session_all() {
        let mut scheduler = connected(&[waiting(1, OutboxKind::Alert, 1, 100), waiting(2, OutboxKind::Alert, 1, 100)]);
        assert_eq!(sent(&mut scheduler), [1, 2]);
        scheduler.handle_transmitted("k7f3qa.1.1", at(1));
        scheduler.handle_disconnected(at(2));
        assert_eq!(sent(&mut scheduler), [0_u64; 0]);
        scheduler.handle_connected(true, at(3));
        assert_eq!(sent(&mut scheduler), [2], "the receipt of the first may still come");
        scheduler.handle_disconnected(at(4));
        scheduler.handle_connected(false, at(5));
        assert_eq!(sent(&mut scheduler), [1], "cut off twice: delayed");
        scheduler.handle_timeout(at(20));
        assert_eq!(sent(&mut scheduler), [2]);
    }

    #[test]
    fn what_is_not_admitted_waits_without_failing_and_holds_nothing_up() {
        let mut scheduler =
            connected(&[waiting(1, OutboxKind::Snapshot, 1, 40_000), waiting(2, OutboxKind::Clip, 1, 700_000)]);
        let mut asked = Vec::new();
        let only_clips = |candidate: Candidate<'_>| candidate.kind == OutboxKind::Clip;
        while let Some(Output::Send { id, .. }) = scheduler.poll_admitted(only_clips) {
            asked.push(sequence_of(&id));
        }
        assert_eq!(asked, [2]);
        assert_eq!(scheduler.place("k7f3qa.1.1"), Some(Place::Held));
        scheduler.handle_receipt("k7f3qa.1.2", at(1));
        assert_eq!((scheduler.poll_timeout(), sent(&mut scheduler)), (None, Vec::new()), "asked once only");
        scheduler.handle_timeout(at(2_000));
        assert!(!scheduler.is_probing(), "what was never sent proves no silence");
        scheduler.handle_released(at(2_001));
        assert_eq!(sent(&mut scheduler), [1]);
    }

    #[test]
    fn of_clips_the_later_and_the_smaller_ones_go_first() {
        let clip = |sequence, hours: i64, bytes| Waiting {
            created: Wall::from_unix_millis(1_795_000_000_000 + hours * 3_600_000),
            ..waiting(sequence, OutboxKind::Clip, 1, bytes)
        };
        let mut scheduler =
            connected(&[clip(1, 0, 700_000), clip(2, 10, 700_000), clip(3, 10, 300_000), clip(4, 0, 300_000)]);
        let mut order = Vec::new();
        while let [sequence] = sent(&mut scheduler)[..] {
            scheduler.handle_receipt(&format!("k7f3qa.1.{sequence}"), at(1));
            order.push(sequence);
        }
        assert_eq!(order, [3, 4, 2, 1]);
    }

    #[test]
    fn one_clip_runs_at_a_time_and_is_paused_by_silence() {
        let mut scheduler = connected(&[waiting(1, OutboxKind::Clip, 1, 700_000)]);
        assert_eq!(sent(&mut scheduler), [1]);
        assert!(!scheduler.is_urgent());
        scheduler.handle_waiting(&[waiting(3, OutboxKind::Alert, 1, 100)], false, at(5));
        assert!(scheduler.is_urgent());
        assert_eq!(sent(&mut scheduler), [3]);
        scheduler.handle_receipt("k7f3qa.1.3", at(6));
        scheduler.handle_timeout(at(606));
        assert_eq!(scheduler.poll_output(), Some(Output::Pause { id: "k7f3qa.1.1".into() }));
        assert!(scheduler.is_probing());
        // The probe is the clip's `init`; an answer to it opens the rest.
        scheduler.handle_timeout(at(606 + 600));
        assert_eq!(sent(&mut scheduler), [1]);
        scheduler.handle_answer("k7f3qa.1.1", at(1_207));
        assert!(!scheduler.is_probing());
        scheduler.handle_waiting(&[waiting(2, OutboxKind::Clip, 1, 700_000)], false, at(1_208));
        assert_eq!(sent(&mut scheduler), [0_u64; 0]);
        scheduler.handle_receipt("k7f3qa.1.1", at(1_300));
        assert_eq!(sent(&mut scheduler), [2]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8, u32),
        Receipt(u8),
        Transmitted(u8),
        Refused(u8),
        NotTaken(u8),
        Link(bool, bool),
        Pass(u32),
        Poll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..5, 1_u32..200_000).prop_map(|(kind, bytes)| Step::Add(kind, bytes)),
            any::<u8>().prop_map(Step::Receipt),
            any::<u8>().prop_map(Step::Transmitted),
            any::<u8>().prop_map(Step::Refused),
            any::<u8>().prop_map(Step::NotTaken),
            any::<(bool, bool)>().prop_map(|(up, session)| Step::Link(up, session)),
            (0_u32..2_000_000).prop_map(Step::Pass),
            Just(Step::Poll),
        ]
    }

    proptest! {
        /// Whatever happens: each message is somewhere, little is outstanding, priority is respected,
        /// and once the district answers all that was not set aside gets through.
        #[test]
        fn nothing_is_lost(seed: u64, steps in prop::collection::vec(step(), 1..200)) {
            let mut scheduler = Scheduler::new(seed, at(0));
            let mut all: Vec<Waiting> = Vec::new();
            let mut receipted = HashSet::new();
            let mut now = Mono::ZERO;
            for step in steps {
                let id = |n: u8| format!("k7f3qa.1.{}", usize::from(n) % all.len().max(1));
                match step {
                    Step::Add(kind, bytes) => {
                        let kind = OutboxKind::ALL[usize::from(kind)];
                        all.push(waiting(all.len() as u64, kind, 1 + (bytes % 2) as u8, u64::from(bytes)));
                        scheduler.handle_waiting(&all[all.len() - 1..], false, now);
                    }
                    Step::Receipt(n) => if !all.is_empty() {
                        receipted.insert(id(n));
                        scheduler.handle_receipt(&id(n), now);
                    },
                    Step::Transmitted(n) => scheduler.handle_transmitted(&id(n), now),
                    Step::Refused(n) => scheduler.handle_refused(&id(n), now),
                    Step::NotTaken(n) => scheduler.handle_not_taken(&id(n), now),
                    Step::Link(true, session) => scheduler.handle_connected(session, now),
                    Step::Link(false, _) => scheduler.handle_disconnected(now),
                    Step::Pass(ms) => {
                        now = now + Duration::from_millis(u64::from(ms));
                        scheduler.handle_timeout(now);
                    }
                    Step::Poll => while let Some(output) = scheduler.poll_output() {
                        let Output::Send { id, .. } = output else { continue };
                        let key = scheduler.keys[&id].clone();
                        if !scheduler.is_probing() {
                            let better = scheduler.entries.iter()
                                .find(|(other, entry)| **other < key && entry.is_eligible(now));
                            prop_assert!(better.is_none(), "{better:?} waits while {id} is sent");
                        }
                        prop_assert!(!receipted.contains(&id));
                    },
                }
                for one in &all {
                    prop_assert!(receipted.contains(&one.id) != scheduler.place(&one.id).is_some());
                }
                for priority in 0..7 {
                    let outstanding: Vec<_> = scheduler.entries.iter()
                        .filter(|(key, entry)| key.priority == priority && entry.is_outstanding()).collect();
                    let bytes: u64 = outstanding.iter().map(|(_, entry)| entry.bytes).sum();
                    let most = if priority >= 4 { 1 } else { MAX_OUTSTANDING };
                    prop_assert!(outstanding.len() <= most);
                    prop_assert!(outstanding.len() == 1 || bytes <= MAX_OUTSTANDING_BYTES);
                    prop_assert!(!scheduler.is_probing() || outstanding.len() <= WITNESSES);
                }
            }
            scheduler.handle_disconnected(now);
            scheduler.handle_connected(true, now);
            for _ in 0..20_000 {
                while let Some(output) = scheduler.poll_output() {
                    if let Output::Send { id, .. } = output {
                        receipted.insert(id.clone());
                        scheduler.handle_transmitted(&id, now);
                        scheduler.handle_receipt(&id, now);
                    }
                }
                let Some(next) = scheduler.poll_timeout() else { break };
                prop_assert!(next > now || scheduler.entries.is_empty(), "a timeout that has passed is polled again");
                now = next;
                scheduler.handle_timeout(now);
            }
            for one in &all {
                let place = scheduler.place(&one.id);
                prop_assert!(receipted.contains(&one.id) || place == Some(Place::SetAside), "{} {place:?}", one.id);
            }
        }
    }
}
