//! The box's end of a clip. Lines: `clip BYTES CHUNK_BYTES SEED`, then `answer JSON`, `confirmed OFFSET`,
//! `refused OFFSET`, `timeout MS`, `connected`, `disconnected`, `urgent`, `calm`.
//! Whatever the district answers, no byte outside the clip is sent, and an honest district gets the clip in the end.

use std::collections::BTreeSet;

use kitchen_core::time::Mono;
use kitchen_core::transfer::{Chunk, FRUITLESS_ROUNDS, MAX_CHUNKS, Output, Receiving, Transfer};
use kitchen_core::wire::{ClipReceipt, ClipReceiptState, VERSION};

use crate::{commands, numbers};

/// Clips of more chunks are not sent to the honest district: it would take long.
const HONEST_CHUNKS: u64 = 200;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut clip: Option<Clip> = None;
    for (command, rest) in commands(text) {
        if command == "clip"
            && let [bytes, chunk_bytes, seed] = *numbers(rest)
        {
            clip = Some(Clip::new(bytes, u32::try_from(chunk_bytes).unwrap_or(u32::MAX), seed));
        } else if let Some(clip) = &mut clip {
            clip.command(command, rest);
        }
    }
    if let Some(clip) = clip {
        clip.meets_an_honest_district();
    }
}

struct Clip {
    bytes: u64,
    chunk_bytes: u32,
    seed: u64,
    now: Mono,
    transfer: Transfer,
    under_way: BTreeSet<u64>,
}

impl Clip {
    fn new(bytes: u64, chunk_bytes: u32, seed: u64) -> Self {
        let transfer = Transfer::new(bytes, chunk_bytes, seed, Mono::ZERO);
        Self { bytes, chunk_bytes: chunk_bytes.max(1), seed, now: Mono::ZERO, transfer, under_way: BTreeSet::new() }
    }

    fn command(&mut self, command: &str, rest: &str) {
        let number = numbers(rest).first().copied();
        let (transfer, now) = (&mut self.transfer, self.now);
        match (command, number) {
            ("answer", _) => {
                let Ok(answer) = serde_json::from_str::<ClipReceipt>(rest) else { return };
                transfer.handle_answer(&answer, now);
            }
            ("confirmed", Some(offset)) => {
                transfer.handle_confirmed(offset, now);
                self.under_way.remove(&offset);
            }
            ("refused", Some(offset)) => {
                transfer.handle_refused(offset, now);
                self.under_way.remove(&offset);
            }
            ("timeout", Some(ms)) => {
                self.now = Mono::from_millis(now.as_millis().saturating_add(ms));
                transfer.handle_timeout(self.now);
            }
            ("connected", _) => transfer.handle_connected(now),
            ("disconnected", _) => transfer.handle_disconnected(now),
            ("urgent" | "calm", _) => transfer.handle_urgency(command == "urgent", now),
            _ => return,
        }
        let _ = self.outputs();
    }

    /// Everything that is to be done now: bounded, and within the clip.
    fn outputs(&mut self) -> Vec<Output> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.transfer.poll_output()).take(100).collect();
        assert!(outputs.len() < 100, "no end of outputs");
        for output in &outputs {
            match *output {
                Output::SendChunk { offset, length } => {
                    assert!(length > 0 && length <= self.chunk_bytes, "a chunk of {length}");
                    let end = offset.checked_add(u64::from(length));
                    assert!(end.is_some_and(|end| end <= self.bytes), "{offset} + {length} of {}", self.bytes);
                    assert!(self.under_way.insert(offset), "{offset} is under way already");
                    assert!(self.under_way.len() <= MAX_CHUNKS, "{:?} under way", self.under_way);
                }
                Output::Progress => {}
                // A new round: what was under way counts as lost, or all of it has been confirmed.
                _ => self.under_way.clear(),
            }
        }
        let has_ended = |output: &Output| matches!(output, Output::Stored | Output::Rejected { .. } | Output::Stuck);
        if outputs.iter().any(has_ended) {
            // As the uplink does: the next try is a new transfer.
            self.transfer = Transfer::new(self.bytes, self.chunk_bytes, self.seed, self.now);
        }
        outputs
    }

    /// Whatever came before.
    fn meets_an_honest_district(mut self) {
        if self.bytes / u64::from(self.chunk_bytes) > HONEST_CHUNKS {
            return;
        }
        let mut receiving = Receiving::restore(self.bytes, &[]);
        self.transfer.handle_disconnected(self.now);
        self.transfer.handle_urgency(false, self.now);
        self.under_way.clear();
        for _ in 0..=FRUITLESS_ROUNDS {
            let _ = self.outputs();
            self.transfer.handle_connected(self.now);
            if self.runs_until_stored(&mut receiving) {
                assert!(receiving.is_complete(), "stored without being whole");
                return;
            }
        }
        panic!("an honest district does not get the clip");
    }

    /// `false`: stuck, to be tried again.
    fn runs_until_stored(&mut self, receiving: &mut Receiving) -> bool {
        let mut waiting = self.outputs();
        while !waiting.is_empty() {
            for output in waiting {
                match output {
                    Output::SendInit | Output::SendFin => {
                        let state =
                            if receiving.is_complete() { ClipReceiptState::Stored } else { ClipReceiptState::Missing };
                        let missing = receiving.missing();
                        let answer = ClipReceipt {
                            v: VERSION,
                            clip_id: String::new(),
                            state,
                            missing,
                            reason: None,
                            sha256: None,
                        };
                        self.transfer.handle_answer(&answer, self.now);
                    }
                    Output::SendChunk { offset, length } => {
                        assert_ne!(receiving.look_at(offset, u64::from(length)), Chunk::OutOfBounds);
                        receiving.handle_chunk(offset, u64::from(length));
                        self.transfer.handle_confirmed(offset, self.now);
                        self.under_way.remove(&offset);
                    }
                    Output::Stored => return true,
                    Output::Stuck => return false,
                    Output::Progress => {}
                    Output::Rejected { .. } => panic!("rejected by nobody"),
                }
            }
            waiting = self.outputs();
        }
        false
    }
}
