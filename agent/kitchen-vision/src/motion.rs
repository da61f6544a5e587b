//! Decides for each picture whether looking at it with the detector is worth it.
//! Thumbnails go in, yes or no comes out; learns each cell's noise and follows slow changes of light.

use std::time::Duration;

use kitchen_core::detection::Rect;
use kitchen_core::time::Mono;

use crate::frame::{THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, Thumbnail};

/// A still scene is looked at so often all the same.
pub const LONGEST_REST: Duration = Duration::from_secs(10);

/// Differences of cells below it are never motion, in luma steps. 12×12 px of contrast 60 in a 640×360 picture make
/// at least 20 when they fill one cell, 8 when they lie across four.
const LEAST_DIFFERENCE: f32 = 4.5;
/// A cell has moved when it differs by so many times its median difference between looks, 5.4 standard deviations.
const NOISE_FACTOR: f32 = 8.0;
/// Above it even a cell with a fan or a flame counts.
const GREATEST_THRESHOLD: f32 = 40.0;
/// In this time the background takes over most of a lasting change.
const BACKGROUND_TIME: Duration = Duration::from_secs(6);
/// A median's step a look, relative to itself: it follows in tens of looks.
const NOISE_STEP: f32 = 0.05;

/// The state of one camera.
#[derive(Debug, Default)]
pub struct MotionGate {
    cells: Vec<Cell>,
    /// Of the last picture, the cells that moved.
    moving: Vec<bool>,
    last_look: Mono,
    last_run: Option<Mono>,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    previous: f32,
    background: f32,
    noise: f32,
}

impl MotionGate {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the detector should run on this picture: something moved, a candidate is pending, or it last ran
    /// [`LONGEST_REST`] ago. Takes it that the detector then runs.
    pub fn look(&mut self, thumbnail: &Thumbnail, now: Mono, pending: bool) -> bool {
        let moved = self.moved(thumbnail, now);
        let due = self.last_run.is_none_or(|last| now.since(last) >= LONGEST_REST);
        let run = moved || pending || due;
        if run {
            self.last_run = Some(now);
        }
        run
    }

    /// Forgets the scene: the stream was opened anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn moved(&mut self, thumbnail: &Thumbnail, now: Mono) -> bool {
        if self.cells.len() != thumbnail.luma.len() {
            let cell = |luma: &f32| Cell { previous: *luma, background: *luma, noise: LEAST_DIFFERENCE / NOISE_FACTOR };
            self.cells = thumbnail.luma.iter().map(cell).collect();
            self.moving = vec![false; self.cells.len()];
            self.last_look = now;
            return true;
        }
        let gap = now.since(self.last_look).as_secs_f32();
        let adapt = (gap / (gap + BACKGROUND_TIME.as_secs_f32())).clamp(0.01, 1.0);
        self.last_look = now;
        // What all cells have in common is the light, not motion.
        let light = median(thumbnail.luma.iter().zip(&self.cells).map(|(luma, cell)| luma - cell.previous));
        let drift = median(thumbnail.luma.iter().zip(&self.cells).map(|(luma, cell)| luma - cell.background));
        // A single cell's median wavers; few cells are quieter than most of their neighbours.
        let usual_noise = median(self.cells.iter().map(|cell| cell.noise));
        for ((luma, cell), moving) in thumbnail.luma.iter().zip(&mut self.cells).zip(&mut self.moving) {
            let step = (luma - cell.previous - light).abs();
            let away = (luma - cell.background - drift).abs();
            let threshold = (cell.noise.max(usual_noise) * NOISE_FACTOR).clamp(LEAST_DIFFERENCE, GREATEST_THRESHOLD);
            *moving = step > threshold || away > threshold;
            cell.learn(*luma, step, adapt);
        }
        self.moving.contains(&true)
    }

    /// What moved in the last picture, as boxes around cells that touch each other, the smallest first. Fractions of
    /// the picture.
    #[must_use]
    pub fn spots(&self) -> Vec<Rect> {
        let mut unseen = self.moving.clone();
        let mut spots = Vec::new();
        while let Some(start) = unseen.iter().position(|moving| *moving) {
            unseen[start] = false;
            let mut waiting = vec![start];
            let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
            while let Some(cell) = waiting.pop() {
                let (column, row) = (cell % THUMBNAIL_WIDTH, cell / THUMBNAIL_WIDTH);
                (left, top) = (left.min(column), top.min(row));
                (right, bottom) = (right.max(column + 1), bottom.max(row + 1));
                for y in row.saturating_sub(1)..=(row + 1).min(THUMBNAIL_HEIGHT - 1) {
                    for x in column.saturating_sub(1)..=(column + 1).min(THUMBNAIL_WIDTH - 1) {
                        let neighbour = y * THUMBNAIL_WIDTH + x;
                        if std::mem::take(&mut unseen[neighbour]) {
                            waiting.push(neighbour);
                        }
                    }
                }
            }
            spots.push(of_cells(left, top, right, bottom));
        }
        spots.sort_by(|a, b| a.area().total_cmp(&b.area()));
        spots
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen cells")]
fn of_cells(left: usize, top: usize, right: usize, bottom: usize) -> Rect {
    let (width, height) = (THUMBNAIL_WIDTH as f32, THUMBNAIL_HEIGHT as f32);
    let (x, y) = (left as f32 / width, top as f32 / height);
    Rect::new(x, y, (right - left) as f32 / width, (bottom - top) as f32 / height)
}

impl Cell {
    /// The noise follows the median of the steps, not their size: people who pass don't raise it, a fan does.
    fn learn(&mut self, luma: f32, step: f32, adapt: f32) {
        let change = if step > self.noise { 1.0 + NOISE_STEP } else { 1.0 - NOISE_STEP };
        self.noise = (self.noise * change).clamp(0.1, GREATEST_THRESHOLD / NOISE_FACTOR);
        self.background += (luma - self.background) * adapt;
        self.previous = luma;
    }
}

fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, tests::painted};

    /// A textured scene with sensor noise of ±`noise`, `light` brighter, and with a patch of 12×12 px.
    fn scene(random: &mut fastrand::Rng, noise: i32, light: i32, patch: Option<(u32, u32)>) -> Frame {
        let noise: Vec<i32> = (0..640 * 360).map(|_| random.i32(-noise..=noise)).collect();
        painted(640, 360, |x, y| {
            let base = 60 + i32::try_from((x / 40 * 31 + y / 40 * 17) % 110).expect("small");
            let inside =
                patch.is_some_and(|(left, top)| (left..left + 12).contains(&x) && (top..top + 12).contains(&y));
            let luma = if inside { (base + 110).min(230) } else { base };
            u8::try_from((luma + light + noise[(y * 640 + x) as usize]).clamp(0, 255)).expect("clamped")
        })
    }

    fn at(look: u64) -> Mono {
        Mono::from_millis(look * 500)
    }

    /// The looks of `from..to`, two a second, at which the detector ran.
    fn runs(gate: &mut MotionGate, looks: std::ops::Range<u64>, mut frame: impl FnMut(u64) -> Frame) -> Vec<u64> {
        looks.filter(|look| gate.look(&frame(*look).thumbnail(), at(*look), false)).collect()
    }

    #[test]
    fn a_still_noisy_scene_is_looked_at_every_ten_seconds() {
        for noise in [0, 5, 20, 40] {
            let mut random = fastrand::Rng::with_seed(7);
            let mut gate = MotionGate::new();
            runs(&mut gate, 0..120, |_| scene(&mut random, noise, 0, None));
            let ran = runs(&mut gate, 120..320, |_| scene(&mut random, noise, 0, None));
            assert!((9..=13).contains(&ran.len()), "noise {noise}: {ran:?}");
        }
    }

    #[test]
    fn a_small_patch_that_moves_is_seen_at_every_look() {
        for noise in [0, 10, 25] {
            let mut random = fastrand::Rng::with_seed(3);
            let mut gate = MotionGate::new();
            runs(&mut gate, 0..60, |_| scene(&mut random, noise, 0, None));
            let patch = |look: u64| Some((u32::try_from(look * 17 % 600).expect("small"), 203));
            let ran = runs(&mut gate, 60..90, |look| scene(&mut random, noise, 0, patch(look)));
            assert_eq!(ran.len(), 30, "noise {noise}: {ran:?}");
        }
    }

    #[test]
    fn what_moves_is_told_as_boxes_the_smallest_first() {
        let still = |x: u32, y: u32| u8::try_from(60 + (x / 40 * 31 + y / 40 * 17) % 110).expect("small");
        let mut gate = MotionGate::new();
        gate.look(&painted(640, 360, still).thumbnail(), at(0), false);
        assert!(gate.spots().is_empty(), "nothing to compare with");
        gate.look(&painted(640, 360, still).thumbnail(), at(1), false);
        assert!(gate.spots().is_empty());
        // A cell is 10×10 px: one of 20×20 px across four cells, and one of 100×60 px.
        let inside = |x: u32, y: u32, left: u32, top: u32, width: u32, height: u32| {
            (left..left + width).contains(&x) && (top..top + height).contains(&y)
        };
        let moved = |x, y| {
            if inside(x, y, 500, 300, 20, 20) || inside(x, y, 100, 100, 100, 60) { 230 } else { still(x, y) }
        };
        gate.look(&painted(640, 360, moved).thumbnail(), at(2), false);
        let spots = gate.spots();
        let expected = [[500.0, 300.0, 20.0, 20.0], [100.0, 100.0, 100.0, 60.0]];
        assert_eq!(spots.len(), expected.len(), "{spots:?}");
        for (spot, [x, y, w, h]) in spots.iter().zip(expected) {
            let found = [spot.x * 640.0, spot.y * 360.0, spot.w * 640.0, spot.h * 360.0];
            let differs = found.iter().zip([x, y, w, h]).any(|(found, expected)| (found - expected).abs() > 0.5);
            assert!(!differs, "{found:?}");
        }
    }

    #[test]
    fn a_pending_candidate_lifts_the_gate() {
        let still = painted(640, 360, |_, _| 90).thumbnail();
        let mut gate = MotionGate::new();
        assert!(gate.look(&still, at(0), false));
        assert!(!gate.look(&still, at(1), false));
        assert!(gate.look(&still, at(2), true));
        assert!(!gate.look(&still, at(3), false));
    }

    #[test]
    fn slow_light_and_a_lamp_switched_on_do_not_keep_it_open() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut gate = MotionGate::new();
        runs(&mut gate, 0..60, |_| scene(&mut random, 5, 0, None));
        let dusk = |look: u64| i32::try_from(look - 60).expect("small") / -6;
        let ran = runs(&mut gate, 60..300, |look| scene(&mut random, 5, dusk(look), None));
        assert!(ran.len() <= 20, "{ran:?}");
        let ran = runs(&mut gate, 300..400, |_| scene(&mut random, 5, 20, None));
        assert!(ran.len() <= 40, "{ran:?}");
    }

    #[test]
    fn what_came_to_rest_is_absorbed() {
        let mut gate = MotionGate::new();
        let mut random = fastrand::Rng::with_seed(11);
        runs(&mut gate, 0..60, |_| scene(&mut random, 5, 0, None));
        let ran = runs(&mut gate, 60..200, |_| scene(&mut random, 5, 0, Some((100, 100))));
        assert_eq!(ran[..4], [60, 61, 62, 63]);
        assert!(ran.iter().filter(|look| **look >= 120).count() <= 5, "{ran:?}");
    }
}
