//! What a detector saw in one picture: labelled boxes with calibrated scores.
//! Coordinates are fractions of the picture, 0..1, origin at the top left corner.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a detection can be, and what it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    Person,
    Head,
    Face,
    Phone,
    Cigarette,
    Rat,
    Cat,
    Dog,
    Fire,
    BinOpen,
    Waste,
    Mask,
    NoMask,
    Hat,
    NoHat,
    WorkClothes,
    OtherClothes,
    Bare,
    /// What a classifier can't judge: turned away, cut off, too small.
    Unknown,
}

impl Label {
    pub const ALL: [Self; 19] = [
        Self::Person,
        Self::Head,
        Self::Face,
        Self::Phone,
        Self::Cigarette,
        Self::Rat,
        Self::Cat,
        Self::Dog,
        Self::Fire,
        Self::BinOpen,
        Self::Waste,
        Self::Mask,
        Self::NoMask,
        Self::Hat,
        Self::NoHat,
        Self::WorkClothes,
        Self::OtherClothes,
        Self::Bare,
        Self::Unknown,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Head => "head",
            Self::Face => "face",
            Self::Phone => "phone",
            Self::Cigarette => "cigarette",
            Self::Rat => "rat",
            Self::Cat => "cat",
            Self::Dog => "dog",
            Self::Fire => "fire",
            Self::BinOpen => "bin_open",
            Self::Waste => "waste",
            Self::Mask => "mask",
            Self::NoMask => "no_mask",
            Self::Hat => "hat",
            Self::NoHat => "no_hat",
            Self::WorkClothes => "work_clothes",
            Self::OtherClothes => "other_clothes",
            Self::Bare => "bare",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|label| label.as_str() == text).ok_or_else(|| format!("{text:?} is no known label"))
    }
}

/// A box: corner and size as fractions of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
}

impl Rect {
    #[must_use]
    pub const fn new(x: f32, y: f32, w: f32, h: f32) -> Self {
        Self { x, y, w, h }
    }

    #[must_use]
    pub fn area(self) -> f32 {
        self.w.max(0.0) * self.h.max(0.0)
    }

    #[must_use]
    pub fn centre(self) -> [f32; 2] {
        [self.x + self.w / 2.0, self.y + self.h / 2.0]
    }

    /// Middle of the lower edge: where somebody stands.
    #[must_use]
    pub fn foot(self) -> [f32; 2] {
        [self.x + self.w / 2.0, self.y + self.h]
    }

    /// Area shared with `other`.
    #[must_use]
    pub fn intersection(self, other: Self) -> f32 {
        let width = (self.x + self.w).min(other.x + other.w) - self.x.max(other.x);
        let height = (self.y + self.h).min(other.y + other.h) - self.y.max(other.y);
        width.max(0.0) * height.max(0.0)
    }

    /// Share of this box that lies inside `other`, 0..1.
    #[must_use]
    pub fn share_within(self, other: Self) -> f32 {
        let area = self.area();
        if area > 0.0 { self.intersection(other) / area } else { 0.0 }
    }

    /// Larger by these shares of its width and height on each side.
    #[must_use]
    pub fn widened(self, across: f32, along: f32) -> Self {
        let (dx, dy) = (self.w * across, self.h * along);
        Self::new(self.x - dx, self.y - dy, self.w + 2.0 * dx, self.h + 2.0 * dy)
    }

    #[must_use]
    pub fn contains(self, [x, y]: [f32; 2]) -> bool {
        (self.x..=self.x + self.w).contains(&x) && (self.y..=self.y + self.h).contains(&y)
    }

    /// Intersection over union, 0..1.
    #[must_use]
    pub fn iou(self, other: Self) -> f32 {
        let shared = self.intersection(other);
        let union = self.area() + other.area() - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// The part inside the picture.
    #[must_use]
    pub fn clamped(self) -> Self {
        let (left, top) = (self.x.clamp(0.0, 1.0), self.y.clamp(0.0, 1.0));
        let (right, bottom) = ((self.x + self.w).clamp(0.0, 1.0), (self.y + self.h).clamp(0.0, 1.0));
        Self { x: left, y: top, w: right - left, h: bottom - top }
    }
}

/// Calibrated scores of what somebody wears or is: an attribute, its opposite and what is left for unknown add up
/// to 1. Not asked is absent.
pub type Attributes = BTreeMap<Label, f32>;

/// One labelled box; `score` is calibrated, 0..1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub label: Label,
    pub score: f32,
    #[serde(flatten)]
    pub rect: Rect,
}

/// Greedy non-maximum suppression a label: of boxes that overlap by `iou` or more the best scored stays.
/// The result is ordered by falling score.
#[must_use]
pub fn suppress(mut detections: Vec<Detection>, iou: f32) -> Vec<Detection> {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::with_capacity(detections.len().min(64));
    for candidate in detections {
        let covered = |better: &Detection| better.label == candidate.label && better.rect.iou(candidate.rect) >= iou;
        if !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(score: f32, x: f32) -> Detection {
        Detection { label: Label::Person, score, rect: Rect::new(x, 0.1, 0.2, 0.4) }
    }

    #[test]
    fn the_best_of_overlapping_boxes_stays() {
        let phone = Detection { label: Label::Phone, ..person(0.3, 0.1) };
        let kept = suppress(vec![person(0.5, 0.11), person(0.9, 0.1), phone, person(0.4, 0.6)], 0.5);
        assert_eq!(kept, vec![person(0.9, 0.1), person(0.4, 0.6), phone]);
    }

    #[test]
    fn overlap_of_half_shifted_boxes_is_a_third() {
        let iou = Rect::new(0.0, 0.0, 0.2, 0.2).iou(Rect::new(0.1, 0.0, 0.2, 0.2));
        assert!((iou - 1.0 / 3.0).abs() < 1e-5, "{iou}");
        assert_eq!(Rect::new(0.0, 0.0, 0.0, 0.0).iou(Rect::default()), 0.0);
    }

    #[test]
    fn labels_read_what_they_write() {
        for label in Label::ALL {
            assert_eq!(label.as_str().parse::<Label>(), Ok(label));
            assert_eq!(serde_json::to_value(label).expect("string"), label.as_str());
        }
    }
}
