//! How well a model does on labelled pictures: what it saw and what is there come in, counts and rates go out.
//! Never reads a picture.

use crate::detection::Rect;

/// One class in one picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Detections of the class with their calibrated scores, in any order.
    pub found: Vec<(f32, Rect)>,
    /// Where the class is.
    pub truths: Vec<Rect>,
}

/// Counts of one class over all pictures at one threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub right: u64,
    /// Found where nothing is, or a second time.
    pub false_positives: u64,
    pub missed: u64,
}

impl Counts {
    /// Share of what was found that is right; `None` when nothing was found.
    #[must_use]
    pub fn precision(self) -> Option<f64> {
        ratio(self.right, self.right + self.false_positives)
    }

    /// Share of what is there that was found; `None` when nothing is there.
    #[must_use]
    pub fn recall(self) -> Option<f64> {
        ratio(self.right, self.right + self.missed)
    }

    /// Harmonic mean of precision and recall; 0 when nothing is right.
    #[must_use]
    pub fn f1(self) -> Option<f64> {
        ratio(2 * self.right, 2 * self.right + self.false_positives + self.missed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of pictures")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Wilson's 95 % interval of a share; `None` of nothing.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of pictures")]
pub fn interval(part: u64, whole: u64) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_964;
    let share = ratio(part, whole)?;
    let n = whole as f64;
    let middle = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some((((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0)))
}

/// Counts detections of at least `threshold`; one is right when it overlaps a truth by `iou` that no better one has.
#[must_use]
pub fn counts(pictures: &[Seen], threshold: f32, iou: f32) -> Counts {
    let mut counts = Counts::default();
    for seen in pictures {
        let matched = matches(seen, iou).into_iter().filter(|(score, _)| *score >= threshold);
        let (right, wrong): (Vec<_>, Vec<_>) = matched.partition(|(_, is_right)| *is_right);
        counts.right += right.len() as u64;
        counts.false_positives += wrong.len() as u64;
        counts.missed += (seen.truths.len() - right.len()) as u64;
    }
    counts
}

/// Average precision: the area below the curve of precision over recall, with precision made monotonic (as PASCAL VOC
/// does since 2010). `None` when the class is nowhere.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of pictures")]
pub fn average_precision(pictures: &[Seen], iou: f32) -> Option<f64> {
    let truths: usize = pictures.iter().map(|seen| seen.truths.len()).sum();
    let mut ranked: Vec<(f32, bool)> = pictures.iter().flat_map(|seen| matches(seen, iou)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut right = 0;
    let mut precisions: Vec<(f64, bool)> = Vec::with_capacity(ranked.len());
    for (index, (_, is_right)) in ranked.iter().enumerate() {
        right += usize::from(*is_right);
        precisions.push((right as f64 / (index + 1) as f64, *is_right));
    }
    let mut best = 0.0_f64;
    let mut area = 0.0;
    for (precision, is_right) in precisions.into_iter().rev() {
        best = best.max(precision);
        if is_right {
            area += best;
        }
    }
    (truths > 0).then(|| area / truths as f64)
}

/// Each detection by falling score, and whether it has a truth of its own.
fn matches(seen: &Seen, iou: f32) -> Vec<(f32, bool)> {
    let mut found = seen.found.clone();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut free: Vec<Rect> = seen.truths.clone();
    let mut matched = Vec::with_capacity(found.len());
    for (score, rect) in found {
        let overlaps = free.iter().map(|truth| truth.iou(rect)).enumerate();
        let best = overlaps.filter(|(_, overlap)| *overlap >= iou).max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((index, _)) = best {
            free.swap_remove(index);
        }
        matched.push((score, best.is_some()));
    }
    matched
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(x: f32) -> Rect {
        Rect::new(x, 0.0, 0.1, 0.1)
    }

    #[test]
    fn a_second_box_on_the_same_thing_is_false() {
        let seen = Seen { found: vec![(0.9, at(0.0)), (0.8, at(0.01))], truths: vec![at(0.0), at(0.5)] };
        let counted = counts(std::slice::from_ref(&seen), 0.5, 0.5);
        assert_eq!(counted, Counts { right: 1, false_positives: 1, missed: 1 });
        assert_eq!((counted.precision(), counted.recall(), counted.f1()), (Some(0.5), Some(0.5), Some(0.5)));
    }

    #[test]
    fn what_is_below_the_threshold_is_missed_and_not_false() {
        let seen = Seen { found: vec![(0.4, at(0.0)), (0.3, at(0.9))], truths: vec![at(0.0)] };
        assert_eq!(counts(&[seen], 0.5, 0.5), Counts { right: 0, false_positives: 0, missed: 1 });
    }

    #[test]
    fn a_picture_without_the_class_has_no_recall_and_every_detection_is_false() {
        let seen = Seen { found: vec![(0.9, at(0.0))], truths: Vec::new() };
        let counted = counts(std::slice::from_ref(&seen), 0.5, 0.3);
        assert_eq!((counted.precision(), counted.recall()), (Some(0.0), None));
        assert_eq!(average_precision(&[seen], 0.3), None);
    }

    #[test]
    fn average_precision_is_the_area_below_the_monotonic_curve() {
        // By score: right, false, right; one truth is never found. Precisions 1, 1/2, 2/3.
        let first = Seen { found: vec![(0.9, at(0.0)), (0.8, at(0.5))], truths: vec![at(0.0)] };
        let second = Seen { found: vec![(0.7, at(0.2))], truths: vec![at(0.2), at(0.8)] };
        let area = average_precision(&[first, second], 0.5).expect("the class is there");
        assert!((area - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-9, "{area}");
    }

    #[test]
    fn an_interval_is_wilsons() {
        let (low, high) = interval(95, 100).expect("of a hundred");
        assert!((low - 0.8882).abs() < 1e-3 && (high - 0.9785).abs() < 1e-3, "{low} {high}");
        assert_eq!(interval(0, 0), None);
    }

    proptest! {
        #[test]
        fn counts_add_up_and_areas_are_shares(
            found in prop::collection::vec((0.0_f32..1.0, 0.0_f32..0.9), 0..8),
            truths in prop::collection::vec(0.0_f32..0.9, 0..8),
        ) {
            let seen = Seen {
                found: found.iter().map(|&(score, x)| (score, at(x))).collect(),
                truths: truths.into_iter().map(at).collect(),
            };
            let counted = counts(std::slice::from_ref(&seen), 0.3, 0.5);
            prop_assert_eq!(counted.right + counted.missed, seen.truths.len() as u64);
            let acted = found.iter().filter(|(score, _)| *score >= 0.3).count() as u64;
            prop_assert_eq!(counted.right + counted.false_positives, acted);
            let area = average_precision(&[seen], 0.5).unwrap_or(0.0);
            prop_assert!((0.0..=1.0).contains(&area));
        }
    }
}
