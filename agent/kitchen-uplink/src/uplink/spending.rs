//! What the money says to the link: when to be connected, what to send, and when to save what was counted.

use std::sync::Arc;
use std::time::Duration;

use kitchen_core::budget::{Admission, LinkMode, TrafficClass, Wanted};
use kitchen_core::outbox::{OutboxKind, Waiting};
use kitchen_core::scheduler::{Candidate, Output};
use kitchen_core::time::Wall;
use tracing::{error, info};

use super::{Connection, PROGRESS_INTERVAL, Uplink, cancelled};
use crate::gate::Gate;
use crate::outbox::blocking;

/// The first priority: texts of tier 1 alerts, the one errand out of the reserve.
const GRAVEST: u8 = 0;
/// An errand that gets no receipt ends all the same.
const LONGEST_ERRAND: Duration = Duration::from_secs(120);

pub(super) fn class_of(kind: OutboxKind, priority: u8) -> TrafficClass {
    match kind {
        OutboxKind::Alert if priority == GRAVEST => TrafficClass::Alert,
        OutboxKind::Alert | OutboxKind::Record => TrafficClass::Text,
        OutboxKind::Command => TrafficClass::Command,
        OutboxKind::Snapshot => TrafficClass::Snapshot,
        OutboxKind::Clip => TrafficClass::Clip,
    }
}

fn wanted(candidate: Candidate<'_>, is_requested: bool) -> Wanted {
    let tier = candidate.kind.tier(candidate.priority);
    Wanted { is_requested, ..Wanted::message(candidate.kind, tier, candidate.bytes) }
}

impl Uplink {
    /// Waits until there is money for a connection, or a text that is worth an errand. `false`: cancelled.
    pub(super) async fn until_affordable(&mut self) -> bool {
        let mut is_told = false;
        loop {
            let (until, runs_errands) = match self.gate.link_mode() {
                LinkMode::Connected { .. } => {
                    self.is_errand = false;
                    return true;
                }
                LinkMode::Errands { until } => (until, true),
                LinkMode::Off { until } => (until, false),
            };
            if !is_told {
                info!(%until, runs_errands, "not connected, to keep the month's ceiling");
                is_told = true;
            }
            self.status.send_if_modified(|status| {
                let is_news = status.resting_until != Some(until);
                status.resting_until = Some(until);
                is_news
            });
            if runs_errands && self.awaits_errand().await {
                self.is_errand = true;
                return true;
            }
            self.presence.progress();
            tokio::select! {
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
                () = self.wake.notified() => {}
                () = cancelled(&mut self.cancel) => return false,
            }
        }
    }

    async fn awaits_errand(&self) -> bool {
        match blocking(&self.outbox, |outbox| outbox.waiting(1)).await {
            Ok(list) => list.first().is_some_and(|first| first.priority == GRAVEST),
            Err(failure) => {
                error!(error = %failure, "the outbox can't be read");
                false
            }
        }
    }

    /// Until when the box is to be off, if it is.
    pub(super) fn rests(&self, connection: &Connection) -> Option<Wall> {
        match self.gate.link_mode() {
            LinkMode::Connected { .. } => None,
            LinkMode::Off { until } => Some(until),
            LinkMode::Errands { until } => {
                let now = self.clock.mono();
                let is_done = !self.is_errand
                    || now.since(connection.since) >= LONGEST_ERRAND
                    || (connection.list_at > now && !self.scheduler.waits_for(GRAVEST));
                is_done.then_some(until)
            }
        }
    }

    pub(super) fn stretched(&self, interval: Duration) -> Duration {
        match self.gate.link_mode() {
            LinkMode::Connected { stretch } => interval.saturating_mul(stretch),
            LinkMode::Errands { .. } | LinkMode::Off { .. } => interval,
        }
    }

    /// What has left the outbox is held no more.
    pub(super) fn note_list(&mut self, list: &[Waiting]) {
        let is_listed = |id: &String| list.iter().any(|waiting| waiting.id == *id);
        self.holds.retain(|id, _| is_listed(id));
        let asked_for = |waiting: &&Waiting| waiting.clip.as_ref().is_some_and(|clip| clip.command_id.is_some());
        self.requested = list.iter().filter(asked_for).map(|waiting| waiting.id.clone()).collect();
    }

    /// What the scheduler wants next of what the gate admits.
    pub(super) fn next_output(&mut self) -> Option<Output> {
        let (gate, holds, requested) = (&self.gate, &mut self.holds, &self.requested);
        self.scheduler.poll_admitted(|candidate| {
            match gate.admit(wanted(candidate, requested.contains(candidate.id))) {
                Admission::Go => {
                    holds.remove(candidate.id);
                    true
                }
                Admission::Hold(hold) => {
                    holds.insert(candidate.id.to_owned(), hold);
                    false
                }
            }
        })
    }

    /// Tells who asks, and of news the box itself, why something waits.
    pub(super) async fn tell_held(&mut self) {
        let known = self.status.borrow().held.clone();
        if known == self.holds {
            return;
        }
        for (id, hold) in &self.holds {
            if known.get(id).is_some_and(|before| before.reason == hold.reason) {
                continue;
            }
            let (gate, id, hold) = (Arc::clone(&self.gate), id.clone(), *hold);
            let _ = tokio::task::spawn_blocking(move || gate.held(&id, hold)).await;
        }
        let held = self.holds.clone();
        self.status.send_modify(|status| status.held = held);
    }

    /// What was counted reaches the disk before more is sent.
    pub(super) async fn save_if_due(&self) {
        if self.gate.wants_saving() {
            let gate = Arc::clone(&self.gate);
            let _ = tokio::task::spawn_blocking(move || gate.save()).await;
        }
    }

    /// Whether a chunk of so many bytes of the clip under way may go.
    pub(super) fn may_go_on(gate: &Arc<dyn Gate>, bytes: u64) -> bool {
        gate.may_go_on(Wanted::message(OutboxKind::Clip, 3, bytes))
    }
}
