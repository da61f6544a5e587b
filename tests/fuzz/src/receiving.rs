//! The district's end of a clip. Lines: `restore BYTES [[from,to],…]` as it was persisted, then `chunk OFFSET LENGTH`
//! and `persist`. What it holds and what it lacks are always the whole clip, disjoint and in order.

use kitchen_core::transfer::{Chunk, MAX_RANGES, Ranges, Receiving};

use crate::{commands, numbers};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut clip: Option<(u64, Receiving)> = None;
    for (command, rest) in commands(text) {
        match (command, &mut clip) {
            ("restore", _) => clip = restored(rest),
            ("chunk", Some((bytes, receiving))) => {
                if let [offset, length] = *numbers(rest) {
                    chunk(receiving, *bytes, offset, length);
                }
            }
            ("persist", Some((bytes, receiving))) => {
                let again = Receiving::restore(*bytes, receiving.received().as_pairs());
                assert_eq!(again, *receiving, "persisted and restored");
            }
            _ => {}
        }
        if let Some((bytes, receiving)) = &clip {
            is_sound(receiving, *bytes);
        }
    }
}

fn restored(text: &str) -> Option<(u64, Receiving)> {
    let (bytes, ranges) = text.split_once(' ')?;
    let bytes = bytes.parse().ok()?;
    let ranges: Vec<[u64; 2]> = serde_json::from_str(ranges).ok()?;
    Some((bytes, Receiving::restore(bytes, &ranges)))
}

fn chunk(receiving: &mut Receiving, bytes: u64, offset: u64, length: u64) {
    let what = receiving.look_at(offset, length);
    let is_inside = length > 0 && offset.checked_add(length).is_some_and(|end| end <= bytes);
    assert_eq!(what == Chunk::OutOfBounds, !is_inside, "{offset} + {length} of {bytes}");
    let before = receiving.received().bytes();
    receiving.handle_chunk(offset, length);
    let after = receiving.received().bytes();
    match what {
        Chunk::New => {
            assert!(after > before, "a new chunk brings something");
            assert_eq!(receiving.look_at(offset, length), Chunk::Repeated, "and is known from then on");
        }
        Chunk::Repeated | Chunk::OutOfBounds => assert_eq!(after, before),
    }
}

fn is_sound(receiving: &Receiving, bytes: u64) {
    let held = receiving.received();
    in_order(held.as_pairs(), bytes);
    let lacking = receiving.missing();
    in_order(&lacking, bytes);
    assert!(lacking.len() <= MAX_RANGES);
    assert_eq!(lacking.is_empty(), receiving.is_complete(), "complete when nothing lacks");
    let all = held.missing(bytes);
    assert_eq!(held.bytes() + all.bytes(), bytes, "held and lacking are the whole clip");
    let both: Vec<[u64; 2]> = held.as_pairs().iter().chain(all.as_pairs()).copied().collect();
    assert!(Ranges::from_pairs(&both).contains(0, bytes));
}

fn in_order(ranges: &[[u64; 2]], bytes: u64) {
    assert!(ranges.iter().all(|[from, to]| from < to && *to <= bytes), "{ranges:?} of {bytes}");
    assert!(ranges.is_sorted_by(|before, after| before[1] < after[0]), "{ranges:?}");
}
