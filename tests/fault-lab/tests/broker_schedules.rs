//! Random faults of a broker against a real box and a real district: whatever the store took arrives once the broker
//! behaves, byte for byte, and no receipt is noted for anything that the district does not hold.
//!
//! `FAULT_SCHEDULES` sets how many schedules run (30), `FAULT_FIRST_SEED` where they begin.
//! `FAULT_SEED` runs one again, with `FAULT_LOG=debug` in all its detail.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kitchen_fault_lab::schedule::Schedule;
use kitchen_fault_lab::trial::{self, Trial};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// At once in one process: they mostly wait.
const AT_ONCE: usize = 30;

#[test]
fn what_the_store_took_arrives_whatever_the_broker_did() {
    if let Ok(filter) = env::var("FAULT_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let seeds = match number("FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("FAULT_FIRST_SEED").unwrap_or(1);
            first..first + number("FAULT_SCHEDULES").unwrap_or(30)
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let started = Instant::now();
    let trials = runtime.block_on(run_all(seeds));
    report(&trials, started.elapsed());
    let failed: Vec<&Trial> = trials.iter().filter(|trial| !trial.findings.is_empty()).collect();
    for trial in &failed {
        eprintln!("FAULT_SEED={} after {:?}:", trial.seed, trial.faults);
        trial.findings.iter().for_each(|finding| eprintln!("    {finding}"));
    }
    assert!(failed.is_empty(), "{} of {} schedules failed; see FAULT_SEED= above", failed.len(), trials.len());
}

async fn run_all(seeds: std::ops::Range<u64>) -> Vec<Trial> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for seed in seeds {
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await.expect("never closed");
            trial::run(&Schedule::random(seed)).await
        });
    }
    running.join_all().await
}

fn report(trials: &[Trial], took: Duration) {
    let accepted: u64 = trials.iter().map(|trial| trial.accepted).sum();
    let resends: u64 = trials.iter().map(|trial| trial.resends).sum();
    let drain = trials.iter().map(|trial| trial.drain).max().unwrap_or_default();
    let mut faults = BTreeMap::new();
    for (name, count) in trials.iter().flat_map(|trial| &trial.faults) {
        *faults.entry(name).or_insert(0) += count;
    }
    let done: u64 = faults.values().sum();
    eprintln!(
        "{} schedules in {took:.1?}: {accepted} messages accepted, {resends} sent again, {done} faults of {} kinds, \
         longest drain {drain:.1?}",
        trials.len(),
        faults.len()
    );
    faults.iter().for_each(|(name, count)| eprintln!("{count:6}  {name}"));
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}
