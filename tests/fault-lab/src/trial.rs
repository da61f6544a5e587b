//! One schedule on one site with the broker that misbehaves: what was found, and what it took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Side};
use crate::schedule::{FAULTY, Schedule, Step};
use crate::site::{Ending, Site, Urls};

/// The outbox is to be empty so long after the last fault.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// Box's seconds in one of ours once the broker behaves: the longest back-off is ten minutes.
const SPEED: u32 = 8;
/// More than the uplink lists at once.
const BACKLOG: usize = 300;
const NUDGE: Duration = Duration::from_millis(250);
/// The district's own wait before it connects again may be longer than a test.
const DISTRICT_AWAY: Duration = Duration::from_secs(3);

/// The outcome of one schedule.
#[derive(Debug)]
pub struct Trial {
    pub seed: u64,
    pub accepted: u64,
    /// Handed to the link beyond the first time.
    pub resends: u64,
    pub drain: Duration,
    pub faults: BTreeMap<String, u64>,
    /// What is not as it must be.
    pub findings: Vec<String>,
}

/// Runs it to its end; within a tokio runtime.
///
/// # Panics
/// When the machine has no port or no disk.
pub async fn run(schedule: &Schedule) -> Trial {
    let broker = Broker::start().await.expect("loopback has a free port");
    let urls = Urls { of_box: broker.url(), of_district: broker.url() };
    let mut site = Site::start(urls, schedule.seed);
    let started = Instant::now();
    let mut faults = BTreeMap::new();
    let mut poison = None;
    for (at, step) in &schedule.steps {
        tokio::time::sleep((*at).saturating_sub(started.elapsed())).await;
        if let Some(name) = perform(&broker, &mut site, *step, &mut poison).await {
            *faults.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    tokio::time::sleep(FAULTY.saturating_sub(started.elapsed())).await;
    broker.behave();
    site.set_speed(SPEED);
    let drain = Instant::now();
    let left = drained(&broker, &mut site, poison.as_deref()).await;
    let drain = drain.elapsed();

    let mut findings = Vec::new();
    if !left.is_empty() {
        findings.push(format!(
            "{DRAIN_LIMIT:?} after the last fault there still wait {left:?}: {}",
            site.describe_waiting().await
        ));
    }
    let set_aside = site.set_aside();
    if set_aside.len() > usize::from(poison.is_some()) {
        findings.push(format!("set aside: {set_aside:?}"));
    }
    let (accepted, loads) = (site.accepted(), site.loads());
    findings.extend(site.findings(poison.as_deref()).await);
    faults.extend(broker.tally());
    Trial { seed: schedule.seed, accepted, resends: loads.saturating_sub(accepted), drain, faults, findings }
}

/// The name of what the broker does not count itself.
async fn perform(broker: &Broker, site: &mut Site, step: Step, poison: &mut Option<String>) -> Option<&'static str> {
    match step {
        Step::Arm(fault) => broker.arm(fault),
        Step::Cut(side) => broker.cut(side),
        Step::Forget(side) => broker.forget(side),
        Step::RefuseConnections(duration) => broker.refuse_connections(duration),
        Step::ReadSlowly(side, duration) => broker.read_slowly(side, duration),
        Step::Alert { picture_bytes } => site.put_alert(picture_bytes).await,
        Step::Record => site.put_record().await,
        Step::Backlog => {
            for _ in 0..BACKLOG {
                site.put_record().await;
            }
            return Some("backlog");
        }
        Step::Clip { bytes } => site.put_clip(bytes).await,
        Step::Poison => {
            // Refused from its first try on: its topic is not known before it is stored.
            broker.hold_pictures(true);
            site.put_alert(Some(2_000)).await;
            *poison = site.newest_picture().await;
            if let Some(alert) = poison {
                broker.poison(&format!("/up/snapshot/{alert}"));
            }
            broker.hold_pictures(false);
            return Some("poison");
        }
        Step::RestartUplink(ending) => {
            site.restart_uplink(ending).await;
            return Some("uplink restarted");
        }
        Step::RestartDistrict(ending) => {
            site.restart_district(ending).await;
            return Some("district restarted");
        }
        Step::RestartStore(ending) => {
            site.restart_store(ending).await;
            return Some("store restarted");
        }
    }
    None
}

/// What still waits at last, without the poison.
async fn drained(broker: &Broker, site: &mut Site, poison: Option<&str>) -> Vec<String> {
    let poisoned = match poison {
        Some(alert) => site.picture_of(alert).await,
        None => None,
    };
    let started = Instant::now();
    let mut district_seen = Instant::now();
    loop {
        let mut left = site.waiting().await;
        left.retain(|id| Some(id) != poisoned.as_ref());
        if left.is_empty() || started.elapsed() > DRAIN_LIMIT {
            return left;
        }
        if broker.is_connected(Side::District) {
            district_seen = Instant::now();
        } else if district_seen.elapsed() > DISTRICT_AWAY {
            site.restart_district(Ending::InOrder).await;
            district_seen = Instant::now();
        }
        site.nudge();
        tokio::time::sleep(NUDGE).await;
    }
}
