//! What happens to a box in a month: its load, its line, its district, its restarts and its clock. The same seed makes
//! the same plan.

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const MONTH: u64 = 30 * DAY;

/// Alerts a day; one kitchen in hundred has a bad month.
const LOADS: [f64; 5] = [3.0, 50.0, 0.03, 12.0, 0.5];
const YEARS_10: i64 = 3_652 * 86_400_000;

/// One thing that happens at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    Alert { is_grave: bool, picture_bytes: Option<usize>, clip_bytes: Option<usize>, lasts_ms: u64 },
    Record,
    RestartAgent { in_order: bool },
    Reboot { off_ms: u64 },
    ClockJumps { by_ms: i64 },
    ClockIsSetRight,
    LinkCut { session_lost: bool },
    LineOff,
    LineOn,
    DistrictSilent { stores: bool },
    DistrictSpeaks,
    DistrictRestarts,
}

/// The month of one box.
#[derive(Debug)]
pub(super) struct Plan {
    pub load: f64,
    /// The last day is over, and whatever was out of order is in order again.
    pub end: u64,
    pub bits_per_second: u64,
    pub latency_ms: u64,
    /// Small ones make files go before they have arrived.
    pub has_small_disk: bool,
    pub happenings: Vec<(u64, Happening)>,
}

impl Plan {
    pub fn random(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let index = usize::try_from(seed % 5).expect("small");
        let mut plan = Self {
            load: LOADS[index],
            end: MONTH,
            bits_per_second: [64_000, 512_000, 4_000_000][random.usize(..3)],
            latency_ms: [15, 60, 400][random.usize(..3)],
            has_small_disk: seed % 3 == 1,
            happenings: Vec::new(),
        };
        plan.add_alerts(&mut random);
        plan.add_link(&mut random, index == 3);
        plan.add_district(&mut random);
        plan.add_restarts(&mut random);
        plan.add_clock(&mut random);
        plan.happenings.sort_by_key(|(at, _)| *at);
        plan
    }

    fn add_alerts(&mut self, random: &mut fastrand::Rng) {
        // At least one, so that no month is empty.
        let count = ((self.load * 30.0) as u64).max(1);
        for _ in 0..count {
            let at = random.u64(..MONTH);
            let alert = alert(random, 3);
            self.happenings.push((at, alert));
        }
        for _ in 0..random.u64(..20) {
            self.happenings.push((random.u64(..MONTH), Happening::Record));
        }
        for _ in 0..random.u64(1..3) {
            let (begins, lasts) = (random.u64(..MONTH - HOUR), random.u64(MINUTE..20 * MINUTE));
            for _ in 0..random.u64(20..(40 + (self.load * 4.0) as u64)) {
                let alert = alert(random, 8);
                self.happenings.push((begins + random.u64(..lasts), alert));
            }
        }
    }

    fn add_link(&mut self, random: &mut fastrand::Rng, is_dark: bool) {
        if is_dark {
            // Longer than a picture waits.
            self.end = MONTH + 2 * DAY;
            self.pair((6 * HOUR, MONTH + DAY), Happening::LineOff, Happening::LineOn);
        } else if random.bool() {
            let begins = random.u64(DAY..15 * DAY);
            self.pair((begins, begins + random.u64(2 * DAY..10 * DAY)), Happening::LineOff, Happening::LineOn);
        }
        for _ in 0..random.u64(2..12) {
            let begins = random.u64(..MONTH - DAY);
            self.pair((begins, begins + random.u64(MINUTE..8 * HOUR)), Happening::LineOff, Happening::LineOn);
        }
        if random.u8(..3) == 0 {
            // Off by day, as a budget would have it.
            for day in 0..30 {
                let morning = day * DAY + 6 * HOUR;
                self.pair((morning, morning + 15 * HOUR), Happening::LineOff, Happening::LineOn);
            }
        }
        for _ in 0..random.u64(10..200) {
            let session_lost = random.u8(..4) == 0;
            self.happenings.push((random.u64(..MONTH), Happening::LinkCut { session_lost }));
        }
    }

    fn add_district(&mut self, random: &mut fastrand::Rng) {
        for _ in 0..random.u64(1..6) {
            let begins = random.u64(..MONTH - 2 * DAY);
            let silent = Happening::DistrictSilent { stores: random.bool() };
            self.pair((begins, begins + random.u64(5 * MINUTE..30 * HOUR)), silent, Happening::DistrictSpeaks);
        }
        for _ in 0..random.u64(..20) {
            self.happenings.push((random.u64(..MONTH), Happening::DistrictRestarts));
        }
    }

    fn add_restarts(&mut self, random: &mut fastrand::Rng) {
        for _ in 0..random.u64(3..20) {
            self.happenings.push((random.u64(..MONTH), Happening::RestartAgent { in_order: random.bool() }));
        }
        let mut boots = vec![0];
        for _ in 0..random.u64(2..8) {
            let (at, off_ms) = (random.u64(..MONTH - DAY), random.u64(30 * SECOND..6 * HOUR));
            self.happenings.push((at, Happening::Reboot { off_ms }));
            boots.push(at + off_ms);
        }
        for boot in boots {
            let until_right =
                if random.bool() { random.u64(5 * SECOND..MINUTE) } else { random.u64(MINUTE..20 * HOUR) };
            self.happenings.push((boot + until_right, Happening::ClockIsSetRight));
        }
    }

    fn add_clock(&mut self, random: &mut fastrand::Rng) {
        for _ in 0..random.u64(1..8) {
            let jumps = [86_400_000, -86_400_000, YEARS_10, -YEARS_10];
            let by_ms = jumps[random.usize(..jumps.len())];
            let at = random.u64(..MONTH - 3 * DAY);
            let set_right = at + random.u64(10 * SECOND..2 * DAY);
            self.pair((at, set_right), Happening::ClockJumps { by_ms }, Happening::ClockIsSetRight);
        }
        self.happenings.push((self.end - HOUR, Happening::ClockIsSetRight));
    }

    fn pair(&mut self, (from, to): (u64, u64), first: Happening, second: Happening) {
        self.happenings.push((from, first));
        self.happenings.push((to, second));
    }
}

fn alert(random: &mut fastrand::Rng, grave_of_ten: u8) -> Happening {
    Happening::Alert {
        is_grave: random.u8(..10) < grave_of_ten,
        picture_bytes: (random.u8(..8) > 0).then(|| random.usize(500..40_000)),
        clip_bytes: (random.u8(..3) == 0).then(|| random.usize(1_000..400_000)),
        lasts_ms: random.u64(SECOND..6 * HOUR),
    }
}
