//! The alerts of a simulated box: raised within the limits of a day, with pictures and clips of noise, closed later.

use kitchen_core::alert::{AlertBody, AlertRecord, CloseReason};
use kitchen_core::outbox::OutboxKind;
use kitchen_core::rules::RuleId;
use kitchen_core::time::TimeZone;
use kitchen_core::wire::MessageId;
use kitchen_store::NewSnapshot;
use kitchen_test_support::{alert_body, new_clip};

use super::world::{Event, World};

/// Beyond them a day brings grave alerts only.
const ALERTS_A_DAY: u64 = 20;

impl World {
    pub(super) fn raise_alert(&mut self, is_grave: bool, picture: Option<usize>, clip: Option<usize>, lasts_ms: u64) {
        if self.agent.is_none() {
            return;
        }
        let stamp = self.clock.stamp();
        let number = self.next_number();
        let rule = if is_grave { RuleId::Fire } else { RuleId::Phone };
        let tier = rule.defaults().tier;
        let day = stamp.wall.start_of_day(&TimeZone::UTC);
        let is_taken = self.agent_mut().caps.take_alert(tier, day);
        if !is_grave {
            let raised = self.raised.entry(day).or_default();
            *raised += u64::from(is_taken);
            if !is_taken && *raised < ALERTS_A_DAY {
                let text = format!("an alert was held back on a day that had brought {raised}");
                self.ledger.find(text);
            }
        }
        if !is_taken {
            return;
        }
        // The length tells alerts apart at the district.
        let body = AlertBody { duration_ms: number, score: None, ..alert_body(rule, stamp.wall) };
        let snapshot = picture.map(|bytes| NewSnapshot {
            sent: self.noise(bytes),
            original: self.noise(bytes / 2),
            width: 640,
            height: 360,
        });
        let clip = clip.map(|bytes| new_clip(self.noise(bytes), stamp.wall));
        let agent = self.agent_mut();
        let opened = agent.store.open_alert(stamp, body.clone(), snapshot).expect("an alert is stored");
        let has_clip = clip.is_some() && agent.caps.take_clip(tier, day);
        if let Some(clip) = clip.filter(|_| has_clip) {
            agent.store.attach_clip(stamp, &opened.alert_id, clip, body.clone()).expect("a clip is stored");
        }
        for id in self.take_up() {
            let kind = self.ledger.entries[&id].kind;
            // One in five hundred can't be delivered, so that what is set aside is seen.
            match self.random.u16(..500) {
                0 if kind == OutboxKind::Snapshot => drop(self.poisoned.insert(id)),
                1..10 if kind == OutboxKind::Clip => self.receiver.reject(&id),
                _ => {}
            }
        }
        let close = Event::CloseAlert { alert_id: opened.alert_id, body: Box::new(body) };
        self.at(self.clock.now + lasts_ms, close);
    }

    pub(super) fn close_alert(&mut self, alert_id: &MessageId, mut body: AlertBody) {
        let stamp = self.clock.stamp();
        body.reason = Some(CloseReason::Cleared);
        let Some(agent) = &mut self.agent else { return };
        // Closed already by a restart, or long forgotten.
        if agent.store.append_alert_record(stamp, alert_id, AlertRecord::Closed, body).is_ok() {
            self.take_up();
        }
    }

    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        self.random.fill(&mut noise);
        noise
    }
}
