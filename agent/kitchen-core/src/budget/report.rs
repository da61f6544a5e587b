//! What people and the district read of the money: `budget --json`, and the month's account as a record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::Usage;
use super::admission::LinkMode;
use super::governor::Governor;
use super::period::Period;
use super::yuan::Yuan;
use super::{BudgetStep, TrafficClass};
use crate::time::{Stamp, Wall};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodReport {
    pub from: Wall,
    pub to: Wall,
}

impl From<Period> for PeriodReport {
    fn from(period: Period) -> Self {
        Self { from: period.from, to: period.to }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    pub bytes: u64,
    pub yuan: Yuan,
}

/// `budget --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReport {
    pub period: PeriodReport,
    /// Of a month, the package's fee taken off.
    pub ceiling_yuan: Yuan,
    pub used_yuan: Yuan,
    /// Of the ceiling: for texts of tier 1 alerts alone.
    pub reserve_yuan: Yuan,
    /// At the month's end, if it goes on as the past weeks.
    pub forecast_yuan: Yuan,
    pub step: BudgetStep,
    pub classes: BTreeMap<TrafficClass, ClassReport>,
    /// Of the ceiling less the counting error; at 100 the box falls silent.
    pub used_percent: u32,
    pub bytes: u64,
    /// Of these, sent in free windows.
    pub free_bytes: u64,
    /// `connected`, `errands` or `off`.
    pub link: String,
    /// When that may change by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// The interface at which bytes are counted; absent where they are counted in the agent, by a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl BudgetReport {
    #[must_use]
    pub fn new(governor: &Governor, interface: Option<String>, now: Stamp) -> Self {
        let total = governor.usage().total();
        let (link, until) = match governor.link_mode(now) {
            LinkMode::Connected { .. } => ("connected", None),
            LinkMode::Errands { until, .. } => ("errands", Some(until)),
            LinkMode::Off { until } => ("off", Some(until)),
        };
        Self {
            period: governor.account().period().into(),
            ceiling_yuan: governor.settings().ceiling,
            used_yuan: total.yuan,
            reserve_yuan: governor.settings().reserve(),
            forecast_yuan: governor.forecast_yuan(now),
            step: governor.step(),
            classes: classes(governor.usage()),
            used_percent: governor.used_percent(),
            bytes: total.bytes,
            free_bytes: total.free_bytes,
            link: link.to_owned(),
            until,
            interface,
        }
    }
}

fn classes(usage: &Usage) -> BTreeMap<TrafficClass, ClassReport> {
    let report = |class| {
        let traffic = usage.of(class);
        (class, ClassReport { bytes: traffic.bytes, yuan: traffic.yuan })
    };
    TrafficClass::ALL.into_iter().map(report).collect()
}

/// Body of the record `budget.month`: an ended month's sums, less what was told of it before. The sums of all records
/// are the truth, so that a platform can add up boxes and months without knowing of corrections. `None`: no news.
#[must_use]
pub fn month_record(period: Period, usage: &Usage, told: Option<&Usage>) -> Option<Value> {
    let nothing = Usage::default();
    let before = told.unwrap_or(&nothing);
    if told.is_some() && usage == before {
        return None;
    }
    let difference = |now: u64, before: u64| i128::from(now) - i128::from(before);
    let bytes = |now: u64, before: u64| i64::try_from(difference(now, before)).unwrap_or(i64::MAX);
    let class = |class: TrafficClass| {
        let (now, before) = (usage.of(class), before.of(class));
        (class.to_string(), json!({ "bytes": bytes(now.bytes, before.bytes), "yuan": now.yuan - before.yuan }))
    };
    let (now, then) = (usage.total(), before.total());
    Some(json!({
        "period": PeriodReport::from(period),
        "correction": told.is_some(),
        "bytes": bytes(now.bytes, then.bytes),
        "free_bytes": bytes(now.free_bytes, then.free_bytes),
        "yuan": now.yuan - then.yuan,
        "classes": TrafficClass::ALL.into_iter().map(class).collect::<serde_json::Map<String, Value>>(),
    }))
}
