//! How well a frame shows a violation, as one number that compares with that of another frame: how sure, how large and
//! how sharp the subject is.

use kitchen_core::detection::{Detection, Rect};

use crate::frame::Frame;

/// A sharpness of half the worth. Above some times of it there is noise rather than detail.
const HALF: f32 = 60.0;
/// Boxes that are looked at, of those that decided.
const BOXES: usize = 4;

/// 0 is worst. `score` is the look's own, 0..1; a violation without a box counts by it alone.
#[must_use]
pub fn of(frame: &Frame, boxes: &[Detection], score: f32) -> f32 {
    let Some(decisive) = boxes.first() else { return score };
    let worth = |one: &Detection| {
        let sharpness = frame.sharpness_in(one.rect);
        one.score * size(one.rect) * sharpness / (sharpness + HALF)
    };
    let same = boxes.iter().filter(|one| one.label == decisive.label).take(BOXES);
    same.map(worth).fold(0.0, f32::max)
}

/// Twice the size is worth half as much again: sharpness and score count too.
fn size(rect: Rect) -> f32 {
    rect.clamped().area().powf(0.3)
}
