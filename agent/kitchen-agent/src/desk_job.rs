//! What the analyses ask of the alert desk, and its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use kitchen_core::time::Stamp;
use kitchen_core::watch::{Violation, ViolationKey};
use tracing::error;

use crate::alert_desk::{AlertDesk, DeskCamera, Ledger};
use crate::analysis::Sight;

/// What the analyses hand to the desk.
pub enum DeskJob {
    /// A violation, and where the desk answers.
    Violation {
        camera: Arc<DeskCamera>,
        violation: Violation,
        sight: Option<Sight>,
        stamp: Stamp,
        answers: Sender<Answer>,
    },
    /// The analysis of this camera begins anew.
    Restarted { camera: String, stamp: Stamp },
}

/// Whether the alert of a violation was raised.
pub struct Answer {
    pub key: ViolationKey,
    pub raised: bool,
}

impl DeskJob {
    /// Lets the desk do it. A violation on which the desk panics is not raised: it must not take the others along,
    /// nor leave its analysis without an answer.
    pub fn handle<L: Ledger>(self, desk: &mut AlertDesk<L>) {
        let (camera, violation, sight, stamp, answers) = match self {
            Self::Restarted { camera, stamp } => return desk.handle_restarted(&camera, stamp),
            Self::Violation { camera, violation, sight, stamp, answers } => (camera, violation, sight, stamp, answers),
        };
        let opened = match &violation {
            Violation::Opened { key, .. } => Some(key.clone()),
            _ => None,
        };
        let handled = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!("violation");
            desk.handle_violation(&camera, violation, sight.as_ref(), stamp)
        }));
        let raised = handled.unwrap_or_else(|_| {
            error!(camera = %camera.id, "the alert desk panicked: one violation is lost");
            opened.is_some().then_some(false)
        });
        if let Some((key, raised)) = opened.zip(raised) {
            // An analysis that has ended needs no answer.
            let _ = answers.send(Answer { key, raised });
        }
    }
}
