//! What somebody who knew the whole year could have delivered with the same money, under the same promises: the reserve is
//! for grave texts alone, the count may be off by 5 %, texts, pictures and connection go first, the last as thrifty as it
//! can be. Of the clips he takes the most valuable for their bytes, in their month or, if they last so long, in the next,
//! all of them as fresh, the last one in part: a bound that nobody reaches.

use std::collections::BTreeMap;
use std::time::Duration;

use kitchen_core::budget::{Period, Wanted, connected_bytes_per_day, worth};
use kitchen_core::outbox::OutboxKind;
use kitchen_core::time::Wall;

use super::plan::{Event, Plan};
use super::{CLIP_EXPIRY_MS, Clip, DAY_MS, HOUR_MS, YEAR_MS};

/// Of keepalive and heartbeat, when money is short.
const LONGEST_STRETCH: u64 = 4;

/// An upper bound, on a plan without trouble.
pub fn best_value(plan: &Plan, clips: &[Clip]) -> f64 {
    let settings = plan.settings(0);
    let zone = settings.tariff.zone().clone();
    let wall = |ms: u64| plan.start.after(Duration::from_millis(ms));
    let month_of = |ms: u64| Period::containing(wall(ms), settings.start_day, &zone);
    let month_of_clip = |at_ms: u64| month_of(at_ms).from;
    let mut means: BTreeMap<Wall, u64> = BTreeMap::new();
    let mut from = 0;
    while from < YEAR_MS {
        let month = month_of(from);
        let to = (month.to.as_unix_millis() - plan.start.as_unix_millis()) as u64;
        // A night's link carries more than any load here asks for.
        let is_free = settings.tariff.has_free_windows();
        let left = if is_free { u64::MAX } else { means_of(plan, other_bytes(plan, from, to.min(YEAR_MS))) };
        means.insert(month.from, left);
        from = to;
    }
    let mut clips = clips.to_vec();
    clips.sort_by(|a, b| density(&b.wanted).total_cmp(&density(&a.wanted)));
    let mut total = 0.0;
    for clip in clips {
        let months = [month_of_clip(clip.at_ms), month_of_clip(clip.at_ms + CLIP_EXPIRY_MS)];
        let mut lacking = clip.wanted.bytes;
        for month in months {
            let Some(left) = means.get_mut(&month) else { continue };
            let part = lacking.min(*left);
            (lacking, *left) = (lacking - part, *left - part);
        }
        total += worth(clip.wanted.tier, 0) * (1.0 - lacking as f64 / clip.wanted.bytes as f64);
    }
    total
}

/// What texts, pictures and the thriftiest connection ask for, in per cent of the year's money.
pub fn others_percent(plan: &Plan) -> u64 {
    other_bytes(plan, 0, YEAR_MS).saturating_mul(100) / means_of(plan, 0).saturating_mul(12).max(1)
}

fn density(wanted: &Wanted) -> f64 {
    worth(wanted.tier, 0) / wanted.bytes as f64
}

/// Bytes left for clips when all the rest is paid.
fn means_of(plan: &Plan, others: u64) -> u64 {
    let settings = plan.settings(0);
    let by_money = settings.tariff.affordable(0, settings.ceiling - settings.reserve()) as f64;
    let stop = settings.tariff.hard_stop().unwrap_or(u64::MAX) as f64;
    let reserve = f64::from(settings.reserve_millionths) / 1e6;
    let bytes = by_money.min(stop * (1.0 - reserve)) * 0.95;
    (bytes as u64).saturating_sub(others)
}

fn other_bytes(plan: &Plan, from: u64, to: u64) -> u64 {
    let mut bytes = connected_bytes_per_day(300, 900, 800) * (to - from) / DAY_MS / LONGEST_STRETCH;
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
