//! What may be sent, so that the month's ceiling holds and what matters most gets through.
//! Bytes that passed, wishes and stamps come in; admissions, the step and the link's mode go out.
//!
//! The money stands in a ladder. On each rung a kind of message is let through if the money left pays for it and for all
//! that the rest of the month is expected to ask for on the rungs below: texts and the connection, pictures of tier 1, other
//! pictures, clips that were asked for, clips of tier 1, 2, 3. The reserve lies under all of them, for texts of tier 1 alone. When the money no
//! longer pays for staying connected until the month's end, the box connects for errands only.

use std::time::Duration;

use super::account::{Account, Usage, less_error, with_error};
use super::admission::{Admission, Hold, HoldReason, LinkMode};
use super::allowance::Allowance;
use super::counting::{Attribution, InterfaceCounter, Reading};
use super::forecast::{Demand, Forecast, PROTOCOL_A_WEEK};
use super::overhead::HANDSHAKE_BYTES;
use super::period::Period;
use super::rung::Rung;
use super::tariff::Tariff;
use super::wanted::Wanted;
use super::yuan::Yuan;
use super::{BudgetStep, TrafficClass};
use crate::config::BudgetConfig;
use crate::time::{Mono, Stamp, TimeZone, Wall};

/// With less than this the box says goodbye: that costs something too, and more may be on its way down.
const FAREWELL_BYTES: u64 = 128_000;
/// A connection for one text out of the reserve, also with certificates twice as long.
const ERRAND_BYTES: u64 = HANDSHAKE_BYTES + 7_500;
/// Of keepalive and heartbeat.
const LONGEST_STRETCH: u32 = 4;
/// A rung that was lost comes back at the earliest after so long.
const RAISE_AFTER: Duration = Duration::from_secs(1800);
/// The counts must reach the disk before more than this has passed unsaved.
pub const UNSAVED_BYTES: u64 = 256_000;
const UNSAVED_TIME: Duration = Duration::from_secs(60);
/// Measured overhead is believed within these millionths of the modelled one.
const FACTOR: (u64, u64) = (900_000, 1_500_000);
const LEARN_BYTES: u64 = 1_000_000;
const MILLION: u64 = 1_000_000;

/// The configuration as it is counted with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub tariff: Tariff,
    /// Of a month, the package's fee taken off.
    pub ceiling: Yuan,
    pub reserve_millionths: u32,
    pub start_day: u8,
}

impl Settings {
    /// Of a checked configuration.
    #[must_use]
    pub fn new(config: &BudgetConfig, zone: TimeZone) -> Self {
        let month = config.yuan_per_year.yuan().twelfth() - config.package_yuan.yuan();
        Self {
            tariff: Tariff::new(config, zone),
            ceiling: month.max(Yuan::ZERO),
            reserve_millionths: (config.reserve_fraction * 1e6).round() as u32,
            start_day: config.start_day,
        }
    }

    /// What only texts of tier 1 alerts may use.
    #[must_use]
    pub fn reserve(&self) -> Yuan {
        self.ceiling.millionths(self.reserve_millionths)
    }
}

/// What is still affordable, in bytes.
#[derive(Clone, Copy, Debug)]
struct Funds {
    all: u64,
    /// Without the reserve.
    general: u64,
    is_free: bool,
    /// The operator's hard stop is nearer than the money's end.
    is_hard: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Governor {
    settings: Settings,
    account: Account,
    forecast: Forecast,
    /// Absent: the model's bytes are charged as they come.
    interface: Option<InterfaceCounter>,
    attribution: Attribution,
    /// Since the interface was last read.
    charged_blindly: u64,
    /// Counted bytes for a million modelled ones; and those of both since it was last learnt.
    factor: u64,
    counted: u64,
    modelled: u64,
    rung: Rung,
    lowered_at: Option<Mono>,
    /// The money pays for staying connected, sparingly, until the month's end.
    stays_connected: bool,
    /// What must stay for the rungs below each, until the hour, the month or the past is another.
    kept: [u64; Rung::COUNT],
    /// What the rest of the month's keepalives and heartbeats take more than if they were stretched.
    stretchable: u64,
    kept_in: Option<(i64, Period)>,
    /// When the next free window begins: looked for minute by minute, and therefore not at every question.
    next_free: Option<Wall>,
    /// What the connection itself may use now.
    allowance: Allowance,
    unsaved: u64,
    saved_at: Mono,
}

impl Governor {
    #[must_use]
    pub fn new(settings: Settings, account: Account, mut forecast: Forecast, now: Stamp) -> Self {
        forecast.set_tariff(&settings.tariff, account.label(now.mono));
        let mut governor = Self {
            settings,
            account,
            forecast,
            interface: None,
            attribution: Attribution::default(),
            charged_blindly: 0,
            factor: MILLION,
            counted: 0,
            modelled: 0,
            rung: Rung::LAST,
            lowered_at: None,
            stays_connected: true,
            kept: [0; Rung::COUNT],
            stretchable: 0,
            kept_in: None,
            next_free: None,
            allowance: Allowance::new(now.mono),
            unsaved: 0,
            saved_at: now.mono,
        };
        governor.measure_allowance();
        governor.handle_time(now);
        governor
    }

    /// Bytes are counted at an interface from now on.
    #[must_use]
    pub fn with_interface(mut self, counter: InterfaceCounter) -> Self {
        self.interface = Some(counter);
        self
    }

    /// As [`Self::factor`] said before a restart.
    #[must_use]
    pub fn with_factor(mut self, factor: u64) -> Self {
        self.factor = factor.clamp(FACTOR.0, FACTOR.1);
        self
    }

    /// Another tariff or ceiling, in the middle of a month.
    pub fn handle_settings(&mut self, settings: Settings, now: Stamp) {
        self.account.set_tariff(settings.tariff.clone(), settings.start_day, now);
        self.forecast.set_tariff(&settings.tariff, self.account.label(now.mono));
        self.settings = settings;
        self.kept_in = None;
        self.measure_allowance();
        self.handle_time(now);
    }

    /// So many bytes pass the link for a class, by the model.
    pub fn handle_traffic(&mut self, class: TrafficClass, bytes: u64, now: Stamp) {
        let class = self.class_of(class);
        if class == TrafficClass::Protocol {
            self.forecast.handle_demand(Demand::Protocol, bytes, self.account.label(now.mono));
            if !self.account.is_free(now) {
                self.allowance.handle_used(bytes);
            }
        }
        self.unsaved = self.unsaved.saturating_add(bytes);
        if self.interface.is_some() {
            self.attribution.handle_modelled(class, bytes);
            self.modelled = self.modelled.saturating_add(bytes);
        } else {
            let bytes = u64::try_from(u128::from(bytes) * u128::from(self.factor) / u128::from(MILLION));
            self.account.charge(class, bytes.unwrap_or(u64::MAX), now);
        }
        self.handle_time(now);
    }

    /// What the interface's counters show; `None` while there is no such interface.
    pub fn handle_reading(&mut self, reading: Option<Reading>, now: Stamp) {
        let Some(counter) = &mut self.interface else { return };
        let pending = self.attribution.pending();
        let counted = match reading {
            Some(reading) => {
                counter.handle_reading(reading, now.mono).saturating_sub(std::mem::take(&mut self.charged_blindly))
            }
            // What the model says is charged, and not once more when the counters are back.
            None => {
                self.charged_blindly = self.charged_blindly.saturating_add(pending);
                pending
            }
        };
        self.unsaved = self.unsaved.saturating_add(counted.saturating_sub(pending));
        let given = self.attribution.handle_counted(counted, now.mono);
        if reading.is_some() {
            self.learn(counted - given[TrafficClass::Other as usize]);
        }
        for (class, bytes) in TrafficClass::ALL.into_iter().zip(given) {
            self.account.charge(class, bytes, now);
        }
        self.handle_time(now);
    }

    /// So many of the model's bytes, or a little more, were counted. Over a megabyte it does not matter what a socket still
    /// holds back.
    fn learn(&mut self, counted: u64) {
        self.counted = self.counted.saturating_add(counted);
        if self.modelled < LEARN_BYTES {
            return;
        }
        let ratio = u128::from(self.counted) * u128::from(MILLION) / u128::from(self.modelled);
        let ratio = u64::try_from(ratio).unwrap_or(MILLION).clamp(FACTOR.0, FACTOR.1);
        self.factor = (3 * self.factor + ratio) / 4;
        (self.counted, self.modelled) = (0, 0);
    }

    /// Bytes that passed while nobody counted: before a power cut, or before the box knew its account.
    pub fn handle_unaccounted(&mut self, bytes: u64, now: Stamp) {
        self.account.charge(TrafficClass::Other, bytes, now);
        self.handle_time(now);
    }

    /// A message was put into the outbox; its [`Wanted`] bytes.
    pub fn handle_demand(&mut self, wanted: Wanted, now: Stamp) {
        let demand = Demand::of(wanted.kind, wanted.tier, wanted.is_requested);
        self.forecast.handle_demand(demand, wanted.bytes, self.account.label(now.mono));
    }

    /// What was asked for until now, read anew from where it is kept.
    pub fn handle_history(&mut self, forecast: Forecast, now: Stamp) {
        self.forecast = forecast;
        self.forecast.set_tariff(&self.settings.tariff, self.account.label(now.mono));
        self.kept_in = None;
        self.handle_time(now);
    }

    /// At least every few minutes, and by itself with every other input.
    pub fn handle_time(&mut self, now: Stamp) {
        let before = self.account.period();
        self.account.handle_clock(now);
        self.forecast.handle_time(self.account.label(now.mono));
        if self.account.period() != before {
            self.measure_allowance();
            (self.lowered_at, self.stays_connected) = (None, true);
        }
        self.keep(now);
        self.allowance.handle_time(now.mono);
        let funds = self.funds(now);
        let highest = |margin: u64| {
            let pays = |rung: Rung| {
                let some = margin.saturating_mul(self.typical(rung));
                match rung {
                    Rung::Nothing => true,
                    Rung::GraveTexts => funds.all >= ERRAND_BYTES,
                    Rung::Texts => funds.general >= some.saturating_add(ERRAND_BYTES),
                    _ => funds.general >= self.kept(rung).saturating_add(some),
                }
            };
            Rung::ALL.into_iter().take_while(|rung| pays(*rung)).last().unwrap_or(Rung::Nothing)
        };
        let (least, ample) = (highest(1), highest(2));
        let may_rise = self.lowered_at.is_none_or(|at| now.mono.since(at) >= RAISE_AFTER);
        let connection = self.kept(Rung::Texts).saturating_add(FAREWELL_BYTES);
        if least < self.rung || (self.stays_connected && funds.general < connection) {
            self.rung = self.rung.min(least);
            self.stays_connected &= funds.general >= connection;
            self.lowered_at = Some(now.mono);
        } else if may_rise {
            self.rung = self.rung.max(ample);
            self.stays_connected |= funds.general >= connection.saturating_mul(2);
        }
    }

    /// Whether a message may go now. Ask again before each time it is sent.
    #[must_use]
    pub fn admit(&self, wanted: Wanted, now: Stamp) -> Admission {
        let funds = self.funds(now);
        let rung = wanted.rung();
        let may_go = if funds.is_free || rung <= Rung::GraveTexts {
            funds.all >= wanted.bytes
        } else if rung == Rung::Texts {
            self.rung >= rung && funds.general >= wanted.bytes
        } else {
            self.rung >= rung && funds.general >= self.kept(rung).saturating_add(wanted.bytes)
        };
        if may_go { Admission::Go } else { Admission::Hold(self.hold(funds, rung, now)) }
    }

    /// Whether a transfer under way may go on by so many bytes: only the money itself stops it, no forecast.
    #[must_use]
    pub fn may_go_on(&self, bytes: u64, now: Stamp) -> bool {
        let funds = self.funds(now);
        let means = if funds.is_free { funds.all } else { funds.general };
        means >= bytes.saturating_add(FAREWELL_BYTES)
    }

    #[must_use]
    pub fn link_mode(&self, now: Stamp) -> LinkMode {
        let funds = self.funds(now);
        let until = self.until(now);
        if funds.is_free && funds.all >= FAREWELL_BYTES {
            return LinkMode::Connected { stretch: 1 };
        }
        if self.stays_connected && funds.general >= FAREWELL_BYTES && !self.allowance.is_used_up() {
            return LinkMode::Connected { stretch: self.stretch(funds) };
        }
        if funds.all < ERRAND_BYTES {
            return LinkMode::Off { until };
        }
        let until = match self.allowance.refilled_after() {
            Some(wait) => self.account.label(now.mono).after(wait).min(until),
            None => until,
        };
        LinkMode::Errands { until, runs_for_all: self.rung >= Rung::Texts }
    }

    /// The month's step, by the rung that was reached.
    #[must_use]
    pub fn step(&self) -> BudgetStep {
        self.rung.step()
    }

    /// How large a new clip is to be at most: smaller where it would have to wait, since two half clips are worth more.
    #[must_use]
    pub fn clip_bytes(&self, tier: u8, max_bytes: u64) -> u64 {
        let rung = Rung::of_clip(tier, false);
        match (rung as usize).saturating_sub(self.rung as usize) {
            0 => max_bytes,
            1 => max_bytes * 2 / 3,
            _ => max_bytes / 2,
        }
    }

    /// How large a new picture is to be at most.
    #[must_use]
    pub fn snapshot_bytes(&self, max_bytes: u64) -> u64 {
        if self.rung >= Rung::Requests { max_bytes } else { max_bytes / 2 }
    }

    /// Used of what may be used, in per cent, by money or by the operator's hard stop.
    #[must_use]
    pub fn used_percent(&self) -> u32 {
        let total = self.account.usage().total();
        let by_money = if self.settings.ceiling == Yuan::ZERO {
            // Only the package is there to be used.
            percent(self.account.position(), less_error(self.settings.tariff.affordable(0, Yuan::ZERO)))
        } else {
            total.worst_yuan.percent_of(self.settings.ceiling)
        };
        self.hard_stop().map_or(by_money, |stop| by_money.max(percent(total.bytes, stop)))
    }

    /// What the month will have cost when it goes on as expected, at most what it may cost.
    #[must_use]
    pub fn forecast_yuan(&self, now: Stamp) -> Yuan {
        let (from, to) = (self.account.label(now.mono), self.account.period().to);
        let rest =
            Demand::ALL.iter().fold(0, |sum: u64, demand| sum.saturating_add(self.forecast.rest(*demand, from, to)));
        let used = self.account.usage().total().yuan;
        (used + self.settings.tariff.cost(self.account.position(), rest)).min(self.settings.ceiling.max(used))
    }

    /// Whether the account should be saved now.
    #[must_use]
    pub fn wants_saving(&self, now: Mono) -> bool {
        self.unsaved >= UNSAVED_BYTES / 2
            || ((self.account.has_changes() || self.unsaved > 0) && now.since(self.saved_at) >= UNSAVED_TIME)
    }

    /// It is being saved: what changed since the last time.
    pub fn take_changes(&mut self, now: Mono) -> Vec<super::Bucket> {
        (self.unsaved, self.saved_at) = (0, now);
        self.account.take_changes()
    }

    /// They could not be saved: they are among the next changes again.
    pub fn handle_not_saved(&mut self, changes: &[super::Bucket]) {
        self.account.note_changed(changes);
        self.unsaved = self.unsaved.max(1);
    }

    /// Forgets hours that ended before `before`; they stay where they were saved.
    pub fn forget(&mut self, before: Wall) {
        self.account.forget(before);
    }

    /// What the month may cost, in bytes, in proportion to the part of it that is over.
    #[must_use]
    pub fn share_until(&self, now: Stamp) -> u64 {
        let period = self.account.period();
        let ms = |from: Wall, to: Wall| u64::try_from(to.as_unix_millis() - from.as_unix_millis()).unwrap_or(0);
        let (over, whole) = (ms(period.from, self.account.label(now.mono)), ms(period.from, period.to));
        let month = less_error(self.settings.tariff.affordable(0, self.settings.ceiling));
        if month == u64::MAX {
            return 0;
        }
        u64::try_from(u128::from(month) * u128::from(over.min(whole)) / u128::from(whole.max(1))).unwrap_or(0)
    }

    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    #[must_use]
    pub fn usage(&self) -> &Usage {
        self.account.usage()
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    #[must_use]
    pub fn forecast(&self) -> &Forecast {
        &self.forecast
    }

    /// Counted bytes for a million modelled ones.
    #[must_use]
    pub fn factor(&self) -> u64 {
        self.factor
    }

    /// Out of the reserve a connection is made for the sake of a tier 1 text, and is part of its cost.
    fn class_of(&self, class: TrafficClass) -> TrafficClass {
        let is_errand = self.rung <= Rung::GraveTexts && class == TrafficClass::Protocol;
        if is_errand { TrafficClass::Alert } else { class }
    }

    fn funds(&self, now: Stamp) -> Funds {
        let pending = self.attribution.pending();
        let counted = self.account.position();
        let position = with_error(counted.saturating_add(pending));
        let tariff = &self.settings.tariff;
        let uncounted = tariff.cost(with_error(counted), position - with_error(counted));
        let left = self.settings.ceiling - self.account.usage().total().worst_yuan - uncounted;
        let mut all = less_error(tariff.affordable(position, left));
        let mut general = less_error(tariff.affordable(position, left - self.settings.reserve()));
        let is_free = self.account.is_free(now);
        if is_free {
            (all, general) = (u64::MAX, u64::MAX);
        }
        let mut is_hard = false;
        if let Some(stop) = self.hard_stop() {
            let sent = self.account.usage().total().bytes.saturating_add(pending);
            let reserve = u64::try_from(u128::from(stop) * u128::from(self.settings.reserve_millionths) / 1_000_000);
            is_hard = stop.saturating_sub(sent) < all;
            all = all.min(stop.saturating_sub(sent));
            general = general.min(stop.saturating_sub(reserve.unwrap_or(stop)).saturating_sub(sent));
        }
        Funds { all, general, is_free, is_hard }
    }

    fn hard_stop(&self) -> Option<u64> {
        self.settings.tariff.hard_stop().map(less_error)
    }

    /// What the rest of the month is expected to ask for on all lower rungs.
    fn keep(&mut self, now: Stamp) {
        let (from, period) = (self.account.label(now.mono), self.account.period());
        let kept_in = Some((Forecast::hour(from), period));
        let is_another = self.kept_in != kept_in;
        if is_another || self.next_free.is_some_and(|free| free <= from) {
            self.next_free = self.settings.tariff.next_free(from);
        }
        if !is_another {
            return;
        }
        self.kept_in = kept_in;
        let rest = |demand| self.forecast.rest(demand, from, period.to);
        let hours = u64::try_from(Forecast::hour(period.to) - Forecast::hour(from)).unwrap_or(0);
        // Keepalive and heartbeat can be stretched; what else the connection takes can't.
        self.stretchable = PROTOCOL_A_WEEK * hours / 168 / u64::from(LONGEST_STRETCH) * u64::from(LONGEST_STRETCH - 1);
        let measured = rest(Demand::Protocol).min(self.allowance.of_month());
        let least = self.stretchable / u64::from(LONGEST_STRETCH - 1);
        let connection = measured.saturating_sub(self.stretchable).max(least).min(measured);
        let added = [
            0,
            0,
            connection,
            rest(Demand::Alert).saturating_add(rest(Demand::Text)).saturating_add(FAREWELL_BYTES),
            rest(Demand::Snapshot1),
            rest(Demand::Snapshot),
            rest(Demand::Request),
            rest(Demand::Clip1),
            rest(Demand::Clip2),
            rest(Demand::Clip3),
        ];
        let mut sum: u64 = 0;
        for (kept, added) in self.kept.iter_mut().zip(added) {
            sum = sum.saturating_add(added);
            *kept = sum;
        }
    }

    /// What must stay for the rungs below.
    const fn kept(&self, rung: Rung) -> u64 {
        self.kept[rung as usize]
    }

    fn typical(&self, rung: Rung) -> u64 {
        self.forecast.typical(rung.demand())
    }

    fn hold(&self, funds: Funds, rung: Rung, now: Stamp) -> Hold {
        let reason = if funds.is_hard {
            HoldReason::HardStop
        } else if rung >= Rung::Requests && self.settings.tariff.has_free_windows() {
            HoldReason::FreeWindow
        } else if rung <= Rung::GraveTexts {
            HoldReason::Ceiling
        } else {
            HoldReason::Step(self.step().min(rung.step_below()))
        };
        Hold { reason, until: self.until(now) }
    }

    /// When all may be different: the next free window, or the next month.
    fn until(&self, now: Stamp) -> Wall {
        let end = self.account.period().to;
        if !now.quality.is_trusted() {
            return end;
        }
        self.next_free.map_or(end, |free| free.min(end))
    }

    fn stretch(&self, funds: Funds) -> u32 {
        let ample = self.kept(Rung::LAST).saturating_add(self.typical(Rung::LAST)).saturating_add(self.stretchable);
        match self.step() {
            BudgetStep::Full if funds.general >= ample => 1,
            BudgetStep::Full => 2,
            _ => LONGEST_STRETCH,
        }
    }

    fn measure_allowance(&mut self) {
        let month = self.settings.tariff.affordable(0, self.settings.ceiling - self.settings.reserve());
        self.allowance.handle_means(less_error(month));
    }
}

fn percent(part: u64, whole: u64) -> u32 {
    if whole == 0 {
        return 100;
    }
    u32::try_from(u128::from(part) * 100 / u128::from(whole)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::DemandRow;
    use crate::config::Config;
    use crate::outbox::OutboxKind;
    use crate::time::TimeQuality;

    const CLIP: u64 = 700_000;
    const MONTH: &str = "2026-11-01T00:00:00Z";

    fn settings(text: &str) -> Settings {
        let text = format!("[device]\nid = \"mh07-000123\"\ntime_zone = \"UTC\"\n[budget]\n{text}");
        let config = Config::parse(&text, &[]).expect("valid");
        Settings::new(&config.budget, config.time_zone())
    }

    fn at(days: f64) -> Stamp {
        let ms = (days * 86_400_000.0) as u64;
        let wall: Wall = MONTH.parse().expect("a time");
        Stamp { mono: Mono::from_millis(ms), wall: wall.after(Duration::from_millis(ms)), quality: TimeQuality::Ntp }
    }

    fn governor(text: &str) -> Governor {
        let settings = settings(text);
        let account = Account::restore(1, settings.start_day, settings.tariff.clone(), Vec::new(), at(0.0));
        Governor::new(settings, account, Forecast::default(), at(0.0))
    }

    fn clip(tier: u8) -> Wanted {
        Wanted::message(OutboxKind::Clip, tier, CLIP)
    }

    fn held(admission: Admission) -> Option<HoldReason> {
        match admission {
            Admission::Go => None,
            Admission::Hold(hold) => Some(hold.reason),
        }
    }

    /// A ceiling of 10 yuan a month at 100 yuan a gigabyte: 95 MB, of which 9.5 MB are the reserve.
    const TIGHT: &str = "yuan_per_year = 120\n[[budget.tariff]]\nyuan_per_gb = 100\n";

    #[test]
    fn the_steps_go_down_as_the_money_goes() {
        let mut governor = governor(TIGHT);
        assert_eq!(governor.step(), BudgetStep::Full);
        let mut seen = vec![(BudgetStep::Full, 0)];
        for _ in 0..2_000 {
            governor.handle_traffic(TrafficClass::Other, 50_000, at(1.0));
            let used = governor.usage().total().bytes;
            if seen.last().is_some_and(|(step, _)| *step != governor.step()) {
                seen.push((governor.step(), used / 1_000_000));
            }
        }
        let steps: Vec<BudgetStep> = seen.iter().map(|(step, _)| *step).collect();
        let down: Vec<BudgetStep> = BudgetStep::ALL.into_iter().rev().collect();
        assert_eq!(steps, down, "{seen:?}");
        assert!(seen[4].1 <= 85 && seen[5].1 <= 95, "reserve and ceiling: {seen:?}");
        assert_eq!(
            governor.link_mode(at(1.0)),
            LinkMode::Off { until: "2026-12-01T00:00:00Z".parse().expect("a time") }
        );
        governor.handle_time(at(30.1));
        assert_eq!(governor.step(), BudgetStep::Full, "a new month");
    }

    #[test]
    fn out_of_the_reserve_only_grave_texts_go_and_their_connection_is_part_of_them() {
        let mut governor = governor(TIGHT);
        governor.handle_traffic(TrafficClass::Other, 85_495_000, at(1.0));
        assert_eq!(governor.step(), BudgetStep::Reserve);
        assert!(matches!(governor.link_mode(at(1.0)), LinkMode::Errands { .. }));
        let text = |tier| Wanted::message(OutboxKind::Alert, tier, 1_300);
        assert_eq!(governor.admit(text(1), at(1.0)), Admission::Go);
        assert_eq!(held(governor.admit(text(2), at(1.0))), Some(HoldReason::Step(BudgetStep::Reserve)));
        governor.handle_traffic(TrafficClass::Protocol, 5_000, at(1.0));
        assert_eq!(governor.usage().of(TrafficClass::Protocol).bytes, 0);
        assert_eq!(governor.usage().of(TrafficClass::Alert).bytes, 5_000);
    }

    #[test]
    fn when_the_money_no_longer_keeps_a_connection_the_box_runs_errands() {
        let mut governor = governor(TIGHT);
        governor.handle_traffic(TrafficClass::Other, 85_000_000, at(1.0));
        assert_eq!(governor.step(), BudgetStep::TextOnly);
        assert!(matches!(governor.link_mode(at(1.0)), LinkMode::Errands { runs_for_all: true, .. }));
        let text = Wanted::message(OutboxKind::Alert, 3, 1_300);
        assert_eq!(governor.admit(text, at(1.0)), Admission::Go);
        assert!(held(governor.admit(Wanted::message(OutboxKind::Snapshot, 3, 40_000), at(1.0))).is_some());
        // Towards the end of the month what is left is enough.
        governor.handle_time(at(29.0));
        assert!(matches!(governor.link_mode(at(29.0)), LinkMode::Connected { .. }));
    }

    #[test]
    fn a_clip_that_has_waited_for_a_day_leaves_the_money_to_fresh_ones() {
        let mut governor = governor(TIGHT);
        let hour = Forecast::hour(at(0.0).wall);
        let rows: Vec<DemandRow> = (0..8 * 168)
            .step_by(12)
            .map(|back| DemandRow { hour: hour - back - 1, demand: Demand::Clip2, bytes: 2 * CLIP, count: 2 })
            .collect();
        governor.handle_history(Forecast::restore(&rows), at(0.0));
        governor.handle_traffic(TrafficClass::Clip, 40_000_000, at(0.0));
        let stale = Wanted { is_stale: true, ..clip(2) };
        assert_eq!(governor.admit(clip(2), at(0.0)), Admission::Go);
        assert!(held(governor.admit(stale, at(0.0))).is_some());
    }

    #[test]
    fn money_is_kept_for_the_graver_clips_that_the_past_weeks_had() {
        let mut governor = governor(TIGHT);
        let hour = Forecast::hour(at(0.0).wall);
        let rows: Vec<DemandRow> = (0..8 * 168)
            .step_by(24)
            .map(|back| DemandRow { hour: hour - back - 1, demand: Demand::Clip1, bytes: 3 * CLIP, count: 3 })
            .collect();
        governor.handle_history(Forecast::restore(&rows), at(0.0));
        assert_eq!(governor.admit(clip(1), at(0.0)), Admission::Go);
        governor.handle_traffic(TrafficClass::Clip, 30_000_000, at(0.0));
        assert_eq!(governor.admit(clip(1), at(0.0)), Admission::Go, "these it is kept for");
        assert_eq!(held(governor.admit(clip(2), at(0.0))), Some(HoldReason::Step(BudgetStep::ClipsOnRequest)));
        assert!(governor.clip_bytes(3, CLIP) < CLIP && governor.clip_bytes(1, CLIP) == CLIP);
        governor.handle_time(at(29.5));
        assert_eq!(governor.admit(clip(2), at(29.5)), Admission::Go, "the month's end sets free what was kept");
    }

    #[test]
    fn where_the_money_is_short_the_gravest_pictures_go_and_the_others_wait() {
        let mut governor = governor(TIGHT);
        let hour = Forecast::hour(at(0.0).wall);
        let rows: Vec<DemandRow> = (1..8 * 168)
            .map(|back| DemandRow { hour: hour - back, demand: Demand::Snapshot1, bytes: 40_000, count: 1 })
            .collect();
        governor.handle_history(Forecast::restore(&rows), at(0.0));
        governor.handle_traffic(TrafficClass::Other, 60_000_000, at(0.0));
        let picture = |tier| Wanted::message(OutboxKind::Snapshot, tier, 38_000);
        assert_eq!(governor.admit(picture(1), at(0.0)), Admission::Go);
        assert_eq!(held(governor.admit(picture(3), at(0.0))), Some(HoldReason::Step(BudgetStep::TextOnly)));
        assert_eq!(governor.step(), BudgetStep::SnapshotsOnly);
    }

    #[test]
    fn of_a_month_whose_ledger_is_lost_the_part_that_is_over_counts_as_used() {
        let mut governor = governor(TIGHT);
        let used = governor.share_until(at(15.0));
        assert!((47_000_000..48_000_000).contains(&used), "half of 95 MB: {used}");
        governor.handle_unaccounted(used, at(15.0));
        assert_eq!(governor.usage().of(TrafficClass::Other).bytes, used);
        let cheap = self::governor("[[budget.tariff]]\nyuan_per_gb = 0\n");
        assert_eq!(cheap.share_until(at(15.0)), 0, "what costs nothing has no share");
    }

    #[test]
    fn a_step_that_was_lost_does_not_flicker_back() {
        let mut governor = governor(TIGHT);
        governor.handle_traffic(TrafficClass::Other, 84_000_000, at(1.0));
        let low = governor.step();
        assert!(low < BudgetStep::Full);
        let ample = settings("yuan_per_year = 12000\n[[budget.tariff]]\nyuan_per_gb = 100\n");
        governor.handle_settings(ample, at(1.001));
        assert_eq!(governor.step(), low);
        governor.handle_time(at(1.1));
        assert_eq!(governor.step(), BudgetStep::Full);
    }

    #[test]
    fn what_is_free_goes_though_the_money_is_spent() {
        let mut governor = governor(&format!("free = [\"00:00-06:00\"]\n{TIGHT}"));
        governor.handle_traffic(TrafficClass::Other, 200_000_000, at(1.5));
        assert_eq!(governor.step(), BudgetStep::Off);
        let night = "2026-11-03T00:01:00Z".parse().expect("a time");
        assert_eq!(
            governor.admit(clip(3), at(1.5)),
            Admission::Hold(Hold { reason: HoldReason::FreeWindow, until: night })
        );
        assert_eq!(governor.link_mode(at(1.5)), LinkMode::Off { until: night });
        assert_eq!(governor.admit(clip(3), at(2.1)), Admission::Go);
        assert_eq!(governor.link_mode(at(2.1)), LinkMode::Connected { stretch: 1 });
    }

    #[test]
    fn a_hard_stop_of_the_operator_is_a_ceiling_too() {
        let mut governor =
            governor("hard_stop_gb = 0.1\nfree = [\"00:00-06:00\"]\n[[budget.tariff]]\nyuan_per_gb = 0\n");
        governor.handle_traffic(TrafficClass::Clip, 94_900_000, at(1.5));
        assert_eq!(held(governor.admit(clip(1), at(1.5))), Some(HoldReason::HardStop));
        assert_eq!(held(governor.admit(clip(1), at(2.1))), Some(HoldReason::HardStop), "free bytes count there");
        assert!(governor.used_percent() >= 99);
    }

    #[test]
    fn reconnects_and_floods_use_up_their_allowance_and_the_box_rests() {
        let mut governor = governor(TIGHT);
        let mut count = 0;
        while matches!(governor.link_mode(at(1.0)), LinkMode::Connected { .. }) {
            governor.handle_traffic(TrafficClass::Protocol, 5_000, at(1.0));
            count += 1;
        }
        let used = governor.usage().total().bytes;
        assert!(used < 5_000_000, "{count} connections");
        assert!(matches!(governor.link_mode(at(1.0)), LinkMode::Errands { .. }), "grave texts still go");
        governor.handle_time(at(4.0));
        assert!(matches!(governor.link_mode(at(4.0)), LinkMode::Connected { .. }), "rested");
    }

    #[test]
    fn an_interface_that_is_away_for_a_while_is_charged_by_the_model_and_nothing_twice() {
        let settings = settings(TIGHT);
        let account = Account::restore(1, 1, settings.tariff.clone(), Vec::new(), at(0.0));
        let counter = InterfaceCounter::new(Some((Reading { received: 0, sent: 0 }, Mono::ZERO)));
        let mut governor = Governor::new(settings, account, Forecast::default(), at(0.0)).with_interface(counter);
        governor.handle_traffic(TrafficClass::Clip, 10_000, at(0.1));
        governor.handle_reading(None, at(0.11));
        assert_eq!(governor.usage().of(TrafficClass::Clip).bytes, 10_000);
        governor.handle_reading(Some(Reading { received: 0, sent: 10_500 }), at(0.12));
        assert_eq!(governor.usage().total().bytes, 10_500);
    }

    #[test]
    fn at_an_interface_classes_get_what_was_counted() {
        let settings = settings(TIGHT);
        let account = Account::restore(1, 1, settings.tariff.clone(), Vec::new(), at(0.0));
        let counter = InterfaceCounter::new(Some((Reading { received: 0, sent: 0 }, Mono::ZERO)));
        let mut governor = Governor::new(settings, account, Forecast::default(), at(0.0)).with_interface(counter);
        governor.handle_traffic(TrafficClass::Clip, 1_000_000, at(0.1));
        assert_eq!(governor.usage().total().bytes, 0, "not counted yet");
        governor.handle_reading(Some(Reading { received: 40_000, sent: 1_000_000 }), at(0.11));
        assert_eq!(governor.usage().of(TrafficClass::Clip).bytes, 1_000_000);
        assert_eq!(governor.usage().total().bytes, 1_040_000);
        assert!(governor.factor() > MILLION);
        assert!(governor.wants_saving(at(0.11).mono));
        assert_eq!(governor.take_changes(at(0.11).mono).len(), 1);
        assert!(!governor.wants_saving(at(0.2).mono));
    }

    proptest! {
        /// Prices, ceilings and amounts as no contract has them: nothing overflows, and nothing is given away.
        #[test]
        fn absurd_tariffs_and_amounts_hold(
            yuan in 0_u64..=1_000_000, price in 0_u64..=1_000_000, reserve in 0.0_f64..=1.0, package in 0_u64..=1_000_000,
            amounts in prop::collection::vec((0_usize..8, any::<u64>(), 0.0_f64..60.0), 1..20),
        ) {
            let mut governor = governor(&format!(
                "yuan_per_year = {yuan}\nreserve_fraction = {reserve}\npackage_gb = {package}\n\
                 [[budget.tariff]]\nup_to_gb = 0.000000001\nyuan_per_gb = 0\n[[budget.tariff]]\nyuan_per_gb = {price}\n"
            ));
            let mut days = 0.0;
            for (class, bytes, after) in amounts {
                days += after / 20.0;
                governor.handle_traffic(TrafficClass::ALL[class], bytes, at(days));
                let funds = governor.funds(at(days));
                for kind in OutboxKind::ALL {
                    let wanted = Wanted::message(kind, 1, bytes >> 8);
                    let goes = governor.admit(wanted, at(days)) == Admission::Go;
                    prop_assert!(!goes || funds.all >= wanted.bytes);
                    let is_grave = kind == OutboxKind::Alert;
                    prop_assert!(!goes || is_grave || funds.general >= wanted.bytes);
                }
                let _ = (governor.link_mode(at(days)), governor.forecast_yuan(at(days)), governor.used_percent());
            }
            let counted = governor.account().closed().iter().map(|(_, usage)| usage.total().yuan).sum::<Yuan>();
            prop_assert!(counted >= Yuan::ZERO && governor.usage().total().worst_yuan >= governor.usage().total().yuan);
        }
    }
}
