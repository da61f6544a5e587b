//! One simulated year: a plan made of a seed, the box that sends what its governor admits, the operator and the oracle.

mod oracle;
mod plan;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kitchen_core::budget::{
    Account, Admission, Bucket, DemandRow, Forecast, Governor, HANDSHAKE_BYTES, LinkMode, Period, Settings,
    TrafficClass, Wanted, Yuan, connected_bytes_per_day, worth,
};
use kitchen_core::outbox::OutboxKind;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};

pub use plan::{Event, Plan};

const MINUTE_MS: u64 = 60_000;
/// The year goes on in steps of ten minutes.
const STEP_MS: u64 = 10 * MINUTE_MS;
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
pub const DAY_MS: u64 = 24 * HOUR_MS;
const STALE_MS: u64 = DAY_MS;
const CLIP_EXPIRY_MS: u64 = 7 * DAY_MS;
const PICTURE_EXPIRY_MS: u64 = 30 * DAY_MS;
pub const YEAR_MS: u64 = 365 * DAY_MS;

/// What became of a year.
#[derive(Debug)]
pub struct Outcome {
    pub plan: String,
    pub broken: Vec<String>,
    pub months: usize,
    pub grave_texts: u64,
    /// Hours in which the money was at its end.
    pub silent_hours: u64,
    /// The dearest month by the operator's count, of the ceiling.
    pub fullest_percent: f64,
    pub value: f64,
    pub best_value: f64,
    pub clips_sent: usize,
    pub clips: usize,
    pub age_hours: f64,
    pub others_percent: u64,
}

impl Outcome {
    pub fn share(&self) -> f64 {
        if self.best_value > 0.0 { self.value / self.best_value } else { 1.0 }
    }

    pub fn explanation(&self) -> String {
        format!(
            "texts and pictures ask for {} % of the money; {} of {} clips, {:.1} h old on average",
            self.others_percent, self.clips_sent, self.clips, self.age_hours
        )
    }
}

/// A clip that was asked for at a time, as the oracle sees it.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    pub wanted: Wanted,
    pub at_ms: u64,
}

/// What the operator counts: by the true clock, with his own idea of a byte.
struct Operator {
    settings: Settings,
    error_millionths: u64,
    month: Option<Period>,
    position: u64,
    total: u64,
    yuan: Yuan,
    /// What was spent already when a tariff with another ceiling began.
    spent_before: Yuan,
    fullest_percent: f64,
    months: usize,
    broken: Vec<String>,
}

impl Operator {
    fn change(&mut self, settings: Settings, now: Wall) {
        self.count(0, now);
        self.settings = settings;
        self.spent_before = self.yuan;
    }

    fn count(&mut self, bytes: u64, now: Wall) {
        let month = Period::containing(now, self.settings.start_day, self.settings.tariff.zone());
        if self.month != Some(month) {
            (self.month, self.position, self.total, self.yuan) = (Some(month), 0, 0, Yuan::ZERO);
            self.spent_before = Yuan::ZERO;
            self.months += 1;
        }
        let bytes = bytes * self.error_millionths / 1_000_000;
        let before = (self.yuan, self.total);
        self.total += bytes;
        let stamp = Stamp { mono: Mono::ZERO, wall: now, quality: TimeQuality::Ntp };
        if !self.settings.tariff.is_free(stamp) {
            self.yuan += self.settings.tariff.cost(self.position, bytes);
            self.position += bytes;
        }
        if self.yuan > self.settings.ceiling.max(self.spent_before) && self.yuan > before.0 {
            self.broken.push(format!("{month}: {} of {} yuan", self.yuan, self.settings.ceiling));
        }
        if self.settings.tariff.hard_stop().is_some_and(|stop| self.total > stop && before.1 <= stop) {
            self.broken.push(format!("{month}: {} bytes are beyond the hard stop", self.total));
        }
        if self.settings.ceiling > Yuan::ZERO && self.spent_before == Yuan::ZERO {
            let parts = self.yuan.percent_of(self.settings.ceiling.millionths(10_000));
            self.fullest_percent = self.fullest_percent.max(f64::from(parts) / 100.0);
        }
    }
}

struct World<'p> {
    plan: &'p Plan,
    true_ms: u64,
    boot: u32,
    booted_ms: u64,
    governor: Governor,
    operator: Operator,
    saved: BTreeMap<(i64, Mono), Bucket>,
    demand: BTreeMap<(i64, u8), DemandRow>,
    grave_texts: Vec<Wanted>,
    texts: Vec<Wanted>,
    pictures: VecDeque<(Wanted, u64)>,
    /// Those that were asked for, then by tier.
    clips: [VecDeque<(Wanted, u64)>; 4],
    all_clips: Vec<Clip>,
    is_connected: bool,
    outcome: Outcome,
    age_ms: u64,
}

/// Lives through the year of `plan`.
pub fn run(plan: &Plan) -> Outcome {
    let mut world = World::new(plan);
    for step in 0..YEAR_MS / STEP_MS {
        world.true_ms = step * STEP_MS;
        for event in plan.events(step * STEP_MS, STEP_MS) {
            world.take(&event);
        }
        world.live();
    }
    world.end()
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan) -> Self {
        let settings = plan.settings(0);
        let now = Stamp { mono: Mono::ZERO, wall: plan.start, quality: TimeQuality::Ntp };
        let account = Account::restore(1, settings.start_day, settings.tariff.clone(), Vec::new(), now);
        let operator = Operator {
            settings: settings.clone(),
            error_millionths: plan.error_millionths,
            month: None,
            position: 0,
            total: 0,
            yuan: Yuan::ZERO,
            spent_before: Yuan::ZERO,
            fullest_percent: 0.0,
            months: 0,
            broken: Vec::new(),
        };
        let outcome = Outcome {
            plan: plan.to_string(),
            broken: Vec::new(),
            months: 0,
            grave_texts: 0,
            silent_hours: 0,
            fullest_percent: 0.0,
            value: 0.0,
            best_value: 0.0,
            clips_sent: 0,
            clips: 0,
            age_hours: 0.0,
            others_percent: 0,
        };
        Self {
            plan,
            true_ms: 0,
            boot: 1,
            booted_ms: 0,
            governor: Governor::new(settings, account, Forecast::default(), now),
            operator,
            saved: BTreeMap::new(),
            demand: BTreeMap::new(),
            grave_texts: Vec::new(),
            texts: Vec::new(),
            pictures: VecDeque::new(),
            clips: Default::default(),
            all_clips: Vec::new(),
            is_connected: false,
            outcome,
            age_ms: 0,
        }
    }

    fn true_wall(&self) -> Wall {
        self.plan.start.after(Duration::from_millis(self.true_ms))
    }

    /// What the box reads, right or wrong.
    fn now(&self) -> Stamp {
        let (quality, error_ms) = self.plan.clock(self.true_ms);
        let wall = Wall::from_unix_millis(self.true_wall().as_unix_millis() + error_ms);
        Stamp { mono: Mono::from_millis(self.true_ms - self.booted_ms + 20_000), wall, quality }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Alert { tier, has_clip } => self.raise(*tier, *has_clip),
            Event::Command => self
                .want_clip(Wanted { is_requested: true, ..Wanted::message(OutboxKind::Clip, 3, self.plan.clip_bytes) }),
            Event::Reconnects(count) => {
                for _ in 0..*count {
                    self.connect();
                    self.is_connected = false;
                }
            }
            Event::Flood(bytes) => {
                // It comes in pieces; the box looks between them.
                for _ in 0..bytes / 64_000 {
                    if self.is_connected && self.may_stay_connected() {
                        self.pass(TrafficClass::Protocol, 64_000);
                    }
                }
            }
            Event::Tariff => {
                let settings = self.plan.settings(self.true_ms + STEP_MS);
                self.operator.change(settings.clone(), self.true_wall());
                self.governor.handle_settings(settings, self.now());
            }
            Event::Boot => self.boot(),
        }
    }

    fn raise(&mut self, tier: u8, has_clip: bool) {
        for _ in 0..3 {
            let text = Wanted::message(OutboxKind::Alert, tier, 1_300);
            self.note(text);
            if tier == 1 { &mut self.grave_texts } else { &mut self.texts }.push(text);
        }
        let picture = Wanted::message(OutboxKind::Snapshot, tier, 38_000);
        self.note(picture);
        self.pictures.push_back((picture, self.true_ms));
        if has_clip {
            let clip = Wanted::message(OutboxKind::Clip, tier, self.plan.clip_bytes);
            self.all_clips.push(Clip { wanted: clip, at_ms: self.true_ms });
            self.want_clip(clip);
        }
    }

    fn want_clip(&mut self, clip: Wanted) {
        self.note(clip);
        let queue = if clip.is_requested { 0 } else { usize::from(clip.tier) };
        self.clips[queue].push_back((clip, self.true_ms));
    }

    fn note(&mut self, wanted: Wanted) {
        let now = self.now();
        self.governor.handle_demand(wanted, now);
        let demand = kitchen_core::budget::Demand::of(wanted.kind, wanted.tier, wanted.is_requested);
        let hour = Forecast::hour(now.wall);
        let row = self.demand.entry((hour, demand as u8)).or_insert(DemandRow { hour, demand, bytes: 0, count: 0 });
        (row.bytes, row.count) = (row.bytes + wanted.bytes, row.count + 1);
    }

    /// The agent's store survives; what was not saved is charged as an estimate.
    fn boot(&mut self) {
        self.save();
        self.boot += 1;
        (self.booted_ms, self.is_connected) = (self.true_ms, false);
        let (settings, now) = (self.plan.settings(self.true_ms), self.now());
        let buckets: Vec<Bucket> = {
            let mut buckets: Vec<Bucket> = self.saved.values().cloned().collect();
            buckets.sort_by_key(|bucket| (bucket.boot, bucket.first));
            buckets
        };
        let account = Account::restore(self.boot, settings.start_day, settings.tariff.clone(), buckets, now);
        let rows: Vec<DemandRow> = self.demand.values().copied().collect();
        self.governor = Governor::new(settings, account, Forecast::restore(&rows), now);
    }

    fn save(&mut self) {
        let mono = self.now().mono;
        for bucket in self.governor.take_changes(mono) {
            self.saved.insert((bucket.boot, bucket.first), bucket);
        }
    }

    fn pass(&mut self, class: TrafficClass, bytes: u64) {
        let now = self.now();
        self.operator.count(bytes, self.true_wall());
        let before = self.spent_on_others();
        self.governor.handle_traffic(class, bytes, now);
        let others = self.spent_on_others();
        let settings = self.governor.settings();
        let general = settings.ceiling - settings.reserve();
        let has_limit = general > Yuan::ZERO && !self.plan.is_tariff_new(self.true_ms);
        if has_limit && others > general && others > before {
            self.outcome.broken.push(format!("the reserve was spent on {class}: {others} yuan"));
        }
    }

    fn spent_on_others(&self) -> Yuan {
        let usage = self.governor.usage();
        usage.total().worst_yuan - usage.of(TrafficClass::Alert).worst_yuan
    }

    fn may_stay_connected(&self) -> bool {
        matches!(self.governor.link_mode(self.now()), LinkMode::Connected { .. })
    }

    fn connect(&mut self) {
        if !self.is_connected && self.may_stay_connected() && !self.plan.is_out(self.true_ms) {
            self.pass(TrafficClass::Protocol, HANDSHAKE_BYTES + 2_500);
            self.is_connected = true;
        }
    }

    fn live(&mut self) {
        let now = self.now();
        self.governor.handle_time(now);
        self.save();
        for queue in &mut self.clips {
            expire(queue, self.true_ms, CLIP_EXPIRY_MS);
        }
        expire(&mut self.pictures, self.true_ms, PICTURE_EXPIRY_MS);
        if self.plan.is_out(self.true_ms) {
            self.is_connected = false;
            return;
        }
        match self.governor.link_mode(now) {
            LinkMode::Connected { stretch } => {
                self.connect();
                let bytes = connected_bytes_per_day(300, 900, 800) * STEP_MS / DAY_MS / u64::from(stretch);
                self.pass(TrafficClass::Protocol, bytes);
                self.send();
            }
            mode => {
                self.is_connected = false;
                let text = match mode {
                    LinkMode::Errands { runs_for_all: true, .. } => self.grave_texts.last().or(self.texts.last()),
                    LinkMode::Errands { .. } => self.grave_texts.last(),
                    _ => None,
                };
                if text.is_some_and(|text| self.governor.admit(*text, now) == Admission::Go) {
                    self.pass(TrafficClass::Protocol, HANDSHAKE_BYTES + 2_000);
                    self.send_texts();
                }
                if matches!(mode, LinkMode::Off { .. }) {
                    self.outcome.silent_hours += STEP_MS;
                    let text = Wanted::message(OutboxKind::Alert, 1, 1_300);
                    let errand = Wanted { bytes: HANDSHAKE_BYTES + 2 * text.bytes + 4_000, ..text };
                    if self.governor.admit(errand, now) == Admission::Go {
                        self.outcome.broken.push("silent though the reserve lasts".to_owned());
                    }
                }
            }
        }
    }

    fn send_texts(&mut self) {
        self.send_grave_texts();
        while let Some(text) = self.texts.last().copied()
            && self.sent(text, TrafficClass::Text)
        {
            self.texts.pop();
        }
    }

    fn send(&mut self) {
        self.send_texts();
        while let Some((picture, _)) = self.pictures.front().copied()
            && self.sent(picture, TrafficClass::Snapshot)
        {
            self.pictures.pop_front();
        }
        self.send_clips();
    }

    fn send_grave_texts(&mut self) {
        while let Some(text) = self.grave_texts.pop() {
            if !self.sent(text, TrafficClass::Alert) {
                self.grave_texts.push(text);
                return;
            }
            self.outcome.grave_texts += 1;
        }
    }

    /// What was asked for first, then by tier, the newest first; at most so many as the link carries in a step.
    fn send_clips(&mut self) {
        let mut left = 60;
        for queue in 0..self.clips.len() {
            while left > 0
                && let Some((wanted, since)) = self.clips[queue].back().copied()
                && self.sent(Wanted { is_stale: self.true_ms - since > STALE_MS, ..wanted }, TrafficClass::Clip)
            {
                self.clips[queue].pop_back();
                left -= 1;
                if !wanted.is_requested {
                    self.outcome.value += worth(wanted.tier, self.true_ms - since);
                    self.outcome.clips_sent += 1;
                    self.age_ms += self.true_ms - since;
                }
            }
        }
    }

    fn sent(&mut self, wanted: Wanted, class: TrafficClass) -> bool {
        let may_go = self.governor.admit(wanted, self.now()) == Admission::Go;
        if may_go {
            self.pass(class, wanted.bytes);
        }
        may_go
    }

    fn end(mut self) -> Outcome {
        self.outcome.broken.append(&mut self.operator.broken);
        self.outcome.broken.truncate(3);
        self.outcome.months = self.operator.months;
        self.outcome.fullest_percent = self.operator.fullest_percent;
        self.outcome.silent_hours /= HOUR_MS;
        self.outcome.clips = self.all_clips.len();
        if self.outcome.clips_sent > 0 {
            self.outcome.age_hours = self.age_ms as f64 / HOUR_MS as f64 / self.outcome.clips_sent as f64;
        }
        self.outcome.others_percent = oracle::others_percent(self.plan);
        self.outcome.best_value = oracle::best_value(self.plan, &self.all_clips);
        self.outcome
    }
}

fn expire(queue: &mut VecDeque<(Wanted, u64)>, now_ms: u64, after_ms: u64) {
    while queue.front().is_some_and(|(_, since)| now_ms - since >= after_ms) {
        queue.pop_front();
    }
}
