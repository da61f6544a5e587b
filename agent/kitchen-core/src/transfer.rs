//! A clip in chunks: `init`, the missing chunks, `fin`, until the district has stored or rejected it.
//! [`Transfer`] is the box's end, [`Receiving`] the district's; answers, confirmations and breaks come in,
//! messages to send go out. Never starts over: what the district has is not sent again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::backoff::jittered;
use crate::time::{Mono, millis};
use crate::wire::{ClipReceipt, ClipReceiptState};

/// Chunks under way at once, at most.
pub const MAX_CHUNKS: usize = 4;
/// Ranges named in one answer; the rest is asked for after the next `fin`.
pub const MAX_RANGES: usize = 128;
/// A chunk is not made smaller when a broker refuses it for its size.
pub const SMALLEST_CHUNK: u32 = 1024;
/// Rounds of `init` or `fin` without a single new byte, after which the transfer is given up for now.
pub const FRUITLESS_ROUNDS: u32 = 8;

const WINDOW: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Disjoint byte ranges `[from, to)` in order, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<[u64; 2]>);

impl Ranges {
    /// Empty and reversed pairs are left out, overlapping ones joined.
    #[must_use]
    pub fn from_pairs(pairs: &[[u64; 2]]) -> Self {
        // Sorted first: a list in any other order would move the whole tail for each pair.
        let mut sorted: Vec<[u64; 2]> = pairs.iter().copied().filter(|[from, to]| from < to).collect();
        sorted.sort_unstable();
        let mut ranges: Vec<[u64; 2]> = Vec::new();
        for [from, to] in sorted {
            match ranges.last_mut() {
                Some(last) if from <= last[1] => last[1] = last[1].max(to),
                _ => ranges.push([from, to]),
            }
        }
        Self(ranges)
    }

    /// Adds `[from, to)`.
    pub fn insert(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        let first = self.0.partition_point(|range| range[1] < from);
        let last = self.0.partition_point(|range| range[0] <= to);
        if first < last {
            from = from.min(self.0[first][0]);
            to = to.max(self.0[last - 1][1]);
        }
        self.0.splice(first..last, [[from, to]]);
    }

    /// Whether every byte of `[from, to)` is in it.
    #[must_use]
    pub fn contains(&self, from: u64, to: u64) -> bool {
        from >= to || self.0.iter().any(|range| range[0] <= from && to <= range[1])
    }

    /// What lacks of `[0, total)`.
    #[must_use]
    pub fn missing(&self, total: u64) -> Self {
        let mut gaps = Vec::new();
        let mut from = 0;
        for range in &self.0 {
            if from < range[0].min(total) {
                gaps.push([from, range[0].min(total)]);
            }
            from = range[1];
        }
        if from < total {
            gaps.push([from, total]);
        }
        Self(gaps)
    }

    /// Bytes in all ranges.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range[1] - range[0]).sum()
    }

    #[must_use]
    pub fn as_pairs(&self) -> &[[u64; 2]] {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a chunk was to the district.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    New,
    /// Written twice changes nothing.
    Repeated,
    /// Empty, or reaches past the end: not to be written.
    OutOfBounds,
}

/// The district's end: which bytes of a clip it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiving {
    bytes: u64,
    received: Ranges,
}

impl Receiving {
    /// `received` as it was persisted; bytes past the end are forgotten.
    #[must_use]
    pub fn restore(bytes: u64, received: &[[u64; 2]]) -> Self {
        let within: Vec<[u64; 2]> = received.iter().map(|&[from, to]| [from, to.min(bytes)]).collect();
        Self { bytes, received: Ranges::from_pairs(&within) }
    }

    /// What a chunk is, before it is written.
    #[must_use]
    pub fn look_at(&self, offset: u64, length: u64) -> Chunk {
        match offset.checked_add(length) {
            Some(end) if length > 0 && end <= self.bytes => {
                if self.received.contains(offset, end) {
                    Chunk::Repeated
                } else {
                    Chunk::New
                }
            }
            _ => Chunk::OutOfBounds,
        }
    }

    /// The chunk has been written durably.
    pub fn handle_chunk(&mut self, offset: u64, length: u64) {
        if self.look_at(offset, length) == Chunk::New {
            self.received.insert(offset, offset + length);
        }
    }

    /// For the answer: the first ranges that lack.
    #[must_use]
    pub fn missing(&self) -> Vec<[u64; 2]> {
        let missing = self.received.missing(self.bytes);
        missing.as_pairs().iter().copied().take(MAX_RANGES).collect()
    }

    #[must_use]
    pub fn received(&self) -> &Ranges {
        &self.received
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.received.contains(0, self.bytes)
    }
}

/// What the box is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    SendInit,
    SendChunk {
        offset: u64,
        length: u32,
    },
    SendFin,
    /// The district has more of the clip than it had before.
    Progress,
    Stored,
    Rejected {
        reason: String,
    },
    /// Nothing new arrived for several rounds: to be tried again later.
    Stuck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be sent as soon as the link is free.
    Init,
    Fin,
    /// Sent; asked again then.
    AwaitingAnswer {
        ask_again_at: Mono,
    },
    Chunks,
    /// Cut off, or ended.
    Idle,
}

/// The box's end of one clip over one connection and the next ones.
#[derive(Debug)]
pub struct Transfer {
    bytes: u64,
    chunk_bytes: u32,
    phase: Phase,
    now: Mono,
    /// What the district lacks and is not under way.
    to_send: VecDeque<[u64; 2]>,
    under_way: BTreeMap<u64, (u32, Mono)>,
    /// Bytes a second over the last chunks; `None` before the first confirmation.
    throughput: Option<u64>,
    last_confirmed: Option<Mono>,
    least_missing: Option<u64>,
    unanswered: u32,
    fruitless: u32,
    gives_way: bool,
    outputs: VecDeque<Output>,
    random: fastrand::Rng,
}

impl Transfer {
    /// A transfer that begins with `init`. `chunk_bytes` 0 is taken as 1.
    #[must_use]
    pub fn new(bytes: u64, chunk_bytes: u32, seed: u64, now: Mono) -> Self {
        Self {
            bytes,
            chunk_bytes: chunk_bytes.max(1),
            phase: Phase::Init,
            now,
            to_send: VecDeque::new(),
            under_way: BTreeMap::new(),
            throughput: None,
            last_confirmed: None,
            least_missing: None,
            unanswered: 0,
            fruitless: 0,
            gives_way: false,
            outputs: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The link is up again: asks what lacks.
    pub fn handle_connected(&mut self, now: Mono) {
        self.now = now;
        self.begin_round();
    }

    /// The link is down: what was under way counts as lost.
    pub fn handle_disconnected(&mut self, now: Mono) {
        self.now = now;
        self.phase = Phase::Idle;
        self.under_way.clear();
        self.to_send.clear();
    }

    /// Whether more urgent messages want the link: no chunk is sent meanwhile.
    pub fn handle_urgency(&mut self, is_urgent: bool, now: Mono) {
        self.now = now;
        self.gives_way = is_urgent;
    }

    /// `down/clip/{clip_id}`.
    pub fn handle_answer(&mut self, answer: &ClipReceipt, now: Mono) {
        self.now = now;
        match answer.state {
            ClipReceiptState::Stored => self.end(Output::Stored),
            ClipReceiptState::Rejected => {
                let reason = answer.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
                self.end(Output::Rejected { reason });
            }
            // A late answer while chunks go out would only send them twice; after a break `init` is asked anew.
            ClipReceiptState::Missing if matches!(self.phase, Phase::AwaitingAnswer { .. }) => {
                self.send_missing(&answer.missing);
            }
            ClipReceiptState::Missing => {}
        }
    }

    /// The broker confirmed a chunk.
    pub fn handle_confirmed(&mut self, offset: u64, now: Mono) {
        self.now = now;
        let Some((length, sent_at)) = self.under_way.remove(&offset) else { return };
        let since = self.last_confirmed.map_or(sent_at, |last| last.max(sent_at));
        let rate = u64::from(length) * 1000 / millis(now.since(since)).max(1);
        self.throughput = Some(self.throughput.map_or(rate, |before| (before + rate) / 2));
        self.last_confirmed = Some(now);
        self.finish_if_sent();
    }

    /// The broker refused a chunk, or the link had no room: it stays missing until the next round.
    pub fn handle_refused(&mut self, offset: u64, now: Mono) {
        self.now = now;
        if self.under_way.remove(&offset).is_some() {
            self.finish_if_sent();
        }
    }

    /// The broker takes no packet as large as this chunk's: it goes again in smaller pieces, as do all that follow.
    pub fn handle_too_large(&mut self, offset: u64, now: Mono) {
        self.now = now;
        let Some((length, _)) = self.under_way.remove(&offset) else { return };
        while self.chunk_bytes >= length && self.chunk_bytes > SMALLEST_CHUNK {
            self.chunk_bytes = (self.chunk_bytes / 2).max(SMALLEST_CHUNK);
        }
        if length > self.chunk_bytes {
            self.to_send.push_front([offset, offset + u64::from(length)]);
        } else {
            self.finish_if_sent();
        }
    }

    /// An answer that did not come.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.now = now;
        if matches!(self.phase, Phase::AwaitingAnswer { ask_again_at } if ask_again_at <= now) {
            self.unanswered += 1;
            if self.unanswered >= FRUITLESS_ROUNDS {
                self.end(Output::Stuck);
            } else {
                self.begin_round();
            }
        }
    }

    /// When `handle_timeout` is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        match self.phase {
            Phase::AwaitingAnswer { ask_again_at } => Some(ask_again_at),
            _ => None,
        }
    }

    /// The next thing to do; call until `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        match self.phase {
            Phase::Init => {
                self.await_answer();
                Some(Output::SendInit)
            }
            Phase::Fin => {
                self.await_answer();
                Some(Output::SendFin)
            }
            Phase::Chunks if !self.gives_way && self.under_way.len() < self.window() => self.next_chunk(),
            Phase::Chunks | Phase::AwaitingAnswer { .. } | Phase::Idle => None,
        }
    }

    fn begin_round(&mut self) {
        self.under_way.clear();
        self.to_send.clear();
        self.last_confirmed = None;
        self.phase = Phase::Init;
    }

    fn await_answer(&mut self) {
        let ceiling = Duration::from_secs(10).saturating_mul(1 << self.unanswered.min(10)).min(LONGEST_WAIT);
        self.phase = Phase::AwaitingAnswer { ask_again_at: self.now + jittered(&mut self.random, ceiling) };
    }

    fn send_missing(&mut self, missing: &[[u64; 2]]) {
        self.unanswered = 0;
        let within: Vec<[u64; 2]> = missing.iter().map(|&[from, to]| [from, to.min(self.bytes)]).collect();
        let lacking = Ranges::from_pairs(&within);
        // The list in an answer is capped, so progress is also a first range that begins later.
        let behind_first = self.bytes - lacking.as_pairs().first().map_or(self.bytes, |range| range[0]);
        let left = behind_first.saturating_add(lacking.bytes());
        match self.least_missing {
            None => self.fruitless = 0,
            Some(least) if left < least => {
                self.fruitless = 0;
                self.outputs.push_back(Output::Progress);
            }
            Some(_) => self.fruitless += 1,
        }
        self.least_missing = Some(self.least_missing.map_or(left, |least| least.min(left)));
        if self.fruitless >= FRUITLESS_ROUNDS {
            self.end(Output::Stuck);
            return;
        }
        self.to_send = lacking.as_pairs().iter().copied().collect();
        self.phase = Phase::Chunks;
        self.finish_if_sent();
    }

    /// What 2 s of the measured throughput carry, at least one chunk, at most four.
    fn window(&self) -> usize {
        let Some(throughput) = self.throughput else { return 1 };
        let chunks = throughput.saturating_mul(WINDOW.as_secs()) / u64::from(self.chunk_bytes);
        usize::try_from(chunks).unwrap_or(MAX_CHUNKS).clamp(1, MAX_CHUNKS)
    }

    fn next_chunk(&mut self) -> Option<Output> {
        let [from, to] = self.to_send.pop_front()?;
        // Chunks end on the grid, so that a range cut anywhere falls back onto it.
        let chunk = u64::from(self.chunk_bytes);
        let end = to.min((from / chunk + 1).saturating_mul(chunk));
        if end < to {
            self.to_send.push_front([end, to]);
        }
        let length = u32::try_from(end - from).unwrap_or(self.chunk_bytes);
        self.under_way.insert(from, (length, self.now));
        Some(Output::SendChunk { offset: from, length })
    }

    fn finish_if_sent(&mut self) {
        if self.phase == Phase::Chunks && self.to_send.is_empty() && self.under_way.is_empty() {
            self.phase = Phase::Fin;
        }
    }

    fn end(&mut self, output: Output) {
        self.phase = Phase::Idle;
        self.under_way.clear();
        self.to_send.clear();
        self.outputs.push_back(output);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNK: u32 = 32_768;

    const fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn answer(state: ClipReceiptState, missing: &[[u64; 2]]) -> ClipReceipt {
        ClipReceipt { v: 1, clip_id: "k7f3qa.1.1".into(), state, missing: missing.to_vec(), reason: None, sha256: None }
    }

    fn outputs(transfer: &mut Transfer) -> Vec<Output> {
        std::iter::from_fn(|| transfer.poll_output()).collect()
    }

    fn chunk(offset: u64) -> Output {
        Output::SendChunk { offset, length: CHUNK }
    }

    #[test]
    fn a_clip_goes_init_chunks_fin_stored() {
        let mut transfer = Transfer::new(70_000, CHUNK, 1, at(0));
        assert_eq!(outputs(&mut transfer), [Output::SendInit]);
        transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[0, 70_000]]), at(100));
        assert_eq!(outputs(&mut transfer), [chunk(0)], "one, until the throughput is known");
        transfer.handle_confirmed(0, at(200));
        assert_eq!(outputs(&mut transfer), [chunk(32_768), Output::SendChunk { offset: 65_536, length: 4_464 }]);
        transfer.handle_confirmed(65_536, at(300));
        assert_eq!(outputs(&mut transfer), []);
        transfer.handle_confirmed(32_768, at(300));
        assert_eq!(outputs(&mut transfer), [Output::SendFin]);
        transfer.handle_answer(&answer(ClipReceiptState::Stored, &[]), at(400));
        assert_eq!(outputs(&mut transfer), [Output::Stored]);
        assert_eq!(transfer.poll_timeout(), None);
    }

    #[test]
    fn at_most_four_chunks_are_under_way_and_few_on_a_slow_link() {
        let mut transfer = Transfer::new(1_000_000, CHUNK, 1, at(0));
        outputs(&mut transfer);
        transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[0, 1_000_000]]), at(0));
        outputs(&mut transfer);
        transfer.handle_confirmed(0, at(10));
        assert_eq!(outputs(&mut transfer).len(), 4);

        let mut transfer = Transfer::new(1_000_000, CHUNK, 1, at(0));
        outputs(&mut transfer);
        transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[0, 1_000_000]]), at(0));
        outputs(&mut transfer);
        transfer.handle_confirmed(0, at(3_000));
        assert_eq!(outputs(&mut transfer), [chunk(32_768)], "2 s carry less than a chunk");
    }

    #[test]
    fn a_chunk_that_is_too_large_for_the_broker_goes_in_pieces() {
        let mut transfer = Transfer::new(60_000, CHUNK, 1, at(0));
        outputs(&mut transfer);
        transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[0, 60_000]]), at(0));
        assert_eq!(outputs(&mut transfer), [chunk(0)]);
        transfer.handle_too_large(0, at(1));
        assert_eq!(outputs(&mut transfer), [Output::SendChunk { offset: 0, length: 16_384 }]);
        transfer.handle_too_large(0, at(2));
        let mut sent = 0;
        while let [Output::SendChunk { offset, length }, ..] = outputs(&mut transfer)[..] {
            assert_eq!((offset, length), (sent, 8_192.min(60_000 - u32::try_from(sent).expect("small"))));
            sent += u64::from(length);
            transfer.handle_confirmed(offset, at(3_000 + sent * 10));
        }
        assert_eq!(sent, 60_000);
    }

    #[test]
    fn a_broker_that_takes_nothing_ends_a_transfer() {
        let mut transfer = Transfer::new(2_000, CHUNK, 1, at(0));
        let missing = answer(ClipReceiptState::Missing, &[[0, 2_000]]);
        for round in 0..100 {
            for output in outputs(&mut transfer) {
                match output {
                    Output::SendInit | Output::SendFin => transfer.handle_answer(&missing, at(round)),
                    Output::SendChunk { offset, .. } => transfer.handle_too_large(offset, at(round)),
                    other => return assert_eq!(other, Output::Stuck),
                }
            }
        }
        panic!("it goes on for ever");
    }

    #[test]
    fn after_a_break_only_what_lacks_is_sent() {
        let mut transfer = Transfer::new(100_000, CHUNK, 1, at(0));
        outputs(&mut transfer);
        transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[0, 100_000]]), at(0));
        outputs(&mut transfer);
        transfer.handle_disconnected(at(1));
        transfer.handle_confirmed(0, at(1));
        assert_eq!(outputs(&mut transfer), []);
        transfer.handle_connected(at(2));
        assert_eq!(outputs(&mut transfer), [Output::SendInit]);
        transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[40_000, 50_000]]), at(3));
        assert_eq!(outputs(&mut transfer), [Output::Progress, Output::SendChunk { offset: 40_000, length: 10_000 }]);
    }

    #[test]
    fn a_clip_gives_way_between_chunks() {
        let mut transfer = Transfer::new(100_000, CHUNK, 1, at(0));
        outputs(&mut transfer);
        transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[0, 100_000]]), at(0));
        transfer.handle_urgency(true, at(1));
        assert_eq!(outputs(&mut transfer), []);
        transfer.handle_urgency(false, at(2));
        assert_eq!(outputs(&mut transfer), [chunk(0)]);
    }

    #[test]
    fn an_unanswered_init_is_asked_again_and_given_up_for_now() {
        let mut transfer = Transfer::new(100_000, CHUNK, 1, at(0));
        let mut asked = 0;
        loop {
            match outputs(&mut transfer).as_slice() {
                [Output::SendInit] => asked += 1,
                [Output::Stuck] => break,
                other => panic!("{other:?}"),
            }
            let next = transfer.poll_timeout().expect("an answer is awaited");
            transfer.handle_timeout(next);
        }
        assert_eq!(asked, FRUITLESS_ROUNDS);
    }

    #[test]
    fn a_clip_whose_chunks_never_arrive_gets_stuck() {
        let mut transfer = Transfer::new(1_000, CHUNK, 1, at(0));
        for round in 0..100 {
            let out = outputs(&mut transfer);
            if out.contains(&Output::Stuck) {
                assert!(round > 8);
                return;
            }
            match out.last() {
                Some(Output::SendChunk { offset, .. }) => transfer.handle_refused(*offset, at(round)),
                _ => transfer.handle_answer(&answer(ClipReceiptState::Missing, &[[0, 1_000]]), at(round)),
            }
        }
        panic!("went on for ever");
    }

    #[test]
    fn chunks_past_the_end_are_refused() {
        let receiving = Receiving::restore(100, &[[0, 10], [90, 200]]);
        assert_eq!(receiving.look_at(95, 10), Chunk::OutOfBounds);
        assert_eq!(receiving.look_at(u64::MAX, 10), Chunk::OutOfBounds);
        assert_eq!(receiving.look_at(5, 5), Chunk::Repeated);
        assert_eq!(receiving.look_at(5, 6), Chunk::New);
        assert_eq!(receiving.missing(), [[10, 90]]);
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_the_bytes_put_in(pairs in prop::collection::vec((0_u64..200, 0_u64..200), 0..30)) {
            let pairs: Vec<[u64; 2]> = pairs.into_iter().map(|(from, to)| [from, to]).collect();
            let ranges = Ranges::from_pairs(&pairs);
            let missing = ranges.missing(150);
            for byte in 0..200 {
                let is_in = pairs.iter().any(|range| range[0] <= byte && byte < range[1]);
                prop_assert_eq!(ranges.contains(byte, byte + 1), is_in);
                prop_assert_eq!(missing.contains(byte, byte + 1), byte < 150 && !is_in);
            }
            prop_assert!(ranges.as_pairs().windows(2).all(|two| two[0][1] < two[1][0]));
            prop_assert!(missing.as_pairs().iter().all(|range| range[0] < range[1]));
        }

        /// A network that loses, doubles, delays and cuts as it likes: the clip converges, the file is the clip.
        #[test]
        fn a_clip_converges(bytes in 0_u64..400_000, fates in prop::collection::vec(0_u8..12, 40..400)) {
            let mut transfer = Transfer::new(bytes, CHUNK, 3, at(0));
            let mut receiving = Receiving::restore(bytes, &[]);
            let mut delayed: Vec<(u64, u32)> = Vec::new();
            let mut fates = fates.into_iter().chain(std::iter::repeat(11));
            let mut now = at(0);
            let mut stored = false;
            for _ in 0..4_000 {
                now = now + Duration::from_millis(20);
                let Some(output) = transfer.poll_output() else {
                    match transfer.poll_timeout() {
                        Some(next) => { now = now.max(next); transfer.handle_timeout(now); }
                        None => {
                            let under_way: Vec<u64> = transfer.under_way.keys().copied().collect();
                            for offset in under_way { transfer.handle_confirmed(offset, now); }
                        }
                    }
                    continue;
                };
                prop_assert!(transfer.under_way.len() <= MAX_CHUNKS);
                let fate = fates.next().expect("endless");
                match output {
                    Output::SendChunk { offset, length } => match fate {
                        0 => {}
                        1 => delayed.push((offset, length)),
                        2 => { transfer.handle_disconnected(now); transfer.handle_connected(now); }
                        3 => transfer.handle_refused(offset, now),
                        _ => {
                            for _ in 0..=(fate % 2) { receiving.handle_chunk(offset, u64::from(length)); }
                            if fate % 3 == 0 { transfer.handle_confirmed(offset, now); }
                        }
                    },
                    Output::SendInit | Output::SendFin if fate > 1 => {
                        for (offset, length) in delayed.drain(..) { receiving.handle_chunk(offset, u64::from(length)); }
                        let state = if receiving.is_complete() { ClipReceiptState::Stored } else { ClipReceiptState::Missing };
                        transfer.handle_answer(&answer(state, &receiving.missing()), now);
                    }
                    Output::SendInit | Output::SendFin | Output::Progress => {}
                    Output::Stored => { stored = true; break; }
                    Output::Stuck => transfer.handle_connected(now),
                    Output::Rejected { .. } => prop_assert!(false, "nobody rejects"),
                }
            }
            prop_assert!(stored && receiving.is_complete());
        }
    }
}
