//! The catalogue of violations: identifiers, names, tiers and defaults.
//! What each rule looks for stands in the file of its name.

pub mod animal;
pub mod bare_torso;
pub mod bin_open;
pub mod box_health;
pub mod camera_offline;
pub mod fire;
pub mod intrusion;
pub mod lens_covered;
pub mod no_hat;
pub mod no_mask;
pub mod no_uniform;
pub mod phone;
pub mod rodent;
pub mod smoking;
pub mod waste;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::detection::{Detection, Label};
use crate::tracker::Track;
use crate::zone::Area;

/// What one look of a rule found: how sure, and the boxes that show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub score: f32,
    pub boxes: Vec<Detection>,
}

impl Hit {
    /// The tracks that show the violation; nothing when there are none. The score is that of the surest.
    #[must_use]
    pub fn of<'t>(tracks: impl Iterator<Item = &'t Track>) -> Option<Self> {
        let boxes: Vec<Detection> = tracks.map(Track::detection).collect();
        let score = boxes.iter().map(|detection| detection.score).max_by(f32::total_cmp)?;
        Some(Self { score, boxes })
    }
}

/// What a look of a rule came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// The rule's model did not run at this frame: no look at all.
    NotAsked,
    Clear,
    Hit(Hit),
}

impl From<Option<Hit>> for Looked {
    fn from(hit: Option<Hit>) -> Self {
        hit.map_or(Self::Clear, Self::Hit)
    }
}

/// One look of a rule that reads tracks: what this look saw, in this area.
pub type Look = fn(&[Track], &Area) -> Looked;

/// The look of `rule`, for the rules that this version can run on tracks.
#[must_use]
pub fn look_of(rule: RuleId) -> Option<Look> {
    Some(match rule {
        RuleId::Animal => |tracks, area| animal::look(tracks, area).into(),
        RuleId::BinOpen => |tracks, area| bin_open::look(tracks, area).into(),
        RuleId::Fire => |tracks, area| fire::look(tracks, area).into(),
        RuleId::Intrusion => |tracks, area| intrusion::look(tracks, area).into(),
        RuleId::Phone => |tracks, area| phone::look(tracks, area).into(),
        RuleId::Rodent => |tracks, area| rodent::look(tracks, area).into(),
        RuleId::Smoking => |tracks, area| smoking::look(tracks, area).into(),
        RuleId::Waste => |tracks, area| waste::look(tracks, area).into(),
        RuleId::BareTorso => bare_torso::look,
        RuleId::NoHat => no_hat::look,
        RuleId::NoMask => no_mask::look,
        RuleId::NoUniform => no_uniform::look,
        _ => return None,
    })
}

/// The look of a rule on an attribute: who in the area is judged to be `label` rather than not.
fn attribute(tracks: &[Track], area: &Area, label: Label) -> Looked {
    let here = |track: &&Track| area.contains(track.rect.foot());
    if !tracks.iter().filter(here).any(|track| track.asked.contains(&label)) {
        return Looked::NotAsked;
    }
    let score = |track: &Track| track.attributes.get(&label).copied().filter(|score| *score >= MORE_LIKELY_THAN_NOT);
    let judged =
        tracks.iter().filter(here).filter_map(|track| Some(Detection { score: score(track)?, ..track.detection() }));
    let boxes: Vec<Detection> = judged.collect();
    let surest = boxes.iter().map(|detection| detection.score).max_by(f32::total_cmp);
    surest.map(|score| Hit { score, boxes }).into()
}

/// A score of an attribute from which a look hits; the episode then asks for the rule's own.
const MORE_LIKELY_THAN_NOT: f32 = 0.5;
/// Boxes of rivals that overlap by so much are about the same thing.
pub const SAME_THING: f32 = 0.3;

/// Whether something among `rivals` was seen in the same place, and more surely.
fn has_rival(track: &Track, tracks: &[Track], rivals: &[Label]) -> bool {
    let rival = |other: &&Track| rivals.contains(&other.label) && other.rect.iou(track.rect) >= SAME_THING;
    tracks.iter().filter(rival).any(|other| other.score > track.score)
}

/// A violation's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleId {
    Rodent,
    Fire,
    StoveUnattended,
    Smoking,
    BinOpen,
    Waste,
    Animal,
    BareTorso,
    Intrusion,
    NoHat,
    NoMask,
    NoUniform,
    Phone,
    CameraOffline,
    LensCovered,
    LensBlurred,
    ViewMoved,
    BoxHealth,
}

/// What is kept of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    None,
    Snapshot,
    /// A snapshot too.
    Clip,
}

/// A rule's names and defaults; `score` is absent where no model scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleDefaults {
    pub id: RuleId,
    pub name: &'static str,
    pub chinese: &'static str,
    pub english: &'static str,
    /// 1 is the gravest.
    pub tier: u8,
    pub score: Option<f32>,
    pub window_s: u32,
    pub cool_down_s: u32,
    pub evidence: EvidenceKind,
}

#[rustfmt::skip]
const TABLE: [RuleDefaults; 18] = [
    row(RuleId::Rodent, "rodent", "老鼠出没", "Rodent", 1, Some(0.60), 2, 600, EvidenceKind::Clip),
    row(RuleId::Fire, "fire", "明火烟雾", "Fire or smoke", 1, Some(0.70), 5, 300, EvidenceKind::Clip),
    row(RuleId::StoveUnattended, "stove_unattended", "动火离人", "Unattended stove", 1, Some(0.60), 120, 600, EvidenceKind::Clip),
    row(RuleId::Smoking, "smoking", "吸烟", "Smoking", 2, Some(0.60), 3, 600, EvidenceKind::Clip),
    row(RuleId::BinOpen, "bin_open", "垃圾桶未盖", "Bin uncovered", 2, Some(0.60), 60, 1800, EvidenceKind::Snapshot),
    row(RuleId::Waste, "waste", "垃圾满溢", "Overflow, waste on the floor", 2, Some(0.60), 120, 1800, EvidenceKind::Snapshot),
    row(RuleId::Animal, "animal", "猫狗入内", "Pet in the kitchen", 2, Some(0.60), 5, 1800, EvidenceKind::Snapshot),
    row(RuleId::BareTorso, "bare_torso", "赤膊", "Bare upper body", 2, Some(0.65), 5, 900, EvidenceKind::Snapshot),
    row(RuleId::Intrusion, "intrusion", "非工作时段闯入", "Person outside working hours", 2, Some(0.65), 10, 600, EvidenceKind::Clip),
    row(RuleId::NoHat, "no_hat", "未戴厨师帽", "No chef hat", 3, Some(0.65), 10, 900, EvidenceKind::Snapshot),
    row(RuleId::NoMask, "no_mask", "未戴口罩", "No mask", 3, Some(0.65), 15, 900, EvidenceKind::Snapshot),
    row(RuleId::NoUniform, "no_uniform", "未穿工作服", "No work clothes", 3, Some(0.65), 15, 1800, EvidenceKind::Snapshot),
    row(RuleId::Phone, "phone", "玩手机", "Phone in use", 3, Some(0.65), 10, 900, EvidenceKind::Snapshot),
    row(RuleId::CameraOffline, "camera_offline", "视频离线", "Camera offline", 2, None, 180, 3600, EvidenceKind::None),
    row(RuleId::LensCovered, "lens_covered", "镜头遮挡", "Lens covered", 2, None, 60, 3600, EvidenceKind::Snapshot),
    row(RuleId::LensBlurred, "lens_blurred", "镜头虚焦", "Lens blurred", 2, None, 60, 3600, EvidenceKind::Snapshot),
    row(RuleId::ViewMoved, "view_moved", "镜头移位", "View moved", 2, None, 60, 3600, EvidenceKind::Snapshot),
    row(RuleId::BoxHealth, "box_health", "设备异常", "Box health", 3, None, 60, 86400, EvidenceKind::None),
];

#[expect(clippy::too_many_arguments, reason = "one row of the table above, column by column")]
const fn row(
    id: RuleId,
    name: &'static str,
    chinese: &'static str,
    english: &'static str,
    tier: u8,
    score: Option<f32>,
    window_s: u32,
    cool_down_s: u32,
    evidence: EvidenceKind,
) -> RuleDefaults {
    RuleDefaults { id, name, chinese, english, tier, score, window_s, cool_down_s, evidence }
}

impl RuleId {
    /// Whether this version can run the rule, given the labels of the installed models.
    #[must_use]
    pub fn is_available(self, labels: &[Label]) -> bool {
        let has = |label| labels.contains(&label);
        match self {
            Self::Intrusion => has(Label::Person),
            Self::Phone => has(Label::Person) && has(Label::Phone),
            Self::Animal => has(Label::Cat) || has(Label::Dog),
            Self::Rodent => has(Label::Rat),
            Self::Smoking => has(Label::Person) && has(Label::Cigarette),
            Self::NoHat => has(Label::Head) && has(Label::NoHat),
            Self::NoMask => has(Label::Head) && has(Label::NoMask),
            Self::NoUniform => has(Label::Person) && has(Label::OtherClothes),
            Self::BareTorso => has(Label::Person) && has(Label::Bare),
            Self::Fire => has(Label::Fire),
            Self::BinOpen => has(Label::BinOpen),
            Self::Waste => has(Label::Waste),
            Self::BoxHealth | Self::CameraOffline | Self::LensCovered => true,
            _ => false,
        }
    }

    /// What a classifier says that keeps the rule from acting.
    #[must_use]
    pub const fn refuting_label(self) -> Option<Label> {
        match self {
            Self::Smoking => Some(Label::Mask),
            _ => None,
        }
    }

    /// What the model says on whose word the rule acts; absent where no model does.
    #[must_use]
    pub const fn deciding_label(self) -> Option<Label> {
        Some(match self {
            Self::Rodent => Label::Rat,
            Self::Fire => Label::Fire,
            Self::Smoking => Label::Cigarette,
            Self::BinOpen => Label::BinOpen,
            Self::Waste => Label::Waste,
            Self::Animal => Label::Cat,
            Self::BareTorso => Label::Bare,
            Self::Intrusion => Label::Person,
            Self::NoHat => Label::NoHat,
            Self::NoMask => Label::NoMask,
            Self::NoUniform => Label::OtherClothes,
            Self::Phone => Label::Phone,
            _ => return None,
        })
    }

    /// All rules in the order of the catalogue.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.id)
    }

    #[must_use]
    pub fn defaults(self) -> &'static RuleDefaults {
        &TABLE[self as usize]
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.defaults().name
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RuleId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all().find(|rule| rule.as_str() == text).ok_or_else(|| format!("{text:?} is no known rule"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_stands_in_its_own_row_and_reads_what_it_writes() {
        for rule in RuleId::all() {
            assert_eq!(rule.defaults().id, rule);
            assert_eq!(rule.as_str().parse(), Ok(rule));
            assert_eq!(serde_json::to_value(rule).expect("string"), rule.as_str());
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeSet;

    use super::{Hit, Look, Looked};
    use crate::detection::{Attributes, Label, Rect};
    use crate::time::Mono;
    use crate::tracker::Track;
    use crate::zone::Area;

    pub(crate) fn track(label: Label, score: f32, [x, y, w, h]: [f32; 4]) -> Track {
        let (rect, at) = (Rect::new(x, y, w, h), Mono::ZERO);
        let (attributes, asked) = Default::default();
        Track { id: 1, label, score, rect, first_seen: at, last_seen: at, looks: 1, moved: 0.0, attributes, asked }
    }

    /// A person of whom a classifier has just said this.
    fn judged(rect: [f32; 4], scores: [(Label, f32); 3]) -> Track {
        let attributes = Attributes::from(scores);
        let asked = attributes.keys().copied().collect();
        Track { attributes, asked, ..track(Label::Person, 0.9, rect) }
    }

    /// `look` hits whoever is judged to be `label`, not who is `opposite` or unknown, and only when somebody was asked.
    #[track_caller]
    pub(crate) fn assert_acts_on_attribute(look: Look, label: Label, opposite: Label) {
        let everywhere = Area::whole_picture();
        let scores = |is, is_not, unknown| [(label, is), (opposite, is_not), (Label::Unknown, unknown)];
        let violator = judged([0.1, 0.1, 0.2, 0.8], scores(0.8, 0.1, 0.1));
        let other = judged([0.6, 0.1, 0.2, 0.8], scores(0.1, 0.8, 0.1));
        let unknown = judged([0.6, 0.1, 0.2, 0.8], scores(0.1, 0.0, 0.9));
        let Looked::Hit(hit) = look(&[other.clone(), violator.clone()], &everywhere) else { panic!("no hit") };
        assert_eq!((hit.score, hit.boxes.len(), hit.boxes[0].rect), (0.8, 1, violator.rect));
        assert_eq!(look(&[other, unknown], &everywhere), Looked::Clear);
        // Between two looks of the classifier there is none of the rule.
        let waiting = Track { asked: BTreeSet::new(), ..violator };
        assert_eq!(look(&[waiting], &everywhere), Looked::NotAsked);
        assert_eq!(look(&[], &everywhere), Looked::NotAsked);
    }

    /// `look` hits what is seen as `label` inside of its area, and nothing else.
    #[track_caller]
    pub(crate) fn assert_counts_in_its_area(look: fn(&[Track], &Area) -> Option<Hit>, label: Label) {
        let area = Area::zone("left", vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]);
        let (inside, outside) = (track(label, 0.7, [0.1, 0.4, 0.2, 0.3]), track(label, 0.9, [0.6, 0.4, 0.2, 0.3]));
        let person = track(Label::Person, 0.9, [0.1, 0.4, 0.2, 0.3]);
        let hit = look(&[inside.clone(), outside.clone(), person.clone()], &area).expect("one inside");
        assert_eq!((hit.score, hit.boxes), (0.7, vec![inside.detection()]));
        assert_eq!(look(&[outside, person], &area), None);
    }
}
