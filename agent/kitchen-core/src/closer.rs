//! Where the next look at the picture's own resolution may show what the whole picture, scaled down, is too coarse for:
//! a rat among the small things that move, a cigarette at a head. One place a look at most. Sees boxes, never pixels.

use std::time::Duration;

use crate::detection::{Detection, Label, Rect};
use crate::time::Mono;

/// Heads are looked at so often, all together: with four people each has its turn every four seconds.
const HEADS_EVERY: Duration = Duration::from_secs(1);
/// What is larger than this share of the picture's sides is no small thing.
const SMALL: f32 = 0.2;
/// What moves within a person, or so near, is the person.
const ABOUT_PEOPLE: f32 = 0.1;
/// Where the mouth is, and a hand that is raised to it: this far down the head's box.
const MOUTH: f32 = 0.75;

/// What is looked for, and whose turn it is.
#[derive(Clone, Copy, Debug)]
pub struct Closer {
    rats: bool,
    cigarettes: bool,
    heads_at: Option<Mono>,
    turn: usize,
}

impl Closer {
    #[must_use]
    pub const fn new(rats: bool, cigarettes: bool) -> Self {
        Self { rats, cigarettes, heads_at: None, turn: 0 }
    }

    /// The centre of the next place, if any is worth it: `seen` are this look's detections, `moving` tells what moved, the
    /// smallest first. Takes it that it is looked at.
    pub fn choose(&mut self, seen: &[Detection], moving: impl FnOnce() -> Vec<Rect>, now: Mono) -> Option<[f32; 2]> {
        let heads_due = self.cigarettes && self.heads_at.is_none_or(|last| now.since(last) >= HEADS_EVERY);
        let mut heads = if heads_due { mouths(seen) } else { Vec::new() };
        if !heads.is_empty() {
            self.heads_at = Some(now);
            self.turn = self.turn.wrapping_add(1);
            heads.sort_by(|a, b| a[0].total_cmp(&b[0]));
            return Some(heads[self.turn % heads.len()]);
        }
        if !self.rats {
            return None;
        }
        let people: Vec<Rect> =
            seen.iter().filter(|one| one.label == Label::Person).map(|person| person.rect).collect();
        let is_apart = |spot: &&Rect| {
            !people.iter().any(|person| person.widened(ABOUT_PEOPLE, ABOUT_PEOPLE).contains(spot.centre()))
        };
        let moving = moving();
        let small = moving.iter().filter(|spot| spot.w.max(spot.h) <= SMALL).find(is_apart);
        small.map(|spot| spot.centre())
    }
}

/// Where each head's mouth is.
#[must_use]
pub fn mouths(seen: &[Detection]) -> Vec<[f32; 2]> {
    let heads = seen.iter().filter(|one| one.label == Label::Head);
    heads.map(|head| [head.rect.centre()[0], head.rect.y + head.rect.h * MOUTH]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(label: Label, x: f32) -> Detection {
        Detection { label, score: 0.9, rect: Rect::new(x, 0.1, 0.1, 0.2) }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    #[test]
    fn heads_take_turns_once_a_second() {
        let mut closer = Closer::new(false, true);
        let heads = [seen(Label::Head, 0.1), seen(Label::Head, 0.7)];
        let first = closer.choose(&heads, Vec::new, at(0)).expect("a head");
        assert_eq!(closer.choose(&heads, Vec::new, at(500)), None);
        let second = closer.choose(&heads, Vec::new, at(1000)).expect("the other head");
        assert!((first[0] - second[0]).abs() > 0.5);
        assert!((first[1] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn the_smallest_thing_that_moves_apart_from_people_is_looked_at() {
        let mut closer = Closer::new(true, false);
        let person = [seen(Label::Person, 0.1)];
        let moving =
            vec![Rect::new(0.12, 0.15, 0.02, 0.02), Rect::new(0.8, 0.8, 0.05, 0.05), Rect::new(0.3, 0.0, 0.5, 0.9)];
        let place = closer.choose(&person, || moving.clone(), at(0)).expect("something moves");
        assert!((place[0] - 0.825).abs() < 1e-6, "{place:?}");
        assert_eq!(closer.choose(&person, || moving[..1].to_vec(), at(500)), None);
        assert_eq!(closer.choose(&person, || moving[2..].to_vec(), at(500)), None);
    }

    #[test]
    fn nothing_is_looked_for_that_no_rule_needs() {
        let mut closer = Closer::new(false, false);
        assert_eq!(closer.choose(&[seen(Label::Head, 0.1)], || vec![Rect::new(0.8, 0.8, 0.05, 0.05)], at(0)), None);
    }
}
