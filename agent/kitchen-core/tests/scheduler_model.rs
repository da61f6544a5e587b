//! The scheduler against the contract as a plain list: what may be sent, what must be by now, and what never. The
//! scheduler draws its delays, so the list knows of each message only from when to when it may be sent again.
//! `PROPTEST_CASES` for the long form.

use std::time::Duration;

use kitchen_core::outbox::{OutboxKind, Waiting};
use kitchen_core::scheduler::{
    MAX_OUTSTANDING, MAX_OUTSTANDING_BYTES, Output, Place, SET_ASIDE_AFTER, SILENCE, Scheduler,
};
use kitchen_core::time::{Mono, Wall};
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);
const LONGEST_PROBE: Duration = Duration::from_secs(6 * 3600);
/// Different messages tried in a silence before it is believed.
const WITNESSES: usize = 3;

/// What happens to the scheduler. A number picks one of the messages.
#[derive(Clone, Debug)]
enum Step {
    Add {
        kind: OutboxKind,
        tier: u8,
        bytes: u64,
    },
    Gone(usize),
    QueuedAgain(usize),
    Link {
        is_up: bool,
        session_present: bool,
    },
    Confirmed(usize),
    AllConfirmed,
    Refused(usize),
    NotTaken(usize),
    Receipt(usize),
    UnknownReceipt,
    Answer(usize),
    Progress(usize),
    /// The first sent of those outstanding is receipted, another one is refused.
    OneThroughOneRefused(usize),
    Pass(Duration),
}

struct Steps;

impl ReferenceStateMachine for Steps {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        let number = || 0_usize..1_000;
        let kind = prop::sample::select(OutboxKind::ALL.to_vec());
        let bytes = prop_oneof![3 => 100_u64..2_000, 1 => 10_000_u64..300_000];
        prop_oneof![
            6 => (kind, 1_u8..4, bytes).prop_map(|(kind, tier, bytes)| Step::Add { kind, tier, bytes }),
            1 => number().prop_map(Step::Gone),
            1 => number().prop_map(Step::QueuedAgain),
            3 => (prop::bool::weighted(0.7), any::<bool>())
                .prop_map(|(is_up, session_present)| Step::Link { is_up, session_present }),
            3 => number().prop_map(Step::Confirmed),
            3 => Just(Step::AllConfirmed),
            2 => number().prop_map(Step::Refused),
            1 => number().prop_map(Step::NotTaken),
            3 => number().prop_map(Step::Receipt),
            1 => Just(Step::UnknownReceipt),
            1 => number().prop_map(Step::Answer),
            1 => number().prop_map(Step::Progress),
            4 => number().prop_map(Step::OneThroughOneRefused),
            5 => prop_oneof![0_u64..20, 0_u64..900, 0_u64..30_000].prop_map(|s| Step::Pass(Duration::from_secs(s))),
        ]
        .boxed()
    }

    fn apply((): (), _: &Step) {}
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// May be sent from the first moment on, and surely from the second on.
    Waiting(Mono, Mono),
    /// On the link; a clip stays here.
    Sent,
    /// The broker has it; counts as lost at a moment between these.
    Confirmed(Mono, Mono),
    SetAside,
    /// Receipted, or gone from the outbox.
    Done,
}

#[derive(Clone, Debug)]
struct Message {
    waiting: Waiting,
    at: At,
    sends: u32,
    /// Refusals with another message's receipt before each, and the receipts at the last one.
    refusals_alone: u32,
    receipts_at_refusal: u64,
    receipts_at_add: u64,
    was_cut_off: bool,
    /// Sent since the last receipt of any.
    is_tried: bool,
}

impl Message {
    fn is_clip(&self) -> bool {
        self.waiting.kind == OutboxKind::Clip
    }

    fn is_outstanding(&self) -> bool {
        matches!(self.at, At::Sent | At::Confirmed(..))
    }

    fn is_known(&self) -> bool {
        self.is_outstanding() || matches!(self.at, At::Waiting(..))
    }

    fn may_be_sent(&self, now: Mono) -> bool {
        matches!(self.at, At::Waiting(from, _) if from <= now)
    }

    fn surely_eligible(&self, now: Mono) -> bool {
        matches!(self.at, At::Waiting(_, surely) if surely <= now)
    }
}

/// The scheduler and the list beside it.
struct Watched {
    scheduler: Scheduler,
    now: Mono,
    is_up: bool,
    messages: Vec<Message>,
    receipts: u64,
    /// When something last gave reason to wait: a probe may be so much later.
    stirred: Mono,
    /// Connected time since the last receipt in which there was something to send, or surely something under way.
    quiet: Duration,
    surely_quiet: Duration,
    is_probing: bool,
}

impl Watched {
    fn new() -> Self {
        let now = Mono::from_millis(0);
        let scheduler = Scheduler::new(7, now);
        Self {
            scheduler,
            now,
            is_up: false,
            messages: Vec::new(),
            receipts: 0,
            stirred: now,
            quiet: Duration::ZERO,
            surely_quiet: Duration::ZERO,
            is_probing: false,
        }
    }

    fn list(&mut self, is_complete: bool) {
        let in_outbox = self.messages.iter().filter(|message| message.is_known());
        let list: Vec<Waiting> = in_outbox.map(|message| message.waiting.clone()).collect();
        self.scheduler.handle_waiting(&list, is_complete, self.now);
    }

    fn pick(&self, number: usize, wanted: impl Fn(&Message) -> bool) -> Option<usize> {
        let fit: Vec<usize> = (0..self.messages.len()).filter(|it| wanted(&self.messages[*it])).collect();
        (!fit.is_empty()).then(|| fit[number % fit.len()])
    }

    fn id(&self, number: usize) -> String {
        self.messages[number].waiting.id.clone()
    }

    fn take(&mut self, step: &Step) {
        let now = self.now;
        match step {
            Step::Add { kind, tier, bytes } => self.add(*kind, *tier, *bytes),
            Step::Gone(number) => {
                if let Some(number) = self.pick(*number, |it| it.at != At::Done) {
                    self.messages[number].at = At::Done;
                    self.list(true);
                }
            }
            Step::QueuedAgain(number) => {
                if let Some(number) = self.pick(*number, |it| it.at == At::SetAside) {
                    self.list(true);
                    let waiting = self.messages[number].waiting.clone();
                    self.messages[number] = self.fresh(waiting);
                    self.list(true);
                }
            }
            Step::Link { is_up: true, session_present } if !self.is_up => self.connect(*session_present),
            Step::Link { is_up: false, .. } if self.is_up => self.disconnect(),
            Step::Link { .. } => {}
            Step::Confirmed(number) => {
                if let Some(number) = self.pick(*number, |it| it.at == At::Sent) {
                    self.confirm(number);
                }
            }
            Step::AllConfirmed => {
                for number in
                    (0..self.messages.len()).filter(|it| self.messages[*it].at == At::Sent).collect::<Vec<_>>()
                {
                    self.confirm(number);
                }
            }
            Step::Refused(number) => {
                if let Some(number) = self.pick(*number, |it| it.at == At::Sent) {
                    self.refuse(number);
                }
            }
            Step::NotTaken(number) => {
                if let Some(number) = self.pick(*number, |it| it.at == At::Sent && !it.is_clip()) {
                    self.scheduler.handle_not_taken(&self.id(number), now);
                    let again = now + Duration::from_secs(1);
                    self.messages[number].at = At::Waiting(again, again);
                    self.stirred = now;
                }
            }
            Step::Receipt(number) => {
                // Also one that comes again, or for what was set aside.
                if let Some(number) = self.pick(*number, |_| true) {
                    self.receipt(number);
                }
            }
            Step::UnknownReceipt => {
                self.scheduler.handle_receipt("k7f3qa.9.9", now);
                self.hear();
            }
            Step::Answer(number) => {
                if let Some(number) = self.pick(*number, |it| it.is_clip() && it.is_outstanding()) {
                    self.scheduler.handle_answer(&self.id(number), now);
                    self.messages[number].at = At::Sent;
                    self.hear();
                }
            }
            Step::Progress(number) => {
                if let Some(number) = self.pick(*number, |it| it.is_clip() && it.is_known()) {
                    self.scheduler.handle_progress(&self.id(number), now);
                    self.messages[number].refusals_alone = 0;
                    self.messages[number].was_cut_off = false;
                }
            }
            Step::OneThroughOneRefused(number) => {
                if let (Some(through), Some(refused)) =
                    (self.pick(0, Message::is_outstanding), self.pick(*number, |it| it.at == At::Sent))
                    && through != refused
                {
                    self.receipt(through);
                    self.refuse(refused);
                }
            }
            Step::Pass(duration) => self.pass(now + *duration),
        }
        self.drain();
        if !self.messages.iter().any(Message::is_known) {
            (self.quiet, self.surely_quiet) = (Duration::ZERO, Duration::ZERO);
        }
    }

    fn add(&mut self, kind: OutboxKind, tier: u8, bytes: u64) {
        let waiting = Waiting {
            id: format!("k7f3qa.1.{}", self.messages.len()),
            kind,
            priority: kind.priority(tier),
            tier,
            bytes,
            created: Wall::from_unix_millis(0),
            attempts: 0,
            sent: None,
            clip: None,
        };
        self.messages.push(self.fresh(waiting));
        self.list(false);
    }

    fn fresh(&self, waiting: Waiting) -> Message {
        Message {
            waiting,
            at: At::Waiting(self.now, self.now),
            sends: 0,
            refusals_alone: 0,
            receipts_at_refusal: self.receipts,
            receipts_at_add: self.receipts,
            was_cut_off: false,
            is_tried: false,
        }
    }

    fn connect(&mut self, session_present: bool) {
        self.is_up = true;
        self.stirred = self.now;
        self.scheduler.handle_connected(session_present, self.now);
        for message in &mut self.messages {
            if let At::Confirmed(from, to) = message.at {
                // Its receipt may be queued at the broker; without a session it is lost.
                let soon = self.now + SHORTEST;
                let kept = At::Confirmed(from.max(soon), to.max(soon));
                message.at = if session_present { kept } else { At::Waiting(self.now, self.now) };
            }
        }
    }

    fn disconnect(&mut self) {
        self.is_up = false;
        self.scheduler.handle_disconnected(self.now);
        let (now, longest) = (self.now, self.longest_wait());
        for message in self.messages.iter_mut().filter(|it| it.at == At::Sent || (it.is_clip() && it.is_outstanding()))
        {
            // At once the first time, then with a delay.
            let delays = if message.was_cut_off { (SHORTEST, longest) } else { (Duration::ZERO, Duration::ZERO) };
            message.at = At::Waiting(now + delays.0, now + delays.1);
            message.was_cut_off = true;
        }
    }

    fn confirm(&mut self, number: usize) {
        self.scheduler.handle_transmitted(&self.id(number), self.now);
        self.stirred = self.now;
        if !self.messages[number].is_clip() {
            self.messages[number].at = At::Confirmed(self.now + SHORTEST, self.now + self.longest_wait());
        }
    }

    fn refuse(&mut self, number: usize) {
        self.scheduler.handle_refused(&self.id(number), self.now);
        self.stirred = self.now;
        let (receipts, now, longest) = (self.receipts, self.now, self.longest_wait());
        let message = &mut self.messages[number];
        message.refusals_alone += u32::from(receipts > message.receipts_at_refusal);
        message.receipts_at_refusal = receipts;
        message.at = At::Waiting(now + SHORTEST, now + longest);
    }

    fn receipt(&mut self, number: usize) {
        self.scheduler.handle_receipt(&self.id(number), self.now);
        self.receipts += u64::from(self.messages[number].is_known());
        self.messages[number].at = At::Done;
        self.hear();
    }

    /// The first sign of the district opens all that waits.
    fn hear(&mut self) {
        (self.quiet, self.surely_quiet) = (Duration::ZERO, Duration::ZERO);
        self.messages.iter_mut().for_each(|it| it.is_tried = false);
        assert!(!self.scheduler.is_probing(), "the district speaks");
        if std::mem::take(&mut self.is_probing) {
            for message in &mut self.messages {
                if let At::Waiting(..) = message.at {
                    message.at = At::Waiting(self.now, self.now);
                }
            }
        }
    }

    /// Time passes as for a shell that asks when it is to come back.
    fn pass(&mut self, end: Mono) {
        let mut at_once = 0;
        loop {
            self.drain();
            let next = self.scheduler.poll_timeout().filter(|next| *next <= end);
            at_once = if next.is_some_and(|next| next <= self.now) { at_once + 1 } else { 0 };
            assert!(at_once < 3, "a moment that has passed is named again and again");
            self.advance(next.unwrap_or(end).max(self.now));
            if next.is_none() {
                return;
            }
        }
    }

    fn advance(&mut self, to: Mono) {
        let passed = to.since(self.now);
        if self.is_up && self.messages.iter().any(Message::is_known) {
            self.quiet += passed;
        }
        if self.is_up && self.messages.iter().any(Message::is_outstanding) {
            self.surely_quiet += passed;
        }
        self.now = to;
        self.scheduler.handle_timeout(to);
        let begins = self.scheduler.is_probing() && !self.is_probing;
        for message in &mut self.messages {
            let is_late = self.scheduler.place(&message.waiting.id).is_some_and(|place| place != Place::Outstanding);
            match message.at {
                At::Sent | At::Confirmed(..) if begins => message.at = At::Waiting(to, to),
                At::Confirmed(from, _) if is_late => {
                    assert!(from <= to, "given up too early: {message:?}");
                    message.at = At::Waiting(to, to);
                }
                _ => {}
            }
        }
        if begins {
            assert!(self.quiet >= SILENCE, "{:?} are no silence", self.quiet);
            (self.is_probing, self.stirred) = (true, to);
        }
    }

    fn longest_wait(&self) -> Duration {
        if self.is_probing { LONGEST_PROBE } else { LONGEST }
    }

    /// What the scheduler wants done, each judged by the list as it is then.
    fn drain(&mut self) {
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                Output::Send { id, .. } => self.see_sent(&id),
                Output::SetAside { id, failures } => self.see_set_aside(&id, failures),
                Output::Pause { id } => {
                    let longest = self.longest_wait();
                    let message = self.messages.iter_mut().find(|it| it.waiting.id == id).expect("known");
                    assert!(message.is_clip(), "{id} is no clip");
                    if message.is_outstanding() {
                        message.at = At::Waiting(self.now, self.now + longest);
                    }
                }
            }
        }
    }

    fn see_sent(&mut self, id: &str) {
        let now = self.now;
        let number = self.messages.iter().position(|it| it.waiting.id == id).expect("a message of the list");
        let message = &self.messages[number];
        assert!(self.is_up, "sent without a link");
        assert!(message.may_be_sent(now), "{now:?}: sent too early, or what is on its way or done: {message:?}");
        if self.is_probing {
            let others = self.messages.iter().filter(|it| it.is_outstanding()).count();
            assert!(others < WITNESSES, "{others} are outstanding in a silence");
            let rank = self.messages.iter().filter(|it| it.is_known() && key(it) < key(message)).count();
            assert!(rank < 2 || !message.is_tried, "no probe: {message:?}");
        } else {
            let better = self.messages.iter().find(|it| it.surely_eligible(now) && key(it) < key(message));
            assert!(better.is_none(), "{message:?} is sent while {better:?} waits");
            assert!(self.has_room(number), "no room for {message:?}");
        }
        let message = &mut self.messages[number];
        message.sends += 1;
        message.is_tried = true;
        // A probing clip has no confirmation that ends its wait.
        message.at = if self.is_probing && message.is_clip() {
            At::Confirmed(now + SHORTEST, now + LONGEST_PROBE)
        } else {
            At::Sent
        };
        self.stirred = now;
    }

    /// Few at once among those at least as urgent; one clip.
    fn has_room(&self, number: usize) -> bool {
        let message = &self.messages[number];
        let mut others = self.messages.iter().filter(|it| it.is_outstanding());
        if message.is_clip() {
            return !others.any(Message::is_clip);
        }
        let is_rival = |it: &&Message| !it.is_clip() && it.waiting.priority <= message.waiting.priority;
        let bytes: Vec<u64> = others.filter(is_rival).map(|it| it.waiting.bytes).collect();
        let sum = bytes.iter().sum::<u64>() + message.waiting.bytes;
        bytes.is_empty() || (bytes.len() < MAX_OUTSTANDING && sum <= MAX_OUTSTANDING_BYTES)
    }

    fn see_set_aside(&mut self, id: &str, failures: u32) {
        let message = self.messages.iter_mut().find(|it| it.waiting.id == id).expect("known");
        let others_through = self.receipts - message.receipts_at_add;
        assert!(message.is_known() && failures >= SET_ASIDE_AFTER && message.sends >= SET_ASIDE_AFTER, "{message:?}");
        assert!(
            others_through >= u64::from(SET_ASIDE_AFTER),
            "set aside while only {others_through} others got through"
        );
        message.at = At::SetAside;
    }

    fn check(&self) {
        let now = self.now;
        for message in &self.messages {
            let place = self.scheduler.place(&message.waiting.id);
            match message.at {
                At::Done => assert_eq!(place, None, "{message:?}"),
                // Forgotten once a whole list comes without it.
                At::SetAside => assert!(matches!(place, Some(Place::SetAside) | None), "{message:?}"),
                At::Sent => assert_eq!(place, Some(Place::Outstanding), "{message:?}"),
                At::Waiting(..) => assert!(matches!(place, Some(Place::Waiting { .. })), "{place:?} {message:?}"),
                At::Confirmed(_, to) => {
                    assert_eq!(place, Some(Place::Outstanding), "{message:?}");
                    assert!(!self.is_up || to >= now, "never sent again: {message:?}");
                }
            }
            assert!(
                message.refusals_alone < SET_ASIDE_AFTER || !message.is_known(),
                "fails alone for ever: {message:?}"
            );
        }
        assert_eq!(self.scheduler.is_probing(), self.is_probing);
        let known = self.messages.iter().filter(|it| it.is_known()).count();
        assert_eq!(self.scheduler.count(), known);
        if !self.is_up {
            return;
        }
        if self.is_probing {
            let is_stuck = known > 0 && !self.messages.iter().any(|it| it.at == At::Sent);
            // The wait for a receipt, then that for the next probe, each as long as may be.
            assert!(!is_stuck || now.since(self.stirred) <= LONGEST_PROBE * 2, "nobody is asked any more");
            return;
        }
        assert!(self.surely_quiet <= SILENCE, "{:?} without a receipt, and no silence", self.surely_quiet);
        let first = (0..self.messages.len()).filter(|it| self.messages[*it].surely_eligible(now));
        let Some(first) = first.min_by_key(|it| key(&self.messages[*it])) else { return };
        let is_sole = !self.messages.iter().any(|it| it.may_be_sent(now) && key(it) < key(&self.messages[first]));
        assert!(!is_sole || !self.has_room(first), "{:?} waits for nothing", self.messages[first]);
    }

    /// The district answers at last: everything that was not set aside gets through.
    fn finish(mut self) {
        self.take(&Step::Link { is_up: false, session_present: false });
        self.take(&Step::Link { is_up: true, session_present: false });
        for _ in 0..10_000 {
            if !self.messages.iter().any(Message::is_known) {
                return;
            }
            match self.pick(0, Message::is_outstanding) {
                Some(number) => self.receipt(number),
                None => {
                    let next = self.scheduler.poll_timeout().expect("something waits");
                    self.advance(next);
                }
            }
            self.drain();
        }
        panic!("never done: {:?}", self.messages);
    }
}

/// Priority, then age; of clips, all of one age here, the smaller ones first, by thousandths of a doubling.
fn key(message: &Message) -> (u8, i64, u64) {
    let sequence = message.waiting.id.rsplit('.').next().expect("an id").parse().expect("a number");
    let size = ((message.waiting.bytes as f64).log2() * 1000.0) as i64;
    (message.waiting.priority, if message.is_clip() { size } else { 0 }, sequence)
}

struct SchedulerTest;

impl StateMachineTest for SchedulerTest {
    type SystemUnderTest = Watched;
    type Reference = Steps;

    fn init_test((): &()) -> Watched {
        Watched::new()
    }

    fn apply(mut watched: Watched, (): &(), step: Step) -> Watched {
        watched.take(&step);
        watched.check();
        watched
    }

    fn teardown(watched: Watched, (): ()) {
        watched.finish();
    }
}

prop_state_machine! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(cases(2_000)) })]

    #[test]
    fn the_scheduler_keeps_the_contract(sequential 1..150 => SchedulerTest);
}

/// As many as `PROPTEST_CASES` says, else `few`.
fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}
