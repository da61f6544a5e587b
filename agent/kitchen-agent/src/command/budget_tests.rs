use std::collections::BTreeMap;

use kitchen_core::budget::{ClassReport, PeriodReport};

use super::*;
use crate::text::tests::in_both_languages;

pub(in crate::command) fn report() -> BudgetReport {
    let yuan = |text: &str| text.parse::<Yuan>().expect("a number");
    let time = |text: &str| text.parse::<Wall>().expect("a time");
    let class = |bytes, amount| ClassReport { bytes, yuan: yuan(amount) };
    let classes = BTreeMap::from([
        (TrafficClass::Alert, class(212_000, "0.06148")),
        (TrafficClass::Text, class(1_940_000, "0.5626")),
        (TrafficClass::Snapshot, class(46_300_000, "13.427")),
        (TrafficClass::Clip, class(142_700_000, "30.1")),
        (TrafficClass::Command, class(0, "0")),
        (TrafficClass::Protocol, class(4_100_000, "1.189")),
    ]);
    BudgetReport {
        period: PeriodReport { from: time("2026-10-31T16:00:00Z"), to: time("2026-11-30T16:00:00Z") },
        ceiling_yuan: yuan("83.333333333333333"),
        used_yuan: yuan("45.34008"),
        reserve_yuan: yuan("8.333333333333333"),
        forecast_yuan: yuan("71.2"),
        step: BudgetStep::ClipsOnRequest,
        classes,
        used_percent: 57,
        bytes: 195_252_000,
        free_bytes: 38_900_000,
        link: "connected".to_owned(),
        until: None,
        interface: Some("wwan0".to_owned()),
    }
}

#[test]
fn a_month_is_a_table_and_what_it_means() {
    let zone = TimeZone::named("Asia/Shanghai").expect("bundled");
    let resting = BudgetReport {
        step: BudgetStep::Off,
        link: "off".to_owned(),
        until: Some("2026-11-30T16:00:00Z".parse().expect("a time")),
        interface: None,
        free_bytes: 0,
        ..report()
    };
    insta::assert_snapshot!(in_both_languages(|| {
        [month(&report(), true, &zone), vec![String::new()], month(&resting, false, &zone)].concat().join("\n")
    }));
}

#[test]
fn a_year_is_a_table_of_months() {
    let config = Config::parse("[device]\nid = \"mh07-000123\"\n", &[]).expect("valid");
    let (mut load, mut budget) = (Load::default(), config.budget);
    for change in ["alerts_per_day=40", "yuan_per_gb=290"] {
        apply(change, &mut load, &mut budget).expect("a change");
    }
    let now = "2026-11-24T05:12:31Z".parse().expect("a time");
    let zone = TimeZone::named("Asia/Shanghai").expect("bundled");
    let plan = plan_year(&Settings::new(&budget, zone.clone()), load, now);
    assert!(plan.yuan() <= Yuan::whole(1000));
    insta::assert_snapshot!(in_both_languages(|| year_lines(&plan, &load, &zone).join("\n")));
}

#[test]
fn what_is_no_change_is_refused() {
    let (mut load, mut budget) = (Load::default(), BudgetConfig::default());
    for wrong in
        ["", "alerts", "alerts_per_day", "alerts_per_day=-1", "alerts_per_day=nan", "yuan_per_gb=1e3", "clip_bytes=0"]
    {
        assert!(apply(wrong, &mut load, &mut budget).is_none(), "{wrong:?}");
    }
}
