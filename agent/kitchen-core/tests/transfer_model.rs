//! A clip between the box's end and the district's over a line that loses, repeats, reorders, delays and is cut, with
//! ends that start again: the bytes arrive as they are, and nothing goes twice that an answer said is there.
//! `PROPTEST_CASES` for the long form.

use std::time::Duration;

use kitchen_core::time::Mono;
use kitchen_core::transfer::{Chunk, FRUITLESS_ROUNDS, MAX_CHUNKS, MAX_RANGES, Output, Receiving, Transfer};
use kitchen_core::wire::{ClipReceipt, ClipReceiptState, VERSION};
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Small, so that a clip of a few kilobytes has more ranges than one answer names.
const CHUNK_BYTES: u32 = 16;

/// What happens on the line. A number picks one of the messages on their way.
#[derive(Clone, Debug)]
enum Step {
    Arrives(usize),
    ArrivesFirst,
    ArrivesAndStays(usize),
    Lost(usize),
    Confirmed(usize),
    AllConfirmed,
    Refused(usize),
    Cut,
    Connected,
    BoxRestarts,
    DistrictRestarts,
    DistrictRejects,
    Urgent(bool),
    Pass(Duration),
}

struct Line;

impl ReferenceStateMachine for Line {
    /// The clip's length.
    type State = u64;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<u64> {
        prop_oneof![1_u64..200, 1_u64..9_000].boxed()
    }

    fn transitions(_: &u64) -> BoxedStrategy<Step> {
        let number = || 0_usize..1_000;
        prop_oneof![
            6 => number().prop_map(Step::Arrives),
            24 => Just(Step::ArrivesFirst),
            2 => number().prop_map(Step::ArrivesAndStays),
            4 => number().prop_map(Step::Lost),
            10 => number().prop_map(Step::Confirmed),
            10 => Just(Step::AllConfirmed),
            1 => number().prop_map(Step::Refused),
            1 => Just(Step::Cut),
            2 => Just(Step::Connected),
            1 => Just(Step::BoxRestarts),
            1 => Just(Step::DistrictRestarts),
            1 => prop::bool::weighted(0.05).prop_map(|rejects| if rejects { Step::DistrictRejects } else { Step::Connected }),
            2 => any::<bool>().prop_map(Step::Urgent),
            8 => prop_oneof![0_u64..100, 0_u64..5_000, 0_u64..700_000].prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        ]
        .boxed()
    }

    fn apply(length: u64, _: &Step) -> u64 {
        length
    }
}

#[derive(Clone, Debug)]
enum Flying {
    Init,
    Chunk { offset: u64, length: u32 },
    Fin,
    Answer(ClipReceipt),
}

/// Both ends, the line between them, and what the district was seen to get.
struct Ends {
    length: u64,
    now: Mono,
    transfer: Transfer,
    is_up: bool,
    is_urgent: bool,
    /// `Stored`, `Rejected` or `Stuck` came; the next connection begins anew.
    ended: Option<Output>,
    flying: Vec<Flying>,
    /// Chunks that the broker has not confirmed.
    under_way: Vec<u64>,
    was_confirmed: bool,
    awaits: bool,
    /// Bytes that the last answer named and that were not sent since: a plain list, one flag for each.
    lacking: Vec<bool>,
    questions: u32,
    /// The district's disk: one place for each byte, and the ranges as it persists them.
    disk: Vec<Option<u8>>,
    received: Vec<[u64; 2]>,
    rejects: bool,
    seed: u64,
}

impl Ends {
    fn new(length: u64) -> Self {
        let now = Mono::from_millis(0);
        let places = usize::try_from(length).expect("small");
        Self {
            length,
            now,
            transfer: Transfer::new(length, CHUNK_BYTES, 1, now),
            is_up: true,
            is_urgent: false,
            ended: None,
            flying: Vec::new(),
            under_way: Vec::new(),
            was_confirmed: false,
            awaits: false,
            lacking: vec![false; places],
            questions: 0,
            disk: vec![None; places],
            received: Vec::new(),
            rejects: false,
            seed: 1,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Arrives(number) if !self.flying.is_empty() => {
                let message = self.flying.remove(number % self.flying.len());
                self.arrive(message);
            }
            Step::ArrivesFirst if !self.flying.is_empty() => {
                let message = self.flying.remove(0);
                self.arrive(message);
            }
            Step::ArrivesAndStays(number) if !self.flying.is_empty() => {
                let message = self.flying[number % self.flying.len()].clone();
                self.arrive(message);
            }
            Step::Lost(number) if !self.flying.is_empty() => drop(self.flying.remove(number % self.flying.len())),
            Step::Confirmed(number) if !self.under_way.is_empty() => self.confirm(number % self.under_way.len()),
            Step::AllConfirmed => {
                while !self.under_way.is_empty() {
                    self.confirm(0);
                }
            }
            Step::Refused(number) if !self.under_way.is_empty() => {
                let offset = self.under_way.remove(number % self.under_way.len());
                self.transfer.handle_refused(offset, self.now);
            }
            Step::Cut if self.is_up => {
                self.is_up = false;
                self.transfer.handle_disconnected(self.now);
                self.forget_round();
            }
            Step::Connected => self.connect(),
            Step::BoxRestarts => self.restart_box(),
            Step::DistrictRestarts => {
                self.received = Receiving::restore(self.length, &self.received).received().as_pairs().to_vec();
            }
            Step::DistrictRejects => self.rejects = true,
            Step::Urgent(is_urgent) => {
                self.is_urgent = *is_urgent;
                self.transfer.handle_urgency(*is_urgent, self.now);
            }
            Step::Pass(duration) => self.pass(*duration),
            _ => {}
        }
        self.drain();
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.transfer.poll_timeout().filter(|next| *next <= end) {
            assert!(self.awaits, "a timeout without a question");
            self.now = next.max(self.now);
            self.transfer.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.transfer.handle_timeout(end);
    }

    fn connect(&mut self) {
        if !self.is_up || self.ended.is_some() {
            self.is_up = true;
            if self.ended.take().is_some() {
                return self.restart_box();
            }
            self.transfer.handle_connected(self.now);
            self.forget_round();
        }
    }

    /// A new agent knows nothing of the clip's course.
    fn restart_box(&mut self) {
        self.seed += 1;
        self.transfer = Transfer::new(self.length, CHUNK_BYTES, self.seed, self.now);
        self.transfer.handle_urgency(self.is_urgent, self.now);
        (self.is_up, self.was_confirmed, self.ended, self.questions) = (true, false, None, 0);
        self.forget_round();
    }

    fn forget_round(&mut self) {
        self.under_way.clear();
        self.awaits = false;
        self.lacking.fill(false);
    }

    fn confirm(&mut self, number: usize) {
        let offset = self.under_way.remove(number);
        self.was_confirmed = true;
        self.transfer.handle_confirmed(offset, self.now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.transfer.poll_output() {
            match output {
                Output::SendInit => self.ask(Flying::Init),
                Output::SendFin => {
                    assert!(self.under_way.is_empty() && !self.lacking.contains(&true), "fin before all was sent");
                    self.ask(Flying::Fin);
                }
                Output::SendChunk { offset, length } => self.see_chunk(offset, length),
                Output::Progress => {}
                Output::Stored => {
                    self.check_clip();
                    self.end(Output::Stored);
                }
                Output::Rejected { reason } => {
                    assert!(self.rejects, "nobody rejected it");
                    self.end(Output::Rejected { reason });
                }
                Output::Stuck => {
                    assert!(self.questions >= FRUITLESS_ROUNDS, "given up after {} questions", self.questions);
                    self.end(Output::Stuck);
                }
            }
        }
    }

    fn end(&mut self, output: Output) {
        self.ended = Some(output);
        self.forget_round();
    }

    fn ask(&mut self, question: Flying) {
        assert!(self.is_up, "asked without a link");
        self.forget_round();
        (self.awaits, self.questions) = (true, self.questions + 1);
        self.flying.push(question);
    }

    fn see_chunk(&mut self, offset: u64, length: u32) {
        assert!(self.is_up && !self.awaits, "a chunk before the district's answer");
        assert!(!self.is_urgent, "a chunk while something urgent waits");
        assert!((1..=CHUNK_BYTES).contains(&length));
        let most = if self.was_confirmed { MAX_CHUNKS } else { 1 };
        assert!(self.under_way.len() < most, "{} chunks under way", self.under_way.len() + 1);
        for place in offset..offset + u64::from(length) {
            let lacks = &mut self.lacking[usize::try_from(place).expect("small")];
            assert!(std::mem::take(lacks), "byte {place} was there, or was sent already");
        }
        self.under_way.push(offset);
        self.flying.push(Flying::Chunk { offset, length });
    }

    fn arrive(&mut self, message: Flying) {
        match message {
            Flying::Init | Flying::Fin => {
                let answer = self.answer();
                self.flying.push(Flying::Answer(answer));
            }
            Flying::Chunk { offset, length } => {
                let mut receiving = Receiving::restore(self.length, &self.received);
                let places = offset..offset + u64::from(length);
                let is_there = places.clone().all(|place| self.disk[usize::try_from(place).expect("small")].is_some());
                let expected = if is_there { Chunk::Repeated } else { Chunk::New };
                assert_eq!(receiving.look_at(offset, u64::from(length)), expected);
                receiving.handle_chunk(offset, u64::from(length));
                self.received = receiving.received().as_pairs().to_vec();
                places.for_each(|place| self.disk[usize::try_from(place).expect("small")] = Some(byte(place)));
            }
            Flying::Answer(answer) if self.is_up => {
                let is_taken = self.awaits && answer.state == ClipReceiptState::Missing;
                self.transfer.handle_answer(&answer, self.now);
                if is_taken {
                    self.awaits = false;
                    for [from, to] in answer.missing {
                        (from..to).for_each(|place| self.lacking[usize::try_from(place).expect("small")] = true);
                    }
                }
            }
            Flying::Answer(_) => {}
        }
    }

    fn answer(&self) -> ClipReceipt {
        let receiving = Receiving::restore(self.length, &self.received);
        let missing = receiving.missing();
        assert_eq!(receiving.is_complete(), self.disk.iter().all(Option::is_some));
        assert!(missing.len() <= MAX_RANGES);
        for [from, to] in &missing {
            assert!((*from..*to).all(|place| self.disk[usize::try_from(place).expect("small")].is_none()));
        }
        let state = match receiving.is_complete() {
            _ if self.rejects => ClipReceiptState::Rejected,
            true => ClipReceiptState::Stored,
            false => ClipReceiptState::Missing,
        };
        ClipReceipt { v: VERSION, clip_id: "k7f3qa.1.1".to_owned(), state, missing, reason: None, sha256: None }
    }

    fn check_clip(&self) {
        for (place, held) in (0..).zip(&self.disk) {
            assert_eq!(*held, Some(byte(place)), "byte {place}");
        }
    }

    /// A line that behaves again: the clip arrives, or is rejected.
    fn finish(mut self) {
        self.flying.clear();
        self.take(&Step::Urgent(false));
        self.take(&Step::Cut);
        for _ in 0..20_000 {
            match &self.ended {
                Some(Output::Stored) => return self.check_clip(),
                Some(Output::Rejected { .. }) => return,
                _ => {}
            }
            self.take(&Step::Connected);
            if self.flying.is_empty() && self.under_way.is_empty() {
                self.take(&Step::Pass(Duration::from_secs(1)));
            }
            self.take(&Step::ArrivesFirst);
            self.take(&Step::AllConfirmed);
        }
        panic!("never arrived: {:?}", self.transfer);
    }
}

/// The clip's content.
fn byte(place: u64) -> u8 {
    u8::try_from(place % 251).expect("small")
}

struct TransferTest;

impl StateMachineTest for TransferTest {
    type SystemUnderTest = Ends;
    type Reference = Line;

    fn init_test(length: &u64) -> Ends {
        let mut ends = Ends::new(*length);
        ends.drain();
        ends
    }

    fn apply(mut ends: Ends, _: &u64, step: Step) -> Ends {
        ends.take(&step);
        ends
    }

    fn teardown(ends: Ends, _: u64) {
        ends.finish();
    }
}

prop_state_machine! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(cases(1_000)) })]

    #[test]
    fn a_clip_arrives_whatever_the_line_does(sequential 1..400 => TransferTest);
}

/// As many as `PROPTEST_CASES` says, else `few`.
fn cases(few: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}
