//! What the analyses ask of the alert desk, and its answer.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, TrySendError};

use kitchen_core::time::Stamp;
use kitchen_core::watch::{Violation, ViolationKey};
use kitchen_core::wire::MessageId;
use tracing::error;

use crate::alert_desk::{AlertDesk, DeskCamera, Ledger};
use crate::analysis::Sight;
use crate::clip_stage::ClipOwner;
use crate::evidence::CutClip;

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
    /// A clip is finished, or why there is none.
    Clip { owner: Box<ClipOwner>, clip: Result<CutClip, String>, stamp: Stamp },
    /// The alert's clip waits, and why.
    ClipHeld { alert_id: MessageId, status: String, stamp: Stamp },
    /// The analysis of this camera begins anew.
    Restarted { camera: String, stamp: Stamp },
    /// The agent stops, and nothing more comes.
    Stop,
}

/// Whether the alert of a violation was raised.
pub struct Answer {
    pub key: ViolationKey,
    pub raised: bool,
}

/// Violations of the box itself on their way to the desk: what finds no room there is handed over later.
pub struct Backlog {
    camera: Arc<DeskCamera>,
    desk: SyncSender<DeskJob>,
    answers: Sender<Answer>,
    waiting: VecDeque<DeskJob>,
}

impl Backlog {
    /// `camera` is how the box's own alerts name their camera; nothing is raised where its rule is off.
    pub fn new(camera: Arc<DeskCamera>, desk: SyncSender<DeskJob>, answers: Sender<Answer>) -> Self {
        Self { camera, desk, answers, waiting: VecDeque::new() }
    }

    pub fn push(&mut self, violation: Violation, stamp: Stamp) {
        if !self.camera.rules.is_empty() {
            let (camera, answers) = (Arc::clone(&self.camera), self.answers.clone());
            self.waiting.push_back(DeskJob::Violation { camera, violation, sight: None, stamp, answers });
        }
    }

    /// As many as the desk has room for.
    pub fn hand_over(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(job)) = self.desk.try_send(job) {
                self.waiting.push_front(job);
                return;
            }
        }
    }
}

impl DeskJob {
    /// Lets the desk do it. A job on which the desk panics must not take the others along, nor leave its analysis
    /// without an answer: its violation is not raised.
    pub fn handle<L: Ledger>(self, desk: &mut AlertDesk<L>) {
        let asked = self.asked();
        let handled = catch_unwind(AssertUnwindSafe(|| self.hand_to(desk)));
        let raised = handled.unwrap_or_else(|_| {
            error!("the alert desk panicked: one violation is lost");
            Some(false)
        });
        if let Some(((key, answers), raised)) = asked.zip(raised) {
            // An analysis that has ended needs no answer.
            let _ = answers.send(Answer { key, raised });
        }
    }

    /// What has to be answered, and where.
    fn asked(&self) -> Option<(ViolationKey, Sender<Answer>)> {
        match self {
            Self::Violation { violation: Violation::Opened { key, .. }, answers, .. } => {
                Some((key.clone(), answers.clone()))
            }
            _ => None,
        }
    }

    fn hand_to<L: Ledger>(self, desk: &mut AlertDesk<L>) -> Option<bool> {
        fail::fail_point!("violation");
        match self {
            Self::Violation { camera, violation, sight, stamp, .. } => {
                desk.handle_violation(&camera, violation, sight.as_ref(), stamp)
            }
            Self::Clip { owner, clip, stamp } => {
                desk.handle_clip(&owner, clip, stamp);
                None
            }
            Self::Stop => None,
            Self::ClipHeld { alert_id, status, stamp } => {
                desk.handle_clip_held(&alert_id, status, stamp);
                None
            }
            Self::Restarted { camera, stamp } => {
                desk.handle_restarted(&camera, stamp);
                None
            }
        }
    }
}
