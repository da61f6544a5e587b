//! What a year brings, made of a seed.

use std::fmt;

use kitchen_core::budget::Settings;
use kitchen_core::config::Config;
use kitchen_core::time::{TimeQuality, Wall};

use super::{DAY_MS, HOUR_MS, YEAR_MS};

/// What happens to the box.
#[derive(Clone, Debug)]
pub enum Event {
    Alert {
        tier: u8,
        has_clip: bool,
    },
    /// The district asks for a clip.
    Command,
    /// The link is cut again and again.
    Reconnects(u32),
    /// The district, or whoever took its place, sends so many bytes.
    Flood(u64),
    /// Another tariff, as of the end of this step.
    Tariff,
    Boot,
}

/// Ceilings and prices as reseller and operators have them, and some as none has.
const TARIFFS: [(&str, &str); 8] = [
    ("20 yuan a GB", "[[budget.tariff]]\nyuan_per_gb = 20\n"),
    ("0.29 yuan a MB", "[[budget.tariff]]\nyuan_per_gb = 290\n"),
    (
        "5 yuan to 2 GB, then 60",
        "[[budget.tariff]]\nup_to_gb = 2\nyuan_per_gb = 5\n[[budget.tariff]]\nyuan_per_gb = 60\n",
    ),
    ("package of 0.3 GB, then 290", "package_gb = 0.3\npackage_yuan = 30\n[[budget.tariff]]\nyuan_per_gb = 290\n"),
    (
        "package of 0.5 GB and no more money",
        "package_gb = 0.5\npackage_yuan = 83.34\n[[budget.tariff]]\nyuan_per_gb = 100\n",
    ),
    ("2.5 yuan a MB", "[[budget.tariff]]\nyuan_per_gb = 2500\n"),
    ("290 by day, free nights", "free = [\"00:00-06:00\"]\n[[budget.tariff]]\nyuan_per_gb = 290\n"),
    ("1 yuan, hard stop at 0.4 GB", "hard_stop_gb = 0.4\n[[budget.tariff]]\nyuan_per_gb = 1\n"),
];

pub struct Plan {
    seed: u64,
    pub start: Wall,
    pub clip_bytes: u64,
    /// What the operator counts for a million bytes.
    pub error_millionths: u64,
    alerts_per_day: f64,
    tier_shares: [f64; 2],
    clip_shares: [f64; 3],
    /// Which tariff holds from when on.
    tariffs: Vec<(u64, usize)>,
    settings: Vec<Settings>,
    /// Times of trouble, `[from, to)`.
    outages: Vec<[u64; 2]>,
    bursts: Vec<[u64; 2]>,
    commands: Vec<[u64; 2]>,
    storms: Vec<[u64; 2]>,
    floods: Vec<[u64; 2]>,
    /// Grave alerts without end.
    alarms: Vec<[u64; 2]>,
    boots: Vec<u64>,
    /// The clock is wrong by so much.
    lies: Vec<([u64; 2], i64)>,
}

impl Plan {
    /// A year with everything that can go wrong.
    pub fn rough(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5EED);
        let mut plan = Self::base(seed, &mut random);
        let spans = |random: &mut fastrand::Rng, most: u64, longest_ms: u64| -> Vec<[u64; 2]> {
            (0..random.u64(..most + 1))
                .map(|_| {
                    let from = random.u64(..YEAR_MS);
                    [from, from + random.u64(..longest_ms)]
                })
                .collect()
        };
        plan.outages = spans(&mut random, 8, 12 * DAY_MS);
        plan.bursts = spans(&mut random, 6, 3 * DAY_MS);
        plan.commands = spans(&mut random, 4, 5 * DAY_MS);
        plan.storms = spans(&mut random, 4, 2 * DAY_MS);
        plan.floods = spans(&mut random, 4, 2 * DAY_MS);
        plan.alarms = spans(&mut random, 2, 2 * DAY_MS);
        for _ in 0..random.u64(..3) {
            plan.tariffs.push((random.u64(..YEAR_MS), random.u64(..TARIFFS.len() as u64) as usize));
        }
        plan.tariffs.sort_unstable();
        plan.boots = (0..random.u64(..30)).map(|_| random.u64(..YEAR_MS)).collect();
        plan.boots.sort_unstable();
        let errors = [DAY_MS as i64, 40 * DAY_MS as i64, 3_650 * DAY_MS as i64];
        plan.lies = spans(&mut random, 6, 40 * HOUR_MS)
            .into_iter()
            .map(|span| {
                let error = errors[random.u64(..3) as usize];
                (span, if random.u64(..2) == 0 { error } else { -error })
            })
            .collect();
        plan.read_settings();
        plan
    }

    /// The same load every week, one tariff, no trouble.
    pub fn steady(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x57EA);
        let mut plan = Self::base(seed, &mut random);
        plan.read_settings();
        plan
    }

    fn base(seed: u64, random: &mut fastrand::Rng) -> Self {
        let alerts_per_day = 0.03 * (50.0_f64 / 0.03).powf(random.f64());
        let grave = 0.02 + 0.18 * random.f64();
        Self {
            seed,
            start: "2027-01-01T00:00:00Z".parse().expect("a time"),
            clip_bytes: 300_000 + random.u64(..400_000),
            error_millionths: 950_000 + random.u64(..100_001),
            alerts_per_day,
            tier_shares: [grave, 0.2 + 0.3 * random.f64()],
            clip_shares: [1.0, 0.3 + 0.7 * random.f64(), random.f64()],
            tariffs: vec![(0, random.u64(..TARIFFS.len() as u64) as usize)],
            settings: Vec::new(),
            outages: Vec::new(),
            bursts: Vec::new(),
            commands: Vec::new(),
            storms: Vec::new(),
            floods: Vec::new(),
            alarms: Vec::new(),
            boots: Vec::new(),
            lies: Vec::new(),
        }
    }

    fn read_settings(&mut self) {
        let read = |(_, text): (&str, &str)| {
            let text = format!("[device]\nid = \"mh07-000123\"\n[budget]\n{text}");
            let config = Config::parse(&text, &[]).expect("valid");
            Settings::new(&config.budget, config.time_zone())
        };
        self.settings = TARIFFS.into_iter().map(read).collect();
    }

    fn tariff(&self, at_ms: u64) -> usize {
        self.tariffs.iter().rev().find(|(from, _)| *from <= at_ms).map_or(0, |(_, index)| *index)
    }

    pub fn settings(&self, at_ms: u64) -> Settings {
        self.settings[self.tariff(at_ms)].clone()
    }

    /// Whether a tariff began less than a month ago: what was spent before was spent under another one.
    pub fn is_tariff_new(&self, at_ms: u64) -> bool {
        self.tariffs.iter().any(|(from, _)| *from > 0 && *from <= at_ms && at_ms < from + 32 * DAY_MS)
    }

    pub fn is_out(&self, at_ms: u64) -> bool {
        is_in(&self.outages, at_ms)
    }

    /// What the box's clock is worth, and how wrong it is. After a boot it is unknown for some hours.
    pub fn clock(&self, at_ms: u64) -> (TimeQuality, i64) {
        if let Some(booted) = self.boots.iter().rev().find(|boot| **boot <= at_ms) {
            let hours = booted / 1000 % 9;
            if at_ms - booted < hours * HOUR_MS {
                return match booted % 3 {
                    0 => (TimeQuality::Rtc, -20_000),
                    1 => (TimeQuality::Floor, -((booted % 700) as i64) * 60_000),
                    _ => (TimeQuality::None, -((booted % 90_000) as i64)),
                };
            }
            // A clock that lies right after a boot can't be told from one that is right.
            if at_ms - booted < (hours + 1) * HOUR_MS {
                return (TimeQuality::Ntp, 0);
            }
        }
        let lie = self.lies.iter().find(|(span, _)| (span[0]..span[1]).contains(&at_ms));
        let tells = lie.filter(|(span, _)| {
            !self.boots.iter().any(|boot| (span[0].saturating_sub(10 * HOUR_MS)..span[1]).contains(boot))
        });
        (TimeQuality::Ntp, tells.map_or(0, |(_, error)| *error))
    }

    /// What happens within `[from, from + length)`.
    pub fn events(&self, from_ms: u64, length_ms: u64) -> Vec<Event> {
        let mut random = fastrand::Rng::with_seed(self.seed ^ from_ms.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let within = |at: u64| (from_ms..from_ms + length_ms).contains(&at);
        let mut events = Vec::new();
        if self.boots.iter().any(|boot| within(*boot)) {
            events.push(Event::Boot);
        }
        if self.tariffs.iter().any(|(at, _)| *at > 0 && within(*at)) {
            events.push(Event::Tariff);
        }
        let hour = (from_ms / HOUR_MS + 8) % 24;
        if (9..22).contains(&hour) {
            let burst = if is_in(&self.bursts, from_ms) { 20.0 } else { 1.0 };
            let expected = burst * self.alerts_per_day * length_ms as f64 / (13 * HOUR_MS) as f64;
            for _ in 0..poisson(&mut random, expected) {
                let drawn = random.f64();
                let tier = if drawn < self.tier_shares[0] {
                    1
                } else if drawn < self.tier_shares[0] + self.tier_shares[1] {
                    2
                } else {
                    3
                };
                events.push(Event::Alert { tier, has_clip: random.f64() < self.clip_shares[usize::from(tier) - 1] });
            }
        }
        if is_in(&self.alarms, from_ms) {
            events.extend((0..random.u64(..20)).map(|_| Event::Alert { tier: 1, has_clip: true }));
        }
        if is_in(&self.commands, from_ms) {
            events.extend((0..random.u64(..8)).map(|_| Event::Command));
        }
        if is_in(&self.storms, from_ms) {
            events.push(Event::Reconnects(60));
        }
        if is_in(&self.floods, from_ms) {
            events.push(Event::Flood(random.u64(..40_000_000)));
        }
        events
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tariffs: Vec<&str> = self.tariffs.iter().map(|(_, index)| TARIFFS[*index].0).collect();
        write!(
            f,
            "seed {}: {:.2} alerts a day, clips of {} kB for {:.0?} %, {}",
            self.seed,
            self.alerts_per_day,
            self.clip_bytes / 1000,
            self.clip_shares.map(|share| share * 100.0),
            tariffs.join(" → ")
        )
    }
}

fn is_in(spans: &[[u64; 2]], at: u64) -> bool {
    spans.iter().any(|span| (span[0]..span[1]).contains(&at))
}

/// How many of rare events happen where `expected` do on average.
fn poisson(random: &mut fastrand::Rng, expected: f64) -> u32 {
    let (limit, mut product, mut count) = ((-expected).exp(), random.f64(), 0);
    while product > limit {
        product *= random.f64();
        count += 1;
    }
    count
}
