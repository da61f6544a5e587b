//! What passed the link, by hour and class, and in which of the operator's months it counts.
//! Charges and stamps come in; sums and changed buckets go out. Never forgets a byte, and never counts one twice.
//!
//! A month opens when the clock has run into it, or when the network sets a clock that nobody had set since the boot; a
//! real-time clock alone must first have run for two days. When the clock becomes known, all of this boot moves along.
//! One that the network has set and that jumps is not believed for two days: the account goes on by uptime. So no jump
//! opens a month or leaves behind what was sent. What is labelled later than now counts now.

use std::collections::BTreeSet;
use std::time::Duration;

use super::TrafficClass;
use super::period::Period;
use super::tariff::Tariff;
use super::yuan::Yuan;
use crate::time::{Mono, Stamp, TimeQuality, Wall};

/// A smaller step of the clock moves nothing.
const LEAST_STEP_MS: u64 = 2_000;
/// A greater step of a clock that the network had set is doubted.
const DOUBTFUL_STEP_MS: u64 = 600_000;
const PATIENCE: Duration = Duration::from_secs(48 * 3600);
const HOUR_MS: i64 = 3_600_000;

/// Bytes of one class: all of them, those sent for nothing, and what the others cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub free_bytes: u64,
    pub yuan: Yuan,
    /// What they cost if the operator counts [`with_error`] as many: where steps rise, or a package ends, that is more
    /// than in proportion.
    pub worst_yuan: Yuan,
}

/// So many bytes the operator may count for `bytes` of ours: we may be off by 5 %.
#[must_use]
pub const fn with_error(bytes: u64) -> u64 {
    bytes.saturating_add(bytes.div_ceil(19))
}

/// So many bytes of ours are surely no more than `bytes` of the operator's.
#[must_use]
pub const fn less_error(bytes: u64) -> u64 {
    if bytes == u64::MAX { bytes } else { bytes / 20 * 19 }
}

impl Traffic {
    fn billable(self) -> u64 {
        self.bytes.saturating_sub(self.free_bytes)
    }

    fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.free_bytes = self.free_bytes.saturating_add(other.free_bytes);
        self.yuan += other.yuan;
        self.worst_yuan += other.worst_yuan;
    }
}

/// By [`TrafficClass`], in its order.
pub type ByClass = [Traffic; TrafficClass::COUNT];

/// What was charged within one hour of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// As [`crate::wire::MessageId::boot`]; 0 or less: of a store before this one.
    pub boot: i64,
    pub first: Mono,
    pub last: Mono,
    /// When `last` was, as far as is known by now.
    pub label: Wall,
    pub classes: ByClass,
}

impl Bucket {
    fn billable(&self) -> u64 {
        self.classes.iter().fold(0, |sum, traffic| sum.saturating_add(traffic.billable()))
    }
}

/// The sums of a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub classes: ByClass,
}

impl Usage {
    #[must_use]
    pub fn of(&self, class: TrafficClass) -> Traffic {
        self.classes[class as usize]
    }

    #[must_use]
    pub fn total(&self) -> Traffic {
        self.classes.iter().fold(Traffic::default(), |mut sum, traffic| {
            sum.add(*traffic);
            sum
        })
    }

    fn add(&mut self, bucket: &Bucket) {
        for (sum, traffic) in self.classes.iter_mut().zip(bucket.classes) {
            sum.add(traffic);
        }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Account {
    boot: i64,
    start_day: u8,
    tariff: Tariff,
    buckets: Vec<Bucket>,
    /// Wall clock less uptime, by which this boot's labels are made.
    offset_ms: i64,
    /// The network has set the clock to that.
    is_confirmed: bool,
    /// Another offset, and since when the clock shows it.
    doubted: Option<(i64, Mono)>,
    /// With this offset the clock was seen within the month that is open.
    has_run_in_current: bool,
    current: Period,
    usage: Usage,
    changed: BTreeSet<usize>,
}

impl Account {
    /// `buckets` as they were saved, in their order.
    #[must_use]
    pub fn restore(boot: u32, start_day: u8, tariff: Tariff, buckets: Vec<Bucket>, now: Stamp) -> Self {
        let boot = i64::from(boot);
        let newest = buckets.iter().map(|bucket| bucket.label).max();
        let current = Period::containing(newest.unwrap_or(now.wall), start_day, tariff.zone());
        let same_boot = buckets.iter().rev().find(|bucket| bucket.boot == boot);
        let offset_ms =
            same_boot.map_or_else(|| offset(now.wall, now.mono), |bucket| offset(bucket.label, bucket.last));
        let is_confirmed = same_boot.is_some();
        let has_run_in_current = same_boot.is_some_and(|bucket| current.contains(bucket.label));
        let mut account = Self {
            boot,
            start_day,
            tariff,
            buckets,
            offset_ms,
            is_confirmed,
            doubted: None,
            has_run_in_current,
            current,
            usage: Usage::default(),
            changed: BTreeSet::new(),
        };
        account.sum_up();
        account.handle_clock(now);
        account
    }

    /// What is charged from now on costs by `tariff`; what was charged keeps its price.
    pub fn set_tariff(&mut self, tariff: Tariff, start_day: u8, now: Stamp) {
        self.tariff = tariff;
        if self.start_day != start_day {
            self.start_day = start_day;
            self.current = Period::containing(self.label(now.mono), start_day, self.tariff.zone());
            self.sum_up();
        }
    }

    /// The clock, as often as it is convenient and before every charge.
    pub fn handle_clock(&mut self, now: Stamp) {
        let is_set = matches!(now.quality, TimeQuality::Ntp | TimeQuality::Modem);
        if now.quality.is_trusted() {
            self.compare(offset(now.wall, now.mono), is_set, now.mono);
        }
        let label = self.label(now.mono);
        if self.current.contains(label) {
            self.has_run_in_current = true;
            return;
        }
        let wanted = Period::containing(label, self.start_day, self.tariff.zone());
        let is_believed = if wanted > self.current {
            let has_patience = now.quality == TimeQuality::Rtc && now.mono >= Mono::ZERO + PATIENCE;
            self.is_confirmed || self.has_run_in_current || has_patience
        } else {
            self.is_confirmed
        };
        if is_believed {
            self.current = wanted;
            self.has_run_in_current = true;
            // What waited for this month to be believed was sent in it.
            self.move_boot(self.offset_ms);
        }
    }

    /// A trusted clock shows another offset, or the same.
    fn compare(&mut self, found: i64, is_set: bool, now: Mono) {
        let step_ms = found.abs_diff(self.offset_ms);
        if self.is_confirmed && step_ms >= DOUBTFUL_STEP_MS {
            let since = match self.doubted {
                Some((doubted, since)) if found.abs_diff(doubted) < DOUBTFUL_STEP_MS => since,
                _ => now,
            };
            self.doubted = Some((found, since));
            if !is_set || now.since(since) < PATIENCE {
                return;
            }
        }
        self.doubted = None;
        if step_ms >= LEAST_STEP_MS {
            self.has_run_in_current &= step_ms < DOUBTFUL_STEP_MS;
            self.move_boot(found);
        }
        self.is_confirmed |= is_set;
    }

    /// `bytes` of a class have passed, or are about to.
    pub fn charge(&mut self, class: TrafficClass, bytes: u64, now: Stamp) {
        self.handle_clock(now);
        if bytes == 0 {
            return;
        }
        let free_bytes = if self.is_free(now) { bytes } else { 0 };
        let traffic = priced(&self.tariff, self.position(), bytes, free_bytes);
        // A month that isn't opened yet doesn't get what belongs to the open one.
        let label = self.label(now.mono).max(self.current.from).min(self.current.to.before(Duration::from_millis(1)));
        let index = self.bucket(label, now.mono);
        self.buckets[index].classes[class as usize].add(traffic);
        self.usage.classes[class as usize].add(traffic);
        self.changed.insert(index);
    }

    fn bucket(&mut self, label: Wall, now: Mono) -> usize {
        let hour = |wall: Wall| wall.as_unix_millis().div_euclid(HOUR_MS);
        let boot = self.boot;
        if let Some(last) = self.buckets.last_mut()
            && last.boot == boot
            && hour(last.label) == hour(label)
            && last.first <= now
            && last.label >= self.current.from
        {
            (last.last, last.label) = (now, label);
            return self.buckets.len() - 1;
        }
        self.buckets.push(Bucket { boot, first: now, last: now, label, classes: ByClass::default() });
        self.buckets.len() - 1
    }

    /// The buckets that differ from what was taken before, to be saved under their boot and first uptime.
    pub fn take_changes(&mut self) -> Vec<Bucket> {
        std::mem::take(&mut self.changed).into_iter().map(|index| self.buckets[index].clone()).collect()
    }

    /// These are to be taken again.
    pub fn note_changed(&mut self, buckets: &[Bucket]) {
        let is_among = |bucket: &Bucket| buckets.iter().any(|it| (it.boot, it.first) == (bucket.boot, bucket.first));
        self.changed.extend((0..self.buckets.len()).filter(|index| is_among(&self.buckets[*index])));
    }

    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Forgets what ended before `before`; it stays where it was saved.
    pub fn forget(&mut self, before: Wall) {
        if self.changed.is_empty() {
            self.buckets.retain(|bucket| bucket.label >= before);
            self.sum_up();
        }
    }

    #[must_use]
    pub fn period(&self) -> Period {
        self.current
    }

    #[must_use]
    pub fn tariff(&self) -> &Tariff {
        &self.tariff
    }

    /// The open month's sums.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Billable bytes of the open month.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.usage.total().billable()
    }

    /// The wall clock as the account reads it.
    #[must_use]
    pub fn label(&self, at: Mono) -> Wall {
        Wall::from_unix_millis(self.offset_ms.saturating_add(i64::try_from(at.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Whether what is sent now costs nothing.
    #[must_use]
    pub fn is_free(&self, now: Stamp) -> bool {
        self.doubted.is_none() && self.tariff.is_free(Stamp { wall: self.label(now.mono), ..now })
    }

    /// Months before the open one, with their sums.
    #[must_use]
    pub fn closed(&self) -> Vec<(Period, Usage)> {
        let mut months: Vec<(Period, Usage)> = Vec::new();
        for bucket in self.buckets.iter().filter(|bucket| bucket.label < self.current.from) {
            let period = Period::containing(bucket.label, self.start_day, self.tariff.zone());
            match months.iter_mut().find(|(known, _)| *known == period) {
                Some((_, usage)) => usage.add(bucket),
                None => {
                    let mut usage = Usage::default();
                    usage.add(bucket);
                    months.push((period, usage));
                }
            }
        }
        months.sort_by_key(|(period, _)| *period);
        months
    }

    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    fn sum_up(&mut self) {
        let mut usage = Usage::default();
        for bucket in self.buckets.iter().filter(|bucket| bucket.label >= self.current.from) {
            usage.add(bucket);
        }
        self.usage = usage;
    }

    /// The clock was set: what this boot has charged happened then.
    fn move_boot(&mut self, offset_ms: i64) {
        self.offset_ms = offset_ms;
        let moved: Vec<usize> =
            (0..self.buckets.len()).filter(|index| self.buckets[*index].boot == self.boot).collect();
        let labels: Vec<Wall> = moved.iter().map(|index| self.label(self.buckets[*index].last)).collect();
        let differs = |(index, label): &(usize, Wall)| self.buckets[*index].label != *label;
        let moved: Vec<(usize, Wall)> = moved.into_iter().zip(labels).filter(differs).collect();
        for &(index, label) in &moved {
            self.buckets[index].label = label;
        }
        for (index, _) in moved {
            self.price_anew(index);
            self.changed.insert(index);
        }
        self.sum_up();
    }

    fn price_anew(&mut self, index: usize) {
        let label = self.buckets[index].label;
        let period = Period::containing(label, self.start_day, self.tariff.zone());
        let before = self.buckets[..index].iter().filter(|other| period.contains(other.label));
        let mut position = before.fold(0, |sum: u64, other| sum.saturating_add(other.billable()));
        let is_free = self.tariff.is_free_at(label);
        let tariff = &self.tariff;
        for traffic in &mut self.buckets[index].classes {
            if !is_free {
                traffic.free_bytes = 0;
            }
            *traffic = priced(tariff, position, traffic.bytes, traffic.free_bytes);
            position = position.saturating_add(traffic.billable());
        }
    }
}

fn priced(tariff: &Tariff, position: u64, bytes: u64, free_bytes: u64) -> Traffic {
    let billable = bytes.saturating_sub(free_bytes);
    let worst = with_error(position);
    let worst_bytes = with_error(position.saturating_add(billable)).saturating_sub(worst);
    let yuan = tariff.cost(position, billable);
    // Where bytes saturate, the worse count can't be told from ours.
    let worst_yuan = tariff.cost(worst, worst_bytes).max(yuan);
    Traffic { bytes, free_bytes, yuan, worst_yuan }
}

fn offset(wall: Wall, mono: Mono) -> i64 {
    wall.as_unix_millis().saturating_sub(i64::try_from(mono.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const DAY: u64 = 86_400_000;

    fn tariff(text: &str) -> Tariff {
        let text = format!("[device]\nid = \"mh07-000123\"\ntime_zone = \"UTC\"\n[budget]\n{text}");
        let config = Config::parse(&text, &[]).expect("valid");
        Tariff::new(&config.budget, config.time_zone())
    }

    fn wall(text: &str) -> Wall {
        text.parse().expect(text)
    }

    /// A clock that showed `booted` at boot.
    fn at(booted: &str, uptime_ms: u64, quality: TimeQuality) -> Stamp {
        let mono = Mono::from_millis(uptime_ms);
        Stamp { mono, wall: wall(booted).after(Duration::from_millis(uptime_ms)), quality }
    }

    fn account(buckets: Vec<Bucket>, boot: u32, now: Stamp) -> Account {
        Account::restore(boot, 1, tariff(""), buckets, now)
    }

    fn bytes(account: &Account) -> u64 {
        account.usage().total().bytes
    }

    #[test]
    fn hours_and_classes_are_kept_apart_and_a_month_ends() {
        let booted = "2026-11-30T20:00:00Z";
        let mut account = account(Vec::new(), 1, at(booted, 0, TimeQuality::Ntp));
        account.charge(TrafficClass::Clip, 1_000_000, at(booted, 1_000, TimeQuality::Ntp));
        account.charge(TrafficClass::Text, 1_000, at(booted, 2_000, TimeQuality::Ntp));
        account.charge(TrafficClass::Text, 1_000, at(booted, 3_600_000, TimeQuality::Ntp));
        assert_eq!(account.take_changes().len(), 2);
        assert_eq!(account.usage().of(TrafficClass::Text).bytes, 2_000);
        assert_eq!(account.usage().total().yuan, "0.02004".parse().expect("a number"));
        account.charge(TrafficClass::Text, 500, at(booted, 5 * 3_600_000, TimeQuality::Ntp));
        assert_eq!((bytes(&account), account.take_changes().len()), (500, 1));
        assert_eq!(account.closed()[0].1.total().bytes, 1_002_000);
    }

    #[test]
    fn a_clock_that_jumps_over_the_months_end_both_ways_and_twice_opens_no_month() {
        let booted = "2026-11-10T00:00:00Z";
        let mut account = account(Vec::new(), 1, at(booted, 0, TimeQuality::Ntp));
        account.charge(TrafficClass::Clip, 1_000, at(booted, 1_000, TimeQuality::Ntp));
        for (round, (jumped, sent)) in
            (1..).zip([("2026-12-20T00:00:00Z", 1_110), ("2026-10-02T00:00:00Z", 1_220)].repeat(2))
        {
            let sent = sent + if round > 2 { 220 } else { 0 };
            account.charge(TrafficClass::Clip, 100, at(jumped, round * 10_000, TimeQuality::Ntp));
            assert_eq!(bytes(&account), sent - 10, "no free month");
            account.charge(TrafficClass::Clip, 10, at(booted, round * 10_000 + 5_000, TimeQuality::Ntp));
            assert_eq!((account.period().from, bytes(&account)), (wall("2026-11-01T00:00:00Z"), sent));
        }
        let all: u64 = account.buckets().iter().flat_map(|bucket| bucket.classes).map(|traffic| traffic.bytes).sum();
        assert_eq!(all, 1_440, "nothing lost, nothing double");
    }

    #[test]
    fn a_jump_that_lasts_two_days_is_believed_and_takes_this_boot_along() {
        let (booted, jumped) = ("2026-11-10T00:00:00Z", "2026-12-20T00:00:00Z");
        let mut account = account(Vec::new(), 1, at(booted, 0, TimeQuality::Ntp));
        account.charge(TrafficClass::Clip, 1_000, at(booted, 1_000, TimeQuality::Ntp));
        account.charge(TrafficClass::Clip, 10, at(jumped, 10_000, TimeQuality::Ntp));
        account.handle_clock(at(jumped, DAY, TimeQuality::Ntp));
        assert_eq!(account.period().from, wall("2026-11-01T00:00:00Z"));
        account.charge(TrafficClass::Clip, 1, at(jumped, 10_000 + 2 * DAY, TimeQuality::Ntp));
        assert_eq!((account.period().from, bytes(&account)), (wall("2026-12-01T00:00:00Z"), 1_011));
    }

    #[test]
    fn after_a_boot_only_the_network_or_two_days_open_a_month() {
        let first = "2026-11-10T00:00:00Z";
        let mut before = account(Vec::new(), 1, at(first, 0, TimeQuality::Ntp));
        before.charge(TrafficClass::Clip, 1_000, at(first, 1_000, TimeQuality::Ntp));
        let saved = before.take_changes();
        let later = "2026-12-05T00:00:00Z";
        for quality in [TimeQuality::None, TimeQuality::Floor, TimeQuality::Rtc] {
            let mut account = account(saved.clone(), 2, at(later, 0, quality));
            account.charge(TrafficClass::Clip, 10, at(later, 1_000, quality));
            assert_eq!((account.period().from, bytes(&account)), (wall("2026-11-01T00:00:00Z"), 1_010), "{quality:?}");
            account.charge(TrafficClass::Clip, 5, at(later, 2 * DAY, quality));
            let opens = quality == TimeQuality::Rtc;
            assert_eq!(account.period().from == wall("2026-12-01T00:00:00Z"), opens, "{quality:?}");
            account.charge(TrafficClass::Clip, 1, at(later, 2 * DAY + 1, TimeQuality::Ntp));
            assert_eq!(account.period().from, wall("2026-12-01T00:00:00Z"));
            assert_eq!(bytes(&account), 16, "what was sent while it was doubted belongs to it");
        }
    }

    #[test]
    fn a_clock_that_nobody_set_runs_over_the_months_end_like_any_other() {
        let booted = "2026-11-30T23:00:00Z";
        let mut account = account(Vec::new(), 1, at(booted, 0, TimeQuality::Floor));
        account.charge(TrafficClass::Text, 10, at(booted, 1_000, TimeQuality::Floor));
        account.charge(TrafficClass::Text, 1, at(booted, 2 * 3_600_000, TimeQuality::Floor));
        assert_eq!(bytes(&account), 1);
    }

    #[test]
    fn what_was_sent_before_the_clock_was_known_counts_in_the_month_that_it_turns_out_to_be() {
        let mut account = account(Vec::new(), 1, at("2026-11-20T00:00:00Z", 0, TimeQuality::Floor));
        account.charge(TrafficClass::Clip, 1_000, at("2026-11-20T00:00:00Z", 1_000, TimeQuality::Floor));
        account.charge(TrafficClass::Clip, 10, at("2027-01-03T00:00:00Z", 2_000, TimeQuality::Ntp));
        assert_eq!((account.period().from, bytes(&account)), (wall("2027-01-01T00:00:00Z"), 1_010));
    }

    #[test]
    fn a_restart_of_the_agent_changes_no_label() {
        let booted = "2026-11-10T00:00:00Z";
        let mut account = account(Vec::new(), 3, at(booted, 0, TimeQuality::Ntp));
        account.charge(TrafficClass::Clip, 1_000, at(booted, 1_000, TimeQuality::Ntp));
        let saved = account.take_changes();
        let restarted = at("2020-01-01T00:00:00Z", 60_000, TimeQuality::Floor);
        let mut account = super::tests::account(saved, 3, restarted);
        assert_eq!((bytes(&account), account.has_changes()), (1_000, false));
        account.charge(TrafficClass::Clip, 1, restarted);
        assert_eq!(account.take_changes()[0].label, wall("2026-11-10T00:01:00Z"));
    }

    #[test]
    fn free_bytes_are_not_billed_unless_the_clock_was_wrong() {
        let night = tariff("free = [\"00:00-06:00\"]\n");
        let booted = "2026-11-10T01:00:00Z";
        let mut account = Account::restore(1, 1, night, Vec::new(), at(booted, 0, TimeQuality::Rtc));
        account.charge(TrafficClass::Clip, 1_000_000, at(booted, 1_000, TimeQuality::Rtc));
        assert_eq!((account.position(), account.usage().total().yuan), (0, Yuan::ZERO));
        account.handle_clock(at("2026-11-10T13:00:00Z", 2_000, TimeQuality::Ntp));
        assert_eq!(account.position(), 1_000_000);
        assert_eq!(account.usage().total().yuan, "0.02".parse().expect("a number"));
    }

    #[test]
    fn another_tariff_prices_only_what_follows() {
        let booted = "2026-11-10T00:00:00Z";
        let mut account = account(Vec::new(), 1, at(booted, 0, TimeQuality::Ntp));
        account.charge(TrafficClass::Clip, 1_000_000_000, at(booted, 1_000, TimeQuality::Ntp));
        let dear = tariff("[[budget.tariff]]\nyuan_per_gb = 100\n");
        account.set_tariff(dear, 1, at(booted, 2_000, TimeQuality::Ntp));
        account.charge(TrafficClass::Clip, 1_000_000_000, at(booted, 3_000, TimeQuality::Ntp));
        assert_eq!(account.usage().total().yuan, Yuan::whole(120));
    }
}
