//! What the money says to the link: when to be connected, what to send, and when to save what was counted.

use std::sync::Arc;
use std::time::Duration;

use kitchen_core::budget::{Admission, Hold, LinkMode, STALE_AFTER, TrafficClass, Wanted};
use kitchen_core::outbox::{OutboxKind, Waiting};
use kitchen_core::scheduler::{Candidate, Output};
use kitchen_core::time::Wall;
use tracing::{error, info};

use super::connection::Connection;
use super::{PROGRESS_INTERVAL, Uplink, cancelled};
use crate::outbox::blocking;

/// The first priority: texts of tier 1 alerts, the one errand out of the reserve.
const GRAVEST: u8 = 0;
/// The last priority of texts.
const TEXTS: u8 = 1;
/// A connection costs as much as four texts.
const ERRANDS_APART: Duration = Duration::from_secs(900);
/// An errand that gets no receipt ends all the same, and so does one on which more comes down than receipts; the next one
/// waits, each time twice as long.
const LONGEST_ERRAND: Duration = Duration::from_secs(120);
const ERRAND_RECEIVED_BYTES: u64 = 32_000;
const LONGEST_KEEPALIVE_S: u32 = 3_600;
/// A new connection costs as much as a tenth of a day's keepalives.
const OTHER_KEEPALIVE_AFTER: Duration = Duration::from_secs(3_600);
const SHORTEST_ERRAND_WAIT: Duration = Duration::from_secs(60);
const LONGEST_ERRAND_WAIT: Duration = Duration::from_secs(6 * 3600);

pub(super) fn class_of(kind: OutboxKind, priority: u8) -> TrafficClass {
    match kind {
        OutboxKind::Alert if priority == GRAVEST => TrafficClass::Alert,
        OutboxKind::Alert | OutboxKind::Record => TrafficClass::Text,
        OutboxKind::Command => TrafficClass::Command,
        OutboxKind::Snapshot => TrafficClass::Snapshot,
        OutboxKind::Clip => TrafficClass::Clip,
    }
}

fn wanted(candidate: Candidate<'_>, is_requested: bool, now: Wall) -> Wanted {
    let is_stale = candidate.created.after(STALE_AFTER) < now;
    Wanted { is_requested, is_stale, ..Wanted::message(candidate.kind, candidate.tier, candidate.bytes) }
}

impl Uplink {
    /// Waits until there is money for a connection, or a text that is worth an errand. `false`: cancelled.
    pub(super) async fn until_affordable(&mut self) -> bool {
        let mut is_told = false;
        loop {
            let (until, runs_for) = match self.gate.link_mode() {
                LinkMode::Connected { .. } => {
                    self.is_errand = false;
                    return true;
                }
                LinkMode::Errands { until, runs_for_all } => (until, Some(if runs_for_all { TEXTS } else { GRAVEST })),
                LinkMode::Off { until } => (until, None),
            };
            if !is_told {
                info!(%until, runs_errands = runs_for.is_some(), "not connected, to keep the month's ceiling");
                is_told = true;
            }
            self.status.send_if_modified(|status| {
                let is_news = status.resting_until != Some(until);
                status.resting_until = Some(until);
                is_news
            });
            if let Some(least) = runs_for
                && self.awaits_errand(least).await
            {
                (self.is_errand, self.errand_at) = (true, Some(self.clock.mono()));
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

    /// Whether a text of such a priority waits, or of a better one; those that are not grave are gathered for a while.
    async fn awaits_errand(&self, least: u8) -> bool {
        let since = self.errand_at.map_or(Duration::MAX, |at| self.clock.mono().since(at));
        let is_rested = since >= ERRANDS_APART;
        if since < self.errand_wait {
            return false;
        }
        match blocking(&self.outbox, |outbox| outbox.waiting(1)).await {
            Ok(list) => {
                list.first().is_some_and(|first| first.priority == GRAVEST || (first.priority <= least && is_rested))
            }
            Err(failure) => {
                error!(error = %failure, "the outbox can't be read");
                false
            }
        }
    }

    /// Until when the box is to be off, if it is.
    pub(super) fn rests(&mut self, connection: &Connection) -> Option<Wall> {
        let (until, least) = match self.gate.link_mode() {
            LinkMode::Connected { .. } => {
                self.is_errand = false;
                return None;
            }
            LinkMode::Off { until } => return Some(until),
            LinkMode::Errands { until, runs_for_all } => (until, if runs_for_all { TEXTS } else { GRAVEST }),
        };
        if !self.is_errand {
            return Some(until);
        }
        let now = self.clock.mono();
        if connection.list_at > now && !self.scheduler.waits_for(least) {
            self.errand_wait = Duration::ZERO;
            return Some(until);
        }
        let is_fruitless = now.since(connection.since) >= LONGEST_ERRAND || connection.received > ERRAND_RECEIVED_BYTES;
        if is_fruitless {
            self.errand_wait = (self.errand_wait * 2).clamp(SHORTEST_ERRAND_WAIT, LONGEST_ERRAND_WAIT);
        }
        is_fruitless.then_some(until)
    }

    pub(super) fn stretched(&self, interval: Duration) -> Duration {
        match self.gate.link_mode() {
            LinkMode::Connected { stretch } => interval.saturating_mul(stretch),
            LinkMode::Errands { .. } | LinkMode::Off { .. } => interval,
        }
    }

    /// As configured, times what the money asks for.
    pub(super) fn stretched_keepalive_s(&self) -> u32 {
        let keepalive = self.stretched(Duration::from_secs(u64::from(self.keepalive_s)));
        u32::try_from(keepalive.as_secs()).unwrap_or(u32::MAX).min(LONGEST_KEEPALIVE_S)
    }

    /// Whether the connection has another keepalive than it should have had for an hour.
    pub(super) fn wants_other_keepalive(&self, connection: &mut Connection) -> bool {
        let now = self.clock.mono();
        if self.is_errand || self.stretched_keepalive_s() == self.link_options.keepalive_s {
            connection.other_keepalive_since = None;
            return false;
        }
        now.since(*connection.other_keepalive_since.get_or_insert(now)) >= OTHER_KEEPALIVE_AFTER
    }

    /// What has left the outbox is held no more.
    pub(super) fn note_list(&mut self, list: &[Waiting]) {
        let is_listed = |id: &String| list.iter().any(|waiting| waiting.id == *id);
        self.holds.retain(|id, _| is_listed(id));
        let clips = list.iter().filter_map(|waiting| Some((waiting.id.clone(), waiting.clip.clone()?)));
        self.listed_clips = clips.collect();
    }

    /// What the scheduler wants next of what the gate admits.
    pub(super) fn next_output(&mut self) -> Option<Output> {
        let now = self.clock.stamp().wall;
        let (gate, holds, clips) = (&self.gate, &mut self.holds, &self.listed_clips);
        let is_requested = |id: &str| clips.get(id).is_some_and(|clip| clip.command_id.is_some());
        self.scheduler.poll_admitted(|candidate| match gate.admit(wanted(candidate, is_requested(candidate.id), now)) {
            Admission::Go => {
                holds.remove(candidate.id);
                true
            }
            Admission::Hold(hold) => {
                holds.insert(candidate.id.to_owned(), hold);
                false
            }
        })
    }

    /// Tells who asks, and of news the box itself, why something waits.
    pub(super) fn tell_held(&self) {
        let is_known = |(id, hold): &(&String, &Hold)| {
            self.status.borrow().held.get(*id).is_some_and(|before| before.reason == hold.reason)
        };
        if self.status.borrow().held == self.holds {
            return;
        }
        for (id, hold) in self.holds.iter().filter(|held| !is_known(held)) {
            let clip_of = self.listed_clips.get(id).and_then(|clip| clip.alert_id.as_deref());
            self.gate.held(id, clip_of, *hold);
        }
        self.status.send_modify(|status| status.held.clone_from(&self.holds));
    }

    /// What was counted reaches the disk before more is sent.
    pub(super) async fn save_if_due(&self) {
        if self.gate.wants_saving() {
            let gate = Arc::clone(&self.gate);
            let _ = tokio::task::spawn_blocking(move || gate.save()).await;
        }
    }
}
