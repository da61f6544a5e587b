//! Thirty days of one box in seconds: a real store on disk, the real scheduler and transfer, everything around them
//! simulated by seed. A witness follows every message from its row to the district.

mod box_clock;
mod kitchen;
mod ledger;
mod line;
mod load;
mod passage;
mod plan;
mod receiver;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ledger::{End, ids_in};
use plan::{DAY, Plan};
use world::World;

/// The outbox is to be empty so long after the month: the longest wait of a probe and what a thin line then takes.
const DRAIN_LIMIT: u64 = 3 * DAY;

/// The outcome of one month.
#[derive(Debug)]
pub struct Month {
    pub seed: u64,
    pub figures: Figures,
    pub took: Duration,
    /// What is not as it must be.
    pub findings: Vec<String>,
}

/// What a month brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub days: u64,
    pub alerts_a_day: f64,
    pub messages: u64,
    pub sends: u64,
    pub resends: u64,
    pub bytes: u64,
    pub outages: u64,
    pub cuts: u64,
    pub restarts: u64,
    pub boots: u64,
    pub jumps: u64,
    pub acknowledged: u64,
    pub expired: u64,
    pub evicted: u64,
    pub set_aside: u64,
    /// What the district got again.
    pub repeated: u64,
    pub most_known: usize,
    pub most_waiting: usize,
    pub most_disk_bytes: u64,
    pub drain: Duration,
}

/// Runs the month of `seed` with the store in a folder below `folder`.
///
/// # Panics
/// When the disk fails, or the store refuses what it must not.
#[must_use]
pub fn run(seed: u64, folder: &Path) -> Month {
    let started = Instant::now();
    let plan = Plan::random(seed);
    let mut world = World::new(seed, &plan, folder);
    world.run_until(plan.end);
    world.behave();
    let drained = world.drain(plan.end + DRAIN_LIMIT);
    let left = world.waiting();
    if !left.is_empty() {
        let named: Vec<&String> = left.iter().take(5).collect();
        world.ledger.find(format!("{} messages still wait after the drain: {named:?}", left.len()));
    }
    judge(&mut world);
    if let Some(damage) = world.end() {
        world.ledger.find(format!("the database is damaged: {damage}"));
    }
    let ledger = &world.ledger;
    let figures = Figures {
        days: drained / DAY,
        alerts_a_day: plan.load,
        messages: ledger.entries.len() as u64,
        acknowledged: ledger.count_ended(End::Acknowledged),
        expired: ledger.count_ended(End::Expired),
        evicted: ledger.count_ended(End::Evicted),
        set_aside: ledger.entries.values().filter(|entry| entry.is_set_aside && entry.end.is_none()).count() as u64,
        repeated: world.receiver.repeated,
        outages: world.line.outages,
        drain: Duration::from_millis(drained - plan.end),
        ..world.figures
    };
    let findings = ledger.findings().iter().chain(&world.receiver.findings).cloned().collect();
    Month { seed, figures, took: started.elapsed(), findings }
}

/// Every message is accounted for, and the district was told of what it does not hold.
fn judge(world: &mut World) {
    let mut told = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut wrong = Vec::new();
    for envelope in world.receiver.envelopes() {
        match envelope.kind.as_str() {
            "expired" | "loss" | "set_aside" => told.extend(ids_in(&envelope.body)),
            "alert.opened" if !numbers.insert(envelope.body["duration_ms"].as_u64()) => {
                wrong.push(format!("the district holds the same alert twice: {}", envelope.id));
            }
            _ => {}
        }
    }
    for (id, entry) in &world.ledger.entries {
        let is_held = world.receiver.holds(id, &entry.sha256);
        match entry.end {
            Some(End::Acknowledged) if !is_held => wrong.push(format!("{id} was acknowledged, but is not there")),
            Some(End::Expired | End::Evicted) if !told.contains(id) => {
                wrong.push(format!("the district was not told of {id} ({}): {:?}", entry.kind, entry.end));
            }
            None if !(entry.is_set_aside && told.contains(id)) => {
                wrong.push(format!("{id} ({}) is not accounted for", entry.kind));
            }
            _ => {}
        }
    }
    let strangers = world.receiver.ids().filter(|id| !world.ledger.entries.contains_key(*id));
    wrong.extend(strangers.map(|id| format!("the district holds {id}, which the box never stored")));
    wrong.into_iter().for_each(|finding| world.ledger.find(finding));
}
