//! A year ahead: the governor itself, driven hour by hour by an even load. A load and settings come in, twelve months
//! with what was sent and what it cost go out.

use std::collections::VecDeque;
use std::time::Duration;

use super::account::Account;
use super::admission::{Admission, LinkMode};
use super::forecast::{Demand, Forecast};
use super::governor::{Governor, Settings};
use super::overhead::{HANDSHAKE_BYTES, wire_bytes};
use super::period::Period;
use super::wanted::{STALE_AFTER, Wanted};
use super::yuan::Yuan;
use super::{BudgetStep, TrafficClass};
use crate::outbox::OutboxKind;
use crate::time::{Mono, Stamp, TimeQuality, Wall};

const HOUR_MS: u64 = 3_600_000;
/// Kitchens raise their alerts while they cook, in hours of the day.
const OPEN: std::ops::Range<u16> = 9..22;
const CLIP_EXPIRY_MS: u64 = 7 * 86_400_000;
/// One alert has about so many records: opened, clip, closed.
const RECORDS: u32 = 3;

/// What the year is to bring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// By tier.
    pub alerts_per_day: [f64; 3],
    /// Of the alerts of each tier, those with a picture, and those with a clip.
    pub snapshot_share: [f64; 3],
    pub clip_share: [f64; 3],
    /// Bytes of one.
    pub record_bytes: u64,
    pub snapshot_bytes: u64,
    pub clip_bytes: u64,
    /// Keepalives and heartbeats.
    pub connected_bytes_per_day: u64,
}

impl Default for Load {
    /// Five alerts a day as the catalogue's defaults make them.
    fn default() -> Self {
        Self {
            alerts_per_day: [0.25, 1.0, 3.75],
            snapshot_share: [1.0; 3],
            clip_share: [1.0, 0.5, 0.0],
            record_bytes: 1_300,
            snapshot_bytes: 38_000,
            clip_bytes: 680_000,
            connected_bytes_per_day: 160_000,
        }
    }
}

impl Load {
    /// The same mix with so many alerts a day in all.
    #[must_use]
    pub fn with_alerts_per_day(self, wanted: f64) -> Self {
        let sum: f64 = self.alerts_per_day.iter().sum();
        let factor = if sum > 0.0 { wanted / sum } else { 0.0 };
        Self { alerts_per_day: self.alerts_per_day.map(|alerts| alerts * factor), ..self }
    }
}

/// One month of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MonthPlan {
    pub period: Period,
    pub alerts: u64,
    pub snapshots: u64,
    pub clips: u64,
    /// Pictures and clips that could not be sent before they expired, or before the year's end.
    pub snapshots_left: u64,
    pub clips_left: u64,
    pub bytes: u64,
    pub yuan: Yuan,
    /// The lowest step of the month.
    pub step: BudgetStep,
}

#[derive(Clone, Debug, PartialEq)]
pub struct YearPlan {
    pub months: Vec<MonthPlan>,
}

impl YearPlan {
    #[must_use]
    pub fn yuan(&self) -> Yuan {
        self.months.iter().map(|month| month.yuan).sum()
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.months.iter().map(|month| month.bytes).sum()
    }
}

/// Twelve whole months from the next one on, with an empty past.
#[must_use]
pub fn plan_year(settings: &Settings, load: Load, now: Wall) -> YearPlan {
    let zone = settings.tariff.zone().clone();
    let first = Period::containing(now, settings.start_day, &zone).to;
    let stamp = |ms: u64| Stamp {
        mono: Mono::from_millis(ms),
        wall: first.after(Duration::from_millis(ms)),
        quality: TimeQuality::Ntp,
    };
    let account = Account::restore(1, settings.start_day, settings.tariff.clone(), Vec::new(), stamp(0));
    let mut governor = Governor::new(settings.clone(), account, Forecast::default(), stamp(0));
    let mut year = Year {
        load,
        due: [0.0; 3],
        with: [[0.0; 2]; 3],
        texts: [0; 2],
        pictures: VecDeque::new(),
        clips: VecDeque::new(),
    };
    let mut months: Vec<MonthPlan> = Vec::new();
    for hour in 0.. {
        let now = stamp(hour * HOUR_MS);
        let period = Period::containing(now.wall, settings.start_day, &zone);
        governor.handle_time(now);
        if months.last().is_none_or(|month| month.period != period) {
            if months.len() == 12 {
                break;
            }
            months.push(MonthPlan::new(period));
        }
        let Some(month) = months.last_mut() else { break };
        let local = now.wall.local(&zone);
        if OPEN.contains(&(local.minute / 60)) {
            year.ask(&mut governor, now);
        }
        year.send(&mut governor, month, now);
        let total = governor.usage().total();
        (month.bytes, month.yuan, month.step) = (total.bytes, total.yuan, month.step.min(governor.step()));
    }
    if let Some(month) = months.last_mut() {
        month.clips_left += year.clips.len() as u64;
        month.snapshots_left += year.pictures.len() as u64;
    }
    YearPlan { months }
}

impl MonthPlan {
    fn new(period: Period) -> Self {
        Self {
            period,
            alerts: 0,
            snapshots: 0,
            clips: 0,
            snapshots_left: 0,
            clips_left: 0,
            bytes: 0,
            yuan: Yuan::ZERO,
            step: BudgetStep::Full,
        }
    }
}

struct Year {
    load: Load,
    /// Parts of alerts, pictures and clips that are not whole yet.
    due: [f64; 3],
    with: [[f64; 2]; 3],
    /// Records of tier 1 alerts and of others that wait.
    texts: [u64; 2],
    pictures: VecDeque<Wanted>,
    clips: VecDeque<(Wanted, Mono)>,
}

impl Year {
    fn ask(&mut self, governor: &mut Governor, now: Stamp) {
        for tier in 0..3_u8 {
            let index = usize::from(tier);
            self.due[index] += self.load.alerts_per_day[index] / f64::from(OPEN.end - OPEN.start);
            while self.due[index] >= 1.0 {
                self.due[index] -= 1.0;
                self.texts[usize::from(tier > 0)] += 1;
                let text = self.text(tier + 1);
                governor.handle_demand(text, now);
                let shares = [self.load.snapshot_share[index], self.load.clip_share[index]];
                for (part, (have, share)) in self.with[index].iter_mut().zip(shares).enumerate() {
                    *have += share;
                    if *have < 1.0 {
                        continue;
                    }
                    *have -= 1.0;
                    if part == 0 {
                        let wanted = Wanted::message(OutboxKind::Snapshot, tier + 1, self.load.snapshot_bytes);
                        governor.handle_demand(wanted, now);
                        self.pictures.push_back(wanted);
                    } else {
                        let wanted = Wanted::message(OutboxKind::Clip, tier + 1, self.load.clip_bytes);
                        governor.handle_demand(wanted, now);
                        self.clips.push_back((wanted, now.mono));
                    }
                }
            }
        }
    }

    fn text(&self, tier: u8) -> Wanted {
        let one = Wanted::message(OutboxKind::Alert, tier, self.load.record_bytes);
        Wanted { bytes: one.bytes * u64::from(RECORDS), ..one }
    }

    fn send(&mut self, governor: &mut Governor, month: &mut MonthPlan, now: Stamp) {
        let expired =
            self.clips.iter().take_while(|(_, since)| crate::time::millis(now.mono.since(*since)) >= CLIP_EXPIRY_MS);
        let expired = expired.count();
        self.clips.drain(..expired);
        month.clips_left += expired as u64;
        let is_connected = match governor.link_mode(now) {
            LinkMode::Connected { stretch } => {
                let bytes = self.load.connected_bytes_per_day / 24 / u64::from(stretch);
                governor.handle_traffic(TrafficClass::Protocol, bytes, now);
                true
            }
            LinkMode::Errands { runs_for_all, .. } => {
                let has_errand = self.texts[0] > 0 || (runs_for_all && self.texts[1] > 0);
                if has_errand {
                    governor.handle_traffic(TrafficClass::Protocol, HANDSHAKE_BYTES + 2_000, now);
                }
                has_errand
            }
            LinkMode::Off { .. } => false,
        };
        if !is_connected {
            return;
        }
        for (index, tier, class) in [(0, 1, TrafficClass::Alert), (1, 2, TrafficClass::Text)] {
            while self.texts[index] > 0 && charge(governor, self.text(tier), class, now) {
                self.texts[index] -= 1;
                month.alerts += 1;
            }
        }
        while let Some(wanted) = self.pictures.front()
            && charge(governor, *wanted, TrafficClass::Snapshot, now)
        {
            self.pictures.pop_front();
            month.snapshots += 1;
        }
        for tier in 1..=3 {
            while let Some(index) = self.clips.iter().rposition(|(wanted, _)| wanted.tier == tier)
                && let (wanted, since) = self.clips[index]
                && charge(
                    governor,
                    Wanted { is_stale: now.mono.since(since) > STALE_AFTER, ..wanted },
                    TrafficClass::Clip,
                    now,
                )
            {
                self.clips.remove(index);
                month.clips += 1;
            }
        }
    }
}

fn charge(governor: &mut Governor, wanted: Wanted, class: TrafficClass, now: Stamp) -> bool {
    let may_go = governor.admit(wanted, now) == Admission::Go;
    if may_go {
        governor.handle_traffic(class, wanted.bytes, now);
    }
    may_go
}

impl Load {
    /// The load of the past weeks, as a forecast knows it.
    #[must_use]
    pub fn of(forecast: &Forecast, connected_bytes_per_day: u64) -> Self {
        let usual = Self::default();
        let a_day = |demand| forecast.a_week(demand) / 7.0;
        let records = f64::from(RECORDS);
        let (grave, other) = (a_day(Demand::Alert) / records, a_day(Demand::Text) / records);
        let clips = [Demand::Clip1, Demand::Clip2, Demand::Clip3].map(a_day);
        // The forecast does not part tiers 2 and 3 but by their clips.
        let second = clips[1].max(other * 0.2).min(other);
        let share = |clips: f64, alerts: f64| if alerts > 0.0 { (clips / alerts).min(1.0) } else { 0.0 };
        let alerts_per_day = [grave, second, other - second];
        let all: f64 = alerts_per_day.iter().sum();
        let pictures = share(a_day(Demand::Snapshot1) + a_day(Demand::Snapshot), all);
        Self {
            alerts_per_day,
            snapshot_share: [pictures; 3],
            clip_share: std::array::from_fn(|tier| share(clips[tier], alerts_per_day[tier])),
            connected_bytes_per_day,
            ..usual
        }
    }
}

/// What a kept connection costs a day, with so many seconds between keepalives and between heartbeats of so many bytes.
#[must_use]
pub fn connected_bytes_per_day(keepalive_s: u32, heartbeat_s: u32, heartbeat_bytes: u64) -> u64 {
    let a_day = |seconds: u32| 86_400 / u64::from(seconds.max(1));
    a_day(keepalive_s) * 2 * wire_bytes(2, true) + a_day(heartbeat_s) * wire_bytes(heartbeat_bytes, true)
}
