//! What somebody who knew the whole year could have delivered with the same money, under the same promises: the reserve is
//! for grave texts alone, the count may be off by 5 %, texts, pictures and connection go first. Of the clips he takes the
//! most valuable for their bytes in each month, all of them fresh, the last one in part.

use std::time::Duration;

use kitchen_core::budget::{Period, Wanted, connected_bytes_per_day, worth};
use kitchen_core::outbox::OutboxKind;

use super::plan::{Event, Plan};
use super::{Clip, DAY_MS, HOUR_MS, YEAR_MS};

/// An upper bound, on a plan without trouble.
pub fn best_value(plan: &Plan, clips: &[Clip]) -> f64 {
    let settings = plan.settings(0);
    let zone = settings.tariff.zone().clone();
    let wall = |ms: u64| plan.start.after(Duration::from_millis(ms));
    let month_of = |ms: u64| Period::containing(wall(ms), settings.start_day, &zone);
    let mut total = 0.0;
    let mut from = 0;
    while from < YEAR_MS {
        let month = month_of(from);
        let to = (month.to.as_unix_millis() - plan.start.as_unix_millis()) as u64;
        let to = to.min(YEAR_MS);
        let others = other_bytes(plan, from, to);
        let mut means = means(plan, others);
        if settings.tariff.has_free_windows() {
            // A night's link carries more than any load here asks for.
            means = u64::MAX;
        }
        let mut wanted: Vec<Wanted> =
            clips.iter().filter(|clip| (from..to).contains(&clip.at_ms)).map(|clip| clip.wanted).collect();
        wanted.sort_by(|a, b| density(b).total_cmp(&density(a)));
        for clip in wanted {
            let part = means.min(clip.bytes);
            total += worth(clip.tier, 0) * part as f64 / clip.bytes as f64;
            means -= part;
        }
        from = to;
    }
    total
}

fn density(wanted: &Wanted) -> f64 {
    worth(wanted.tier, 0) / wanted.bytes as f64
}

/// Bytes left for clips when all the rest is paid.
fn means(plan: &Plan, others: u64) -> u64 {
    let settings = plan.settings(0);
    let by_money = settings.tariff.affordable(0, settings.ceiling - settings.reserve()) as f64;
    let stop = settings.tariff.hard_stop().unwrap_or(u64::MAX) as f64;
    let reserve = f64::from(settings.reserve_millionths) / 1e6;
    let bytes = by_money.min(stop * (1.0 - reserve)) * 0.95;
    (bytes as u64).saturating_sub(others)
}

fn other_bytes(plan: &Plan, from: u64, to: u64) -> u64 {
    let mut bytes = connected_bytes_per_day(300, 900, 800) * (to - from) / DAY_MS;
    for step in (from..to).step_by(HOUR_MS as usize / 6) {
        for event in plan.events(step, HOUR_MS / 6) {
            if let Event::Alert { tier, .. } = event {
                bytes += 3 * Wanted::message(OutboxKind::Alert, tier, 1_300).bytes;
                bytes += Wanted::message(OutboxKind::Snapshot, tier, 38_000).bytes;
            }
        }
    }
    bytes
}
