//! The body of an alert as the desk would write it, for tests that store and send alerts without seeing anything.

use kitchen_core::alert::AlertBody;
use kitchen_core::rules::RuleId;
use kitchen_core::time::Wall;

/// Of the camera `stove`, 3 s long, without boxes, picture or clip.
#[must_use]
pub fn alert_body(rule: RuleId, opened_at: Wall) -> AlertBody {
    AlertBody {
        alert_id: None,
        rule,
        tier: rule.defaults().tier,
        camera: "stove".to_owned(),
        zone: None,
        opened_at,
        duration_ms: 3000,
        score: Some(0.87),
        boxes: Vec::new(),
        model: None,
        snapshot: None,
        snapshot_status: None,
        clip: None,
        clip_status: "none".to_owned(),
        reason: None,
        detail: None,
    }
}
