//! Violations become alerts: the record, its pictures, later its clip and its end, committed before anything is sent.
//! One desk serves the whole box. Where records go is a [`Ledger`]: the store, or the output of a replay.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kitchen_core::alert::{AlertBody, AlertBox, AlertRecord, ClipRef, CloseReason, ModelRef, round4};
use kitchen_core::caps::DailyCaps;
use kitchen_core::config::{ClipConfig, RuleSettings};
use kitchen_core::rules::{EvidenceKind, RuleId};
use kitchen_core::time::{Mono, Stamp, TimeZone, millis};
use kitchen_core::watch::{Violation, ViolationKey};
use kitchen_core::wire::MessageId;
use kitchen_store::{AlertRow, NewClip, NewSnapshot, OpenedAlert};
use kitchen_vision::picture::ALERT_BYTES;
use tracing::{error, info, warn};

use crate::analysis::Sight;
use crate::budget::Budget;
use crate::clip_stage::{ClipJob, ClipOwner, ClipQueue};
use crate::evidence::{CutClip, Held, Recorder};
use crate::snapshot::Photographer;

/// The clip of an alert that is still to come.
const RECORDING: &str = "recording";
/// The clip waits until the district asks for it, or there is money again.
pub const ON_REQUEST: &str = "on_request";
const WAITING_FOR_MONEY: &str = "waiting: budget";
/// A commit that fails is tried so often, so far apart, before the alert is given up with an error.
const COMMIT_TRIES: u32 = 12;
const COMMIT_PAUSE: Duration = Duration::from_secs(5);

/// Where the records of alerts go.
pub trait Ledger {
    /// # Errors
    /// When it could not be committed.
    fn open(&mut self, stamp: Stamp, body: AlertBody, snapshot: Option<NewSnapshot>) -> Result<OpenedAlert>;
    /// # Errors
    /// When it could not be committed.
    fn append(&mut self, stamp: Stamp, alert_id: &MessageId, record: AlertRecord, body: AlertBody) -> Result<()>;
    /// # Errors
    /// When it could not be committed.
    fn attach_clip(&mut self, stamp: Stamp, alert_id: &MessageId, clip: NewClip, body: AlertBody) -> Result<ClipRef>;
    /// Body of the alert's newest record, where records are kept.
    fn newest(&mut self, _alert_id: &MessageId) -> Option<AlertBody> {
        None
    }
}

/// What the desk knows of a camera.
#[derive(Clone)]
pub struct DeskCamera {
    pub id: String,
    pub rules: Vec<RuleSettings>,
    /// On whose word each rule acts.
    pub models: BTreeMap<RuleId, ModelRef>,
    /// Absent in a replay: no clips.
    pub recorder: Option<Arc<Recorder>>,
}

struct OpenAlert {
    alert_id: MessageId,
    body: AlertBody,
}

/// A clip whose end is still to come.
struct PendingClip {
    owner: ClipOwner,
    recorder: Arc<Recorder>,
    held: Held,
    until: Mono,
}

pub struct AlertDesk<L> {
    ledger: L,
    clip: ClipConfig,
    zone: TimeZone,
    caps: DailyCaps,
    photographer: Photographer,
    /// Absent in a replay: nothing costs anything.
    budget: Option<Arc<Budget>>,
    open: BTreeMap<(String, ViolationKey), OpenAlert>,
    clips: Vec<PendingClip>,
    /// Absent in a replay.
    queue: Option<ClipQueue>,
    /// Clips for which the stage has no room yet.
    waiting: VecDeque<ClipJob>,
    /// Whose clips wait or are being made.
    under_way: Vec<ClipOwner>,
}

/// Clips that may wait for the stage; each holds its pictures in memory.
const WAITING: usize = 4;

impl<L: Ledger> AlertDesk<L> {
    pub fn new(ledger: L, clip: ClipConfig, zone: TimeZone, caps: DailyCaps, photographer: Photographer) -> Self {
        let (clips, waiting, under_way) = (Vec::new(), VecDeque::new(), Vec::new());
        let (open, queue, budget) = (BTreeMap::new(), None, None);
        Self { ledger, clip, zone, caps, photographer, budget, open, clips, queue, waiting, under_way }
    }

    /// Pictures and clips are made as large as the money allows.
    #[must_use]
    pub fn with_budget(self, budget: Arc<Budget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    #[must_use]
    pub fn with_clips(self, queue: ClipQueue) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Takes one violation. For one that opens it answers whether an alert was raised.
    pub fn handle_violation(
        &mut self,
        camera: &DeskCamera,
        violation: Violation,
        sight: Option<&Sight>,
        stamp: Stamp,
    ) -> Option<bool> {
        match violation {
            Violation::Opened { key, began, score, detail } => {
                let raised = self.open(camera, &key, began, score, detail, sight, stamp);
                Some(raised)
            }
            Violation::Updated { key, began, score } => {
                let record = |body: &mut AlertBody| {
                    body.duration_ms = millis(stamp.mono.since(began));
                    body.score = score.map(round4);
                };
                self.append(&(camera.id.clone(), key), AlertRecord::Updated, stamp, record);
                None
            }
            Violation::Closed { key, began, ended, score, reason } => {
                let record = |body: &mut AlertBody| {
                    body.duration_ms = millis(ended.since(began));
                    body.score = score.map(round4);
                    body.reason = Some(reason);
                };
                let key = (camera.id.clone(), key);
                self.append(&key, AlertRecord::Closed, stamp, record);
                self.open.remove(&key);
                None
            }
        }
    }

    /// The analysis of a camera was started anew and knows nothing of what it had opened.
    pub fn handle_restarted(&mut self, camera: &str, stamp: Stamp) {
        let keys: Vec<_> = self.open.keys().filter(|(id, _)| id == camera).cloned().collect();
        for key in keys {
            self.append(&key, AlertRecord::Closed, stamp, |body| body.reason = Some(CloseReason::Restart));
            self.open.remove(&key);
        }
    }

    /// Hands on the clips whose end has come.
    pub fn handle_timeout(&mut self, stamp: Stamp) {
        let (due, waiting) = self.clips.drain(..).partition(|clip| clip.until <= stamp.mono);
        self.clips = waiting;
        for clip in due {
            self.hand_on(clip, stamp);
        }
        self.offer(stamp);
    }

    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.clips.iter().map(|clip| clip.until).min()
    }

    /// Hands on all clips with what there is of them: the agent stops.
    pub fn handle_stop(&mut self, stamp: Stamp) {
        for clip in std::mem::take(&mut self.clips) {
            self.hand_on(clip, stamp);
        }
        self.offer(stamp);
    }

    /// Whether clips are still being made.
    #[must_use]
    pub fn makes_clips(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The alert's clip waits for money: the district is told once.
    pub fn handle_clip_held(&mut self, alert_id: &MessageId, status: String, stamp: Stamp) {
        let open = self.open.values_mut().find(|open| open.alert_id == *alert_id);
        let Some(newest) = open.as_ref().map(|open| open.body.clone()).or_else(|| self.ledger.newest(alert_id)) else {
            return;
        };
        if newest.clip_status == ON_REQUEST || newest.clip_status.starts_with(WAITING_FOR_MONEY) {
            return;
        }
        let body = AlertBody { clip_status: status.clone(), reason: None, ..newest };
        if let Some(open) = open {
            open.body.clip_status = status;
        }
        if let Err(error) = self.ledger.append(stamp, alert_id, AlertRecord::Clip, body) {
            error!(alert = %alert_id, error = format!("{error:#}"), "record not committed: check the disk");
        }
    }

    /// Gives up the clips that are still being made.
    pub fn finish(&mut self, stamp: Stamp) {
        for owner in std::mem::take(&mut self.under_way) {
            self.fail_clip(&owner, "the agent was stopped before the clip was complete", stamp);
        }
    }

    /// A clip comes back from its stage.
    pub fn handle_clip(&mut self, owner: &ClipOwner, clip: Result<CutClip, String>, stamp: Stamp) {
        self.under_way.retain(|other| other.alert_id != owner.alert_id);
        match clip.and_then(|clip| self.attach(owner, clip, stamp)) {
            Ok(clip) => self.note_clip(owner, Some(clip), "attached"),
            Err(why) => self.fail_clip(owner, &why, stamp),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what an opened violation says, beside where and when")]
    fn open(
        &mut self,
        camera: &DeskCamera,
        key: &ViolationKey,
        began: Mono,
        score: Option<f32>,
        detail: Option<String>,
        sight: Option<&Sight>,
        stamp: Stamp,
    ) -> bool {
        let Some(settings) = camera.rules.iter().find(|settings| settings.rule == key.rule) else { return false };
        let tier = key.rule.defaults().tier;
        let day = stamp.wall.start_of_day(&self.zone);
        if !self.caps.take_alert(tier, day) {
            warn!(camera = %camera.id, rule = %key.rule, "not raised: the day's limit of alerts is reached");
            return false;
        }
        let mut body = AlertBody {
            alert_id: None,
            rule: key.rule,
            tier,
            camera: camera.id.clone(),
            zone: key.zone.clone(),
            opened_at: stamp.wall.before(stamp.mono.since(began)),
            duration_ms: millis(stamp.mono.since(began)),
            score: score.map(round4),
            boxes: sight.map_or_else(Vec::new, |sight| sight.boxes.iter().copied().map(AlertBox::from).collect()),
            model: score.and_then(|_| camera.models.get(&key.rule).cloned()),
            snapshot: None,
            snapshot_status: None,
            clip: None,
            clip_status: "none".to_owned(),
            reason: None,
            detail,
        };
        let held = self.hold(camera, settings, tier, began, stamp, &mut body);
        let sight = sight.filter(|_| settings.evidence != EvidenceKind::None);
        let most = self.budget.as_ref().map_or(ALERT_BYTES, |budget| budget.snapshot_bytes(ALERT_BYTES));
        let pictures = sight.map(|sight| self.photographer.snapshot(&camera.id, key, sight, most)).transpose();
        let snapshot = pictures.unwrap_or_else(|error| {
            error!(camera = %camera.id, error = format!("{error:#}"), "no picture for this alert");
            None
        });
        if snapshot.is_some() {
            body.snapshot_status = self.budget.as_ref().and_then(|budget| budget.holds_snapshots(tier));
        }
        let Some(opened) = self.commit(stamp, &body, snapshot.as_ref()) else { return false };
        info!(camera = %camera.id, rule = %key.rule, alert = %opened.alert_id, "alert");
        (body.alert_id, body.snapshot) = (Some(opened.alert_id.clone()), opened.snapshot);
        let key = (camera.id.clone(), key.clone());
        if let Some((recorder, held, until)) = held {
            let (alert_id, body) = (opened.alert_id.clone(), body.clone());
            let owner = ClipOwner { key: key.clone(), alert_id, body };
            self.clips.push(PendingClip { owner, recorder, held, until });
        }
        self.open.insert(key, OpenAlert { alert_id: opened.alert_id, body });
        self.handle_timeout(stamp);
        true
    }

    /// Takes the units of a clip that is wanted, and says in the body what becomes of it.
    fn hold(
        &mut self,
        camera: &DeskCamera,
        settings: &RuleSettings,
        tier: u8,
        began: Mono,
        stamp: Stamp,
        body: &mut AlertBody,
    ) -> Option<(Arc<Recorder>, Held, Mono)> {
        let recorder = camera.recorder.as_ref().filter(|_| settings.evidence == EvidenceKind::Clip)?;
        if !self.caps.take_clip(tier, stamp.wall.start_of_day(&self.zone)) {
            "failed: the day's limit of clips is reached".clone_into(&mut body.clip_status);
            return None;
        }
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        // The clip shows how it began, not when the window was full.
        let held = match recorder.hold(began - seconds(self.clip.pre_s)) {
            Ok(held) => held,
            Err(why) => {
                warn!(camera = %camera.id, why, "no clip");
                body.clip_status = format!("failed: {why}");
                return None;
            }
        };
        RECORDING.clone_into(&mut body.clip_status);
        Some((Arc::clone(recorder), held, began + seconds(self.clip.post_s)))
    }

    /// Commits until it succeeds or there is no hope; without the picture when it is the picture that fails.
    fn commit(&mut self, stamp: Stamp, body: &AlertBody, snapshot: Option<&NewSnapshot>) -> Option<OpenedAlert> {
        for left in (0..COMMIT_TRIES).rev() {
            let picture = snapshot.filter(|_| left > COMMIT_TRIES / 2).cloned();
            match self.ledger.open(stamp, body.clone(), picture) {
                Ok(opened) => return Some(opened),
                Err(error) => {
                    error!(rule = %body.rule, left, error = format!("{error:#}"), "alert not committed: check the disk");
                }
            }
            if left > 0 {
                std::thread::sleep(COMMIT_PAUSE);
            }
        }
        None
    }

    fn append(
        &mut self,
        key: &(String, ViolationKey),
        record: AlertRecord,
        stamp: Stamp,
        change: impl FnOnce(&mut AlertBody),
    ) {
        let Some(open) = self.open.get_mut(key) else { return };
        change(&mut open.body);
        let (alert_id, body) = (open.alert_id.clone(), open.body.clone());
        if let Err(error) = self.ledger.append(stamp, &alert_id, record, body) {
            error!(alert = %alert_id, error = format!("{error:#}"), "record not committed: check the disk");
        }
    }

    /// A clip's end has come: its stage gets what it is made of.
    fn hand_on(&mut self, pending: PendingClip, stamp: Stamp) {
        let PendingClip { owner, recorder, held, until } = pending;
        let collected = recorder.collect(held, until);
        let has_room = self.queue.is_some() && self.waiting.len() < WAITING;
        let material = collected.and_then(|material| has_room.then_some(material).ok_or_else(|| BUSY.to_owned()));
        match material {
            Ok(material) => {
                self.under_way.push(owner.clone());
                let wanted = self.clip.max_bytes;
                let max_bytes =
                    self.budget.as_ref().map_or(wanted, |budget| budget.clip_bytes(owner.body.tier, wanted));
                self.waiting.push_back(ClipJob { owner, material, max_bytes });
                self.offer(stamp);
            }
            Err(why) => self.fail_clip(&owner, &why, stamp),
        }
    }

    fn offer(&mut self, stamp: Stamp) {
        while let Some((queue, job)) = self.queue.as_ref().zip(self.waiting.pop_front()) {
            match queue.offer(job) {
                Ok(()) => {}
                Err((job, true)) => return self.waiting.push_front(*job),
                Err((job, false)) => {
                    self.handle_clip(&job.owner, Err("the stage that makes clips has ended".to_owned()), stamp);
                }
            }
        }
    }

    fn attach(&mut self, owner: &ClipOwner, cut: CutClip, stamp: Stamp) -> Result<ClipRef, String> {
        let CutClip { clip, start, reencoded } = cut;
        let new = NewClip {
            bytes: clip.bytes.to_vec(),
            duration_ms: clip.duration_ms,
            start: stamp.wall.before(stamp.mono.since(start)),
            width: clip.width,
            height: clip.height,
            codec: clip.codec,
            media_type: "video/mp4".to_owned(),
            reencoded: reencoded.is_some(),
        };
        let body = AlertBody { clip_status: "attached".to_owned(), ..owner.body.clone() };
        self.ledger.attach_clip(stamp, &owner.alert_id, new, body).map_err(|error| format!("{error:#}"))
    }

    fn fail_clip(&mut self, owner: &ClipOwner, why: &str, stamp: Stamp) {
        let alert = &owner.alert_id;
        warn!(%alert, why, "no clip");
        let clip_status = format!("failed: {why}");
        let body = AlertBody { clip_status: clip_status.clone(), ..owner.body.clone() };
        if let Err(error) = self.ledger.append(stamp, alert, AlertRecord::Clip, body) {
            error!(%alert, error = format!("{error:#}"), "record not committed: check the disk");
        }
        self.note_clip(owner, None, &clip_status);
    }

    /// Later records of the alert say what became of its clip.
    fn note_clip(&mut self, owner: &ClipOwner, clip: Option<ClipRef>, status: &str) {
        if let Some(open) = self.open.get_mut(&owner.key).filter(|open| open.alert_id == owner.alert_id) {
            (open.body.clip, open.body.clip_status) = (clip, status.to_owned());
        }
    }
}

/// Why a clip is not even begun.
const BUSY: &str = "too many clips are being made at once";

/// The last record of an alert that an earlier run of the agent left open.
#[must_use]
pub fn closed_by_restart(body: AlertBody) -> AlertBody {
    AlertBody { reason: Some(CloseReason::Restart), ..without_clip(body) }
}

/// What becomes of the clip of a closed alert that an earlier run was still making; `None` where there was none.
#[must_use]
pub fn clip_ended_by_restart(alert: &AlertRow) -> Option<AlertBody> {
    let was_made = alert.closed_at.is_some() && alert.body.clip_status == RECORDING;
    was_made.then(|| AlertBody { reason: None, ..without_clip(alert.body.clone()) })
}

fn without_clip(mut body: AlertBody) -> AlertBody {
    if body.clip_status == RECORDING {
        "failed: the agent was started anew before the clip was complete".clone_into(&mut body.clip_status);
    }
    body
}
