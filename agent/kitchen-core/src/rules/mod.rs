//! The catalogue of violations: identifiers, names, tiers and defaults.
//! What each rule looks for stands in the file of its name.

pub mod animal;
pub mod box_health;
pub mod camera_offline;
pub mod intrusion;
pub mod lens_covered;
pub mod phone;

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

/// One look of a rule that reads tracks: what this look saw, in this area.
pub type Look = fn(&[Track], &Area) -> Option<Hit>;

/// The look of `rule`, for the rules that this version can run on tracks.
#[must_use]
pub fn look_of(rule: RuleId) -> Option<Look> {
    match rule {
        RuleId::Animal => Some(animal::look),
        RuleId::Intrusion => Some(intrusion::look),
        RuleId::Phone => Some(phone::look),
        _ => None,
    }
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
            Self::BoxHealth | Self::CameraOffline | Self::LensCovered => true,
            _ => false,
        }
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
    use crate::detection::{Label, Rect};
    use crate::time::Mono;
    use crate::tracker::Track;

    pub(crate) fn track(label: Label, score: f32, [x, y, w, h]: [f32; 4]) -> Track {
        let (rect, at) = (Rect::new(x, y, w, h), Mono::ZERO);
        Track { id: 1, label, score, rect, first_seen: at, last_seen: at, looks: 1 }
    }
}
