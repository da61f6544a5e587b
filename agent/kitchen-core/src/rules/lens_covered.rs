//! `lens_covered`: the picture has lost its detail and shows nothing of the scene that was there.
//! Lights that go out are none: what is left of the picture then still has the scene's shapes, only darker. A
//! picture black to the last cell could be either: by night, if the clock can be trusted, it is taken for the lights.

use crate::time::{LocalTime, Stamp, TimeZone};
use crate::view::LumaGrid;

/// Share of the scene's usual detail below which a picture has lost it.
const LOST_DETAIL: f32 = 0.3;
/// Correlation with the usual scene from which on it is still there.
const SAME_SCENE: f32 = 0.35;
/// Detail below which a picture shows nothing, when no usual scene is known yet.
const NO_DETAIL: f32 = 0.8;
/// Mean luma below which a picture is dark (video black is 16).
const DARK: f32 = 32.0;
/// Minutes of the day between which a black picture is no night: 08:00 to 20:00.
const DAYLIGHT: std::ops::Range<u16> = 8 * 60..20 * 60;
/// Share by which the usual scene moves towards each normal picture: half in about a minute of looks.
const ADAPT: f32 = 0.01;
/// Normal pictures before the usual scene is known.
const KNOWN_AFTER: u32 = 3;

/// Knows the usual scene of one camera and tells of each picture whether the lens is covered.
#[derive(Debug)]
pub struct LensView {
    zone: TimeZone,
    usual: Vec<f32>,
    size: (usize, usize),
    normal: u32,
}

impl LensView {
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, usual: Vec::new(), size: (0, 0), normal: 0 }
    }

    /// Whether this picture shows a covered lens.
    pub fn look(&mut self, grid: &LumaGrid, stamp: Stamp) -> bool {
        if self.size != (grid.width, grid.height) {
            *self = Self { size: (grid.width, grid.height), ..Self::new(self.zone.clone()) };
        }
        let Some(usual) = self.usual_scene() else {
            let blank = grid.detail() < NO_DETAIL;
            if !blank {
                self.learn(grid);
            }
            return blank && self.counts_if_dark(grid, stamp);
        };
        let lost = grid.detail() < LOST_DETAIL * usual.detail();
        let same_scene = grid.correlation(&usual).is_some_and(|correlation| correlation >= SAME_SCENE);
        if !lost {
            self.learn(grid);
        }
        lost && !same_scene && self.counts_if_dark(grid, stamp)
    }

    fn counts_if_dark(&self, grid: &LumaGrid, stamp: Stamp) -> bool {
        let LocalTime { minute, .. } = stamp.wall.local(&self.zone);
        let trusted = stamp.quality.is_trusted();
        grid.mean() >= DARK || !trusted || DAYLIGHT.contains(&minute)
    }

    fn usual_scene(&self) -> Option<LumaGrid> {
        let cells = || self.usual.iter().map(|cell| cell.round() as u8).collect();
        (self.normal >= KNOWN_AFTER).then(|| LumaGrid { width: self.size.0, height: self.size.1, cells: cells() })
    }

    fn learn(&mut self, grid: &LumaGrid) {
        self.normal = self.normal.saturating_add(1);
        if self.usual.is_empty() {
            self.usual = grid.cells.iter().map(|&cell| f32::from(cell)).collect();
        }
        for (usual, &cell) in self.usual.iter_mut().zip(&grid.cells) {
            *usual += ADAPT * (f32::from(cell) - *usual);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::TimeQuality;
    use crate::time::{Mono, Wall};

    fn grid(cell: impl Fn(usize, usize) -> u8) -> LumaGrid {
        let cells = (0..18).flat_map(|y| (0..32).map(move |x| (x, y))).map(|(x, y)| cell(x, y)).collect();
        LumaGrid { width: 32, height: 18, cells }
    }

    /// A kitchen: walls, a bright window, a dark stove.
    fn scene(x: usize, y: usize) -> u8 {
        match (x, y) {
            (4..=9, 2..=7) => 220,
            (15..=25, 10..=16) => 40,
            _ => (100 + (x * 13 + y * 29) % 30) as u8,
        }
    }

    fn stamp(time: &str, quality: TimeQuality) -> Stamp {
        Stamp { mono: Mono::ZERO, wall: time.parse::<Wall>().expect("literal"), quality }
    }

    fn noon() -> Stamp {
        stamp("2026-11-24T04:00:00Z", TimeQuality::Ntp)
    }

    fn midnight() -> Stamp {
        stamp("2026-11-24T16:00:00Z", TimeQuality::Ntp)
    }

    fn lens() -> LensView {
        let mut lens = LensView::new(TimeZone::named("Asia/Shanghai").expect("bundled"));
        for _ in 0..10 {
            assert!(!lens.look(&grid(scene), noon()));
        }
        lens
    }

    #[test]
    fn a_hand_or_tape_over_the_lens_is_seen_at_any_hour() {
        let tape = grid(|x, y| (120 + (x + y) / 16) as u8);
        assert!(lens().look(&tape, noon()));
        assert!(lens().look(&tape, midnight()));
    }

    #[test]
    fn lights_that_go_out_keep_the_scene_s_shapes() {
        let dark = grid(|x, y| 16 + scene(x, y) / 24);
        assert!(!lens().look(&dark, midnight()));
        assert!(!lens().look(&dark, noon()));
    }

    #[test]
    fn a_black_picture_is_taken_for_the_lights_only_when_a_trusted_clock_says_night() {
        let black = grid(|_, _| 16);
        assert!(lens().look(&black, noon()));
        assert!(!lens().look(&black, midnight()));
        assert!(lens().look(&black, stamp("2026-11-24T16:00:00Z", TimeQuality::Floor)));
    }

    #[test]
    fn people_steam_and_a_camera_that_starts_covered() {
        let crowded = grid(|x, y| if x % 7 < 4 { 60 + (x * y % 90) as u8 } else { scene(x, y) });
        assert!(!lens().look(&crowded, noon()));
        let steamy = grid(|x, y| 140 + scene(x, y) / 8);
        assert!(!lens().look(&steamy, noon()), "steam dims, but shows the scene");
        let mut fresh = LensView::new(TimeZone::UTC);
        assert!(fresh.look(&grid(|_, _| 128), noon()));
    }

    #[test]
    fn a_covered_lens_does_not_become_the_usual_scene() {
        let mut lens = lens();
        for _ in 0..10_000 {
            assert!(lens.look(&grid(|_, _| 128), noon()));
        }
        assert!(!lens.look(&grid(scene), noon()));
    }
}
