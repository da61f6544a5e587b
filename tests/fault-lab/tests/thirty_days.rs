//! Thirty days of a box, simulated: whatever line, district, clock and restarts did, nothing is lost, nothing is told
//! twice, and what was given up was given up by its rule and told.
//!
//! `MONTHS` sets how many months run (5), `MONTH_FIRST_SEED` where they begin. `MONTH_SEED` runs one again.

#![expect(clippy::print_stdout, reason = "the figures are for who runs it")]

use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kitchen_fault_lab::month::{self, Month};

/// At once: each is busy all the time.
const AT_ONCE: usize = 2;

#[test]
fn thirty_days_lose_nothing() {
    let first = number("MONTH_FIRST_SEED").unwrap_or(1);
    let seeds = match number("MONTH_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("MONTHS").unwrap_or(5),
    };
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let months = Mutex::new(Vec::new());
    // Syncs cost nothing in memory; what is written is the same.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let month = month::run(seed, &folder);
                    tell(&month);
                    months.lock().unwrap_or_else(PoisonError::into_inner).push(month);
                }
            });
        }
    });
    let months = months.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed: Vec<u64> = months.iter().filter(|month| !month.findings.is_empty()).map(|month| month.seed).collect();
    println!("{} months in {:.1?}", months.len(), started.elapsed());
    assert!(failed.is_empty(), "{} of {} months failed: MONTH_SEED={failed:?}", failed.len(), months.len());
}

fn tell(month: &Month) {
    let figures = month.figures;
    println!(
        "MONTH_SEED={} {} days at {} alerts a day in {:.1?}: {} messages, {} sent, {} of them again, {:.1} MB; {} outages, \
         {} links ended, {} restarts, {} boots, {} clock jumps; {} acknowledged, {} expired, {} evicted, {} set aside, \
         {} repeated at the district; at most {} waiting, {} known to the scheduler, {:.1} MB on disk; drained in {:?}",
        month.seed,
        figures.days,
        figures.alerts_a_day,
        month.took,
        figures.messages,
        figures.sends,
        figures.resends,
        figures.bytes as f64 / 1e6,
        figures.outages,
        figures.cuts,
        figures.restarts,
        figures.boots,
        figures.jumps,
        figures.acknowledged,
        figures.expired,
        figures.evicted,
        figures.set_aside,
        figures.repeated,
        figures.most_waiting,
        figures.most_known,
        figures.most_disk_bytes as f64 / 1e6,
        figures.drain,
    );
    month.findings.iter().for_each(|finding| println!("    {finding}"));
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}
