//! The body of an alert's records: what the district reads, the same type from the episode to the wire.
//! One episode is one alert: opened once, updated and given clips, closed once.

use serde::{Deserialize, Serialize};

use crate::detection::{Detection, Label};
use crate::rules::RuleId;
use crate::time::Wall;
use crate::wire::MessageId;

/// Which record of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlertRecord {
    #[serde(rename = "alert.opened")]
    Opened,
    #[serde(rename = "alert.updated")]
    Updated,
    #[serde(rename = "alert.clip")]
    Clip,
    #[serde(rename = "alert.closed")]
    Closed,
}

impl AlertRecord {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "alert.opened",
            Self::Updated => "alert.updated",
            Self::Clip => "alert.clip",
            Self::Closed => "alert.closed",
        }
    }
}

/// Why an alert was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    Cleared,
    /// Nothing could be looked at for a whole window.
    Lost,
    /// The agent was started anew while the episode ran.
    Restart,
}

/// A box as the contract writes it, numbers rounded to 4 decimals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertBox {
    pub label: Label,
    pub score: f64,
    pub x: f64,
    pub y: f64,
    pub w: f64,
    pub h: f64,
}

impl From<Detection> for AlertBox {
    fn from(detection: Detection) -> Self {
        let rect = detection.rect.clamped();
        Self {
            label: detection.label,
            score: round4(detection.score),
            x: round4(rect.x),
            y: round4(rect.y),
            w: round4(rect.w),
            h: round4(rect.h),
        }
    }
}

/// Rounded to 4 decimals, as evidence is hashed.
#[must_use]
pub fn round4(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

/// The model that saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    pub name: String,
    pub version: String,
    pub sha256: String,
}

/// The picture that was sent, and the clean original that stays on the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    pub sha256: String,
    pub bytes: u64,
    pub original_sha256: String,
}

/// A finished clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipRef {
    pub clip_id: String,
    pub sha256: String,
    pub bytes: u64,
    pub duration_ms: u64,
    pub start: Wall,
    /// Not as the camera coded it: made smaller, or a privacy mask lies in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reencoded: bool,
}

/// Body of `alert.opened`, `.updated`, `.clip` and `.closed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertBody {
    /// The id of the alert's `alert.opened`; absent until that record is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_id: Option<MessageId>,
    pub rule: RuleId,
    pub tier: u8,
    pub camera: String,
    pub zone: Option<String>,
    pub opened_at: Wall,
    pub duration_ms: u64,
    /// Median over the episode; absent for rules without a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    pub boxes: Vec<AlertBox>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    pub snapshot: Option<SnapshotRef>,
    /// `waiting: <reason>` where the picture could not follow at once; absent where it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_status: Option<String>,
    pub clip: Option<ClipRef>,
    /// `none`, `recording`, `waiting: <reason>`, `on_request`, `attached`, `failed: <reason>`.
    pub clip_status: String,
    /// Only in `alert.closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CloseReason>,
    /// What a rule without boxes saw, e.g. why a camera is offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
