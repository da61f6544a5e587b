//! The rungs of the governor's ladder: what kind of message stands on each, and which step people read for it.

use super::BudgetStep;
use super::forecast::Demand;

/// From nothing to everything. Each is let through when the money pays for it and for what those below will ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    Nothing,
    /// Of tier 1 alerts, out of the reserve too.
    GraveTexts,
    Texts,
    GravePictures,
    Pictures,
    /// Clips that the district asked for.
    Requests,
    Clips1,
    Clips2,
    Clips3,
    /// Clips of tier 3 that are older than a day.
    StaleClips,
}

impl Rung {
    pub const COUNT: usize = 10;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Nothing,
        Self::GraveTexts,
        Self::Texts,
        Self::GravePictures,
        Self::Pictures,
        Self::Requests,
        Self::Clips1,
        Self::Clips2,
        Self::Clips3,
        Self::StaleClips,
    ];
    pub const LAST: Self = Self::StaleClips;

    /// A clip older than a day stands a rung higher than a fresh one of its tier.
    pub const fn of_clip(tier: u8, is_stale: bool) -> Self {
        match (tier, is_stale) {
            (1, false) => Self::Clips1,
            (1, true) | (2, false) => Self::Clips2,
            (2, true) | (_, false) => Self::Clips3,
            (_, true) => Self::StaleClips,
        }
    }

    /// Whose size is typical of it.
    pub const fn demand(self) -> Demand {
        match self {
            Self::Nothing | Self::GraveTexts | Self::Texts => Demand::Text,
            Self::GravePictures => Demand::Snapshot1,
            Self::Pictures => Demand::Snapshot,
            Self::Requests => Demand::Request,
            Self::Clips1 => Demand::Clip1,
            Self::Clips2 => Demand::Clip2,
            Self::Clips3 | Self::StaleClips => Demand::Clip3,
        }
    }

    /// The step when this is the highest rung reached.
    pub const fn step(self) -> BudgetStep {
        match self {
            Self::Nothing => BudgetStep::Off,
            Self::GraveTexts => BudgetStep::Reserve,
            Self::Texts => BudgetStep::TextOnly,
            Self::GravePictures | Self::Pictures => BudgetStep::SnapshotsOnly,
            Self::Requests | Self::Clips1 | Self::Clips2 => BudgetStep::ClipsOnRequest,
            Self::Clips3 | Self::StaleClips => BudgetStep::Full,
        }
    }

    /// The best step that tells why this rung is not reached.
    pub const fn step_below(self) -> BudgetStep {
        match self {
            Self::Nothing | Self::GraveTexts => BudgetStep::Off,
            Self::Texts => BudgetStep::Reserve,
            Self::GravePictures | Self::Pictures => BudgetStep::TextOnly,
            Self::Requests => BudgetStep::SnapshotsOnly,
            Self::Clips1 | Self::Clips2 | Self::Clips3 | Self::StaleClips => BudgetStep::ClipsOnRequest,
        }
    }
}
