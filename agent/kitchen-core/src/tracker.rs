//! Detections of successive looks become tracks: the same subject under the same number.
//! ByteTrack's order of association (sure detections first, then doubtful ones for tracks still unmatched)
//! over a constant-velocity Kalman filter. Boxes are widened before they are compared, because at two looks a
//! second a walking person hardly overlaps himself.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::detection::{Attributes, Detection, Label, Rect};
use crate::time::Mono;

/// Detections from this calibrated score on start tracks and are associated first.
const SURE: f32 = 0.5;
/// Detections below this are ignored.
const DOUBTFUL: f32 = 0.1;
/// Share of its size by which a box is widened on each side before comparison, by stage.
const WIDEN: [f32; 2] = [0.3, 0.5];
/// Least overlap of widened boxes, by stage.
const LEAST_IOU: [f32; 2] = [0.15, 0.35];
/// A rat runs so many of its lengths between two looks: a metre a second at two looks a second.
const DASH: f32 = 4.0;
/// A track unseen for longer is forgotten.
const KEEP: Duration = Duration::from_secs(4);

/// One subject followed over looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Unique within this tracker.
    pub id: u64,
    pub label: Label,
    /// Calibrated score in the latest look that saw it.
    pub score: f32,
    /// Where the latest look that saw it found it.
    pub rect: Rect,
    pub first_seen: Mono,
    pub last_seen: Mono,
    /// Looks that saw it.
    pub looks: u32,
    /// How far its centre has been from where it was first seen, in lengths of the longer side it had there.
    pub moved: f32,
    /// What the classifiers' latest looks say of it, by vote; see [`crate::attributes`].
    pub attributes: Attributes,
    /// The labels that a classifier was asked for in this very look.
    pub asked: BTreeSet<Label>,
}

impl Track {
    #[must_use]
    pub fn detection(&self) -> Detection {
        Detection { label: self.label, score: self.score, rect: self.rect }
    }
}

#[derive(Debug)]
struct Tracked {
    track: Track,
    motion: Motion,
    first: Rect,
}

/// Follows all labels of one camera.
#[derive(Debug, Default)]
pub struct Tracker {
    tracked: Vec<Tracked>,
    next_id: u64,
    last_look: Option<Mono>,
}

impl Tracker {
    /// Takes the detections of one look and returns the tracks that this look saw, oldest first.
    pub fn handle_detections(&mut self, detections: &[Detection], now: Mono) -> Vec<Track> {
        let elapsed_s = self.last_look.map_or(0.0, |last| now.since(last).as_secs_f32());
        self.last_look = Some(now);
        self.tracked.retain(|tracked| now.since(tracked.track.last_seen) <= KEEP);
        for tracked in &mut self.tracked {
            tracked.motion.predict(elapsed_s);
        }
        let (sure, doubtful): (Vec<Detection>, Vec<Detection>) =
            detections.iter().filter(|d| d.score >= DOUBTFUL).partition(|d| d.score >= SURE);

        let mut unmatched: Vec<usize> = (0..self.tracked.len()).collect();
        let fresh = self.associate(0, &sure, &mut unmatched, now);
        // Doubtful detections continue what was seen lately, but never start a track.
        unmatched.retain(|&index| now.since(self.tracked[index].track.last_seen) <= KEEP / 2);
        self.associate(1, &doubtful, &mut unmatched, now);
        for detection in fresh {
            self.start(detection, now);
        }
        self.tracked.iter().filter(|t| t.track.last_seen == now).map(|t| t.track.clone()).collect()
    }

    /// What the latest look did not see but one within `lately` did, where it should be by now.
    pub fn lost_from_sight(&self, now: Mono, lately: Duration) -> impl Iterator<Item = Detection> {
        let is_lost =
            move |tracked: &&Tracked| tracked.track.last_seen < now && now.since(tracked.track.last_seen) <= lately;
        let lost = self.tracked.iter().filter(is_lost);
        lost.map(|tracked| Detection { rect: tracked.motion.rect(), ..tracked.track.detection() })
    }

    /// Matches `detections` with the tracks in `unmatched`, takes matched ones out of it, and returns what is left.
    fn associate(
        &mut self,
        stage: usize,
        detections: &[Detection],
        unmatched: &mut Vec<usize>,
        now: Mono,
    ) -> Vec<Detection> {
        let mut taken = vec![false; detections.len()];
        for (index, chosen) in assign(&self.similarities(stage, detections, unmatched)).into_iter().enumerate().rev() {
            let Some(column) = chosen else { continue };
            taken[column] = true;
            let tracked = &mut self.tracked[unmatched.remove(index)];
            tracked.motion.correct(detections[column].rect);
            tracked.track.rect = detections[column].rect;
            tracked.track.score = detections[column].score;
            tracked.track.last_seen = now;
            tracked.track.looks += 1;
            tracked.track.moved = tracked.track.moved.max(distance(tracked.first, tracked.track.rect));
        }
        detections.iter().zip(taken).filter(|(_, taken)| !taken).map(|(detection, _)| *detection).collect()
    }

    /// A row for each unmatched track, a column for each detection; zero where they can't be the same.
    fn similarities(&self, stage: usize, detections: &[Detection], unmatched: &[usize]) -> Vec<Vec<f32>> {
        let similarity = |tracked: &Tracked, detection: &Detection| {
            if tracked.track.label != detection.label {
                return 0.0;
            }
            let widened = |rect: Rect| rect.widened(WIDEN[stage], WIDEN[stage]);
            let iou = widened(tracked.motion.rect()).iou(widened(detection.rect));
            if iou >= LEAST_IOU[stage] {
                iou
            } else if stage == 0 && detection.label == Label::Rat {
                dash(tracked.track.rect, detection.rect)
            } else {
                0.0
            }
        };
        let row = |&index: &usize| detections.iter().map(|d| similarity(&self.tracked[index], d)).collect();
        unmatched.iter().map(row).collect()
    }

    fn start(&mut self, detection: Detection, now: Mono) {
        self.next_id += 1;
        let track = Track {
            id: self.next_id,
            label: detection.label,
            score: detection.score,
            rect: detection.rect,
            first_seen: now,
            last_seen: now,
            looks: 1,
            moved: 0.0,
            attributes: Attributes::new(),
            asked: BTreeSet::new(),
        };
        self.tracked.push(Tracked { track, motion: Motion::new(detection.rect), first: detection.rect });
    }
}

/// From centre to centre, in lengths of the longer side of `from`.
fn distance(from: Rect, to: Rect) -> f32 {
    let ([x, y], [to_x, to_y]) = (from.centre(), to.centre());
    (to_x - x).hypot(to_y - y) / from.w.max(from.h).max(1e-3)
}

/// How well a rat that ran from one box to the other explains both; less than any overlap does.
fn dash(from: Rect, to: Rect) -> f32 {
    let is_alike = (0.5..=2.0).contains(&(to.area() / from.area().max(1e-6)));
    let nearness = 1.0 - distance(from, to) / DASH;
    if is_alike && nearness > 0.0 { LEAST_IOU[0] * nearness } else { 0.0 }
}

/// The assignment of rows to columns with the greatest sum of similarities; zero never pairs.
fn assign(similarities: &[Vec<f32>]) -> Vec<Option<usize>> {
    let rows = similarities.len();
    let columns = similarities.first().map_or(0, Vec::len);
    if rows == 0 || columns == 0 {
        return vec![None; rows];
    }
    // Weights in thousandths; kuhn_munkres wants at least as many columns as rows.
    let weight = |row: usize, column: usize| (similarities[row][column] * 1000.0) as i64;
    let wide = rows <= columns;
    let matrix = if wide {
        pathfinding::matrix::Matrix::from_fn(rows, columns, |(row, column)| weight(row, column))
    } else {
        pathfinding::matrix::Matrix::from_fn(columns, rows, |(column, row)| weight(row, column))
    };
    let (_, pairs) = pathfinding::kuhn_munkres::kuhn_munkres(&matrix);
    let mut chosen = vec![None; rows];
    for (first, second) in pairs.into_iter().enumerate() {
        let (row, column) = if wide { (first, second) } else { (second, first) };
        if similarities[row][column] > 0.0 {
            chosen[row] = Some(column);
        }
    }
    chosen
}

/// Position and velocity of a box's centre and size, each coordinate filtered by itself: the noise is independent.
#[derive(Clone, Copy, Debug)]
struct Motion {
    coordinates: [Coordinate; 4],
}

impl Motion {
    fn new(rect: Rect) -> Self {
        let size = rect.h.max(1e-3);
        Self { coordinates: Self::measured(rect).map(|value| Coordinate::new(value, size)) }
    }

    fn measured(rect: Rect) -> [f32; 4] {
        let [x, y] = rect.centre();
        [x, y, rect.w, rect.h]
    }

    fn predict(&mut self, elapsed_s: f32) {
        let size = self.coordinates[3].value.max(1e-3);
        for coordinate in &mut self.coordinates {
            coordinate.predict(elapsed_s, size);
        }
    }

    fn correct(&mut self, rect: Rect) {
        let size = rect.h.max(1e-3);
        for (coordinate, value) in self.coordinates.iter_mut().zip(Self::measured(rect)) {
            coordinate.correct(value, size);
        }
    }

    fn rect(&self) -> Rect {
        let [x, y, w, h] = self.coordinates.map(|coordinate| coordinate.value);
        let (w, h) = (w.max(1e-3), h.max(1e-3));
        Rect::new(x - w / 2.0, y - h / 2.0, w, h)
    }
}

/// A Kalman filter of one coordinate with constant velocity; noise is a share of the box's height, as in ByteTrack.
#[derive(Clone, Copy, Debug)]
struct Coordinate {
    value: f32,
    velocity: f32,
    /// Covariance: value·value, value·velocity, velocity·velocity.
    covariance: [f32; 3],
}

/// Standard deviation of a measured coordinate, as a share of the box's height.
const MEASURED: f32 = 0.05;
/// Standard deviation of a velocity's change in a second, as a share of the box's height.
const ACCELERATION: f32 = 0.6;

impl Coordinate {
    fn new(value: f32, size: f32) -> Self {
        let (position, velocity) = (2.0 * MEASURED * size, ACCELERATION * size);
        Self { value, velocity: 0.0, covariance: [position * position, 0.0, velocity * velocity] }
    }

    fn predict(&mut self, elapsed_s: f32, size: f32) {
        self.value += self.velocity * elapsed_s;
        let [pp, pv, vv] = self.covariance;
        let acceleration = (ACCELERATION * size).powi(2);
        self.covariance = [
            pp + 2.0 * elapsed_s * pv + elapsed_s.powi(2) * vv + acceleration * elapsed_s.powi(3) / 3.0,
            pv + elapsed_s * vv + acceleration * elapsed_s.powi(2) / 2.0,
            vv + acceleration * elapsed_s,
        ];
    }

    fn correct(&mut self, measured: f32, size: f32) {
        let [pp, pv, vv] = self.covariance;
        let innovation = pp + (MEASURED * size).powi(2);
        let (gain_position, gain_velocity) = (pp / innovation, pv / innovation);
        let error = measured - self.value;
        self.value += gain_position * error;
        self.velocity += gain_velocity * error;
        self.covariance = [(1.0 - gain_position) * pp, (1.0 - gain_position) * pv, vv - gain_velocity * pv];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn person(score: f32, x: f32, y: f32) -> Detection {
        Detection { label: Label::Person, score, rect: Rect::new(x, y, 0.1, 0.3) }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn ids(tracks: &[Track]) -> Vec<u64> {
        tracks.iter().map(|track| track.id).collect()
    }

    #[test]
    fn a_walker_keeps_the_number_at_two_looks_a_second() {
        let mut tracker = Tracker::default();
        for look in 0..12u16 {
            // Nearly a whole width a look: the boxes themselves overlap by 5 % at most.
            let tracks =
                tracker.handle_detections(&[person(0.8, 0.09 * f32::from(look), 0.4)], at(u64::from(look) * 500));
            assert_eq!(ids(&tracks), [1], "look {look}");
            assert_eq!(tracks[0].looks, u32::from(look) + 1);
        }
    }

    #[test]
    fn what_has_moved_stays_moved_though_it_rests() {
        let mut tracker = Tracker::default();
        let mut seen = Vec::new();
        for (look, x) in [0.1, 0.1, 0.15, 0.2, 0.18, 0.16].into_iter().enumerate() {
            seen = tracker.handle_detections(&[person(0.8, x, 0.4)], at(look as u64 * 500));
            assert_eq!(seen[0].moved > 0.1, look > 1, "look {look}");
        }
        assert!((seen[0].moved - 1.0 / 3.0).abs() < 1e-3, "{seen:?}");
    }

    #[test]
    fn a_running_rat_keeps_its_number_and_a_far_one_gets_another() {
        let rat = |x| Detection { label: Label::Rat, score: 0.8, rect: Rect::new(x, 0.8, 0.03, 0.03) };
        let mut tracker = Tracker::default();
        assert_eq!(ids(&tracker.handle_detections(&[rat(0.1)], at(0))), [1]);
        let ran = tracker.handle_detections(&[rat(0.18)], at(500));
        assert!(ids(&ran) == [1] && ran[0].moved > 2.0, "{ran:?}");
        assert_eq!(ids(&tracker.handle_detections(&[rat(0.9)], at(1000))), [2]);
    }

    #[test]
    fn two_who_cross_keep_their_numbers() {
        let mut tracker = Tracker::default();
        for look in 0..11u16 {
            let step = 0.06 * f32::from(look);
            let (east, west) = (person(0.8, 0.1 + step, 0.40), person(0.8, 0.8 - step, 0.46));
            let tracks = tracker.handle_detections(&[west, east], at(u64::from(look) * 250));
            assert_eq!(tracks.len(), 2, "look {look}");
            let easterner = tracks.iter().find(|t| t.rect == east.rect).expect("seen");
            let first = if look == 0 { easterner.id } else { 2 };
            assert_eq!(easterner.id, first, "look {look}");
        }
    }

    #[test]
    fn doubtful_detections_continue_tracks_but_start_none() {
        let mut tracker = Tracker::default();
        assert!(tracker.handle_detections(&[person(0.3, 0.5, 0.5)], at(0)).is_empty());
        assert_eq!(ids(&tracker.handle_detections(&[person(0.8, 0.5, 0.5)], at(500))), [1]);
        let tracks = tracker.handle_detections(&[person(0.2, 0.51, 0.5)], at(1000));
        assert_eq!((ids(&tracks), tracks[0].score), (vec![1], 0.2));
        assert!(tracker.handle_detections(&[person(0.05, 0.51, 0.5)], at(1500)).is_empty());
    }

    #[test]
    fn a_subject_hidden_for_a_moment_comes_back_under_its_number_and_later_under_a_new_one() {
        let mut tracker = Tracker::default();
        tracker.handle_detections(&[person(0.8, 0.5, 0.5)], at(0));
        tracker.handle_detections(&[], at(1000));
        assert_eq!(ids(&tracker.handle_detections(&[person(0.8, 0.5, 0.5)], at(3000))), [1]);
        tracker.handle_detections(&[], at(7000));
        assert_eq!(ids(&tracker.handle_detections(&[person(0.8, 0.5, 0.5)], at(7500))), [2]);
    }

    #[test]
    fn a_cat_never_continues_a_person() {
        let mut tracker = Tracker::default();
        tracker.handle_detections(&[person(0.8, 0.5, 0.5)], at(0));
        let cat = Detection { label: Label::Cat, ..person(0.8, 0.5, 0.5) };
        assert_eq!(ids(&tracker.handle_detections(&[cat], at(500))), [2]);
    }

    proptest! {
        #[test]
        fn every_sure_detection_belongs_to_exactly_one_track(
            looks in prop::collection::vec(
                prop::collection::vec((0.0f32..0.9, 0.0f32..0.7, 0.0f32..1.0), 0..12), 1..12)
        ) {
            let mut tracker = Tracker::default();
            for (look, detections) in looks.iter().enumerate() {
                let detections: Vec<Detection> = detections.iter().map(|&(x, y, score)| person(score, x, y)).collect();
                let tracks = tracker.handle_detections(&detections, at(look as u64 * 400));
                let sure = detections.iter().filter(|d| d.score >= SURE).count();
                prop_assert!(tracks.len() >= sure);
                prop_assert!(tracks.len() <= detections.len());
                let mut numbers = ids(&tracks);
                numbers.dedup();
                prop_assert_eq!(numbers.len(), tracks.len());
                for track in &tracks {
                    prop_assert!(detections.iter().any(|d| d.rect == track.rect && d.score == track.score));
                }
            }
        }
    }

    #[test]
    fn who_was_lost_from_sight_is_told_for_a_while_where_he_should_be() {
        let mut tracker = Tracker::default();
        let person = |x| Detection { label: Label::Person, score: 0.9, rect: Rect::new(x, 0.2, 0.1, 0.5) };
        for (look, x) in [0.1, 0.12, 0.14, 0.16].into_iter().enumerate() {
            tracker.handle_detections(&[person(x)], Mono::from_millis(look as u64 * 500));
        }
        let lost = |tracker: &Tracker, ms| {
            let lately = Duration::from_millis(1500);
            tracker.lost_from_sight(Mono::from_millis(ms), lately).collect::<Vec<_>>()
        };
        assert!(lost(&tracker, 1500).is_empty(), "he is in sight");
        tracker.handle_detections(&[], Mono::from_millis(2000));
        let [seen] = lost(&tracker, 2000)[..] else { panic!("one is lost") };
        assert!(seen.label == Label::Person && (0.16..0.22).contains(&seen.rect.x), "{seen:?}");
        tracker.handle_detections(&[], Mono::from_millis(3500));
        assert!(lost(&tracker, 3500).is_empty());
    }
}
