//! `budget`: the month in bytes and yuan as the running agent counts it, or as the database has it; a year ahead at the
//! present rate or at another, through the agent's own governor.

use anyhow::Result;
use kitchen_core::budget::{
    BudgetReport, BudgetStep, Decimal, Governor, Load, MonthPlan, Settings, TrafficClass, YearPlan, Yuan,
    connected_bytes_per_day, plan_year,
};
use kitchen_core::config::{BudgetConfig, Config, Tariff};
use kitchen_core::time::{Clock as _, Stamp, TimeZone, Wall};
use kitchen_store::Store;
use serde_json::{Value, json};

use super::{padded, print_json, print_line, refused, width};
use crate::cli::{BudgetArguments, Cli, Exit};
use crate::clock::SystemClock;
use crate::control::AgentState;
use crate::text::{self, text};
use crate::{budget, config_file, control};

/// A heartbeat as it is sent.
const HEARTBEAT_BYTES: u64 = 800;

pub fn run(cli: &Cli, arguments: &BudgetArguments) -> Result<Exit> {
    if arguments.year || !arguments.what_if.is_empty() {
        return year(cli, &arguments.what_if);
    }
    let config = config_file::load(cli)?;
    let report = match control::agent_state(&control::socket_path(&config.device.state_dir)) {
        AgentState::Up(report) => report.budget,
        _ => None,
    };
    let report = match report {
        Some(report) => report,
        None => {
            let now = SystemClock::new().stamp();
            let governor = of_database(&config, now)?;
            BudgetReport::new(&governor, config.budget.interface.as_ref().map(|it| it.name.clone()), now)
        }
    };
    if cli.json {
        print_json(&report)?;
    } else {
        let has_tariff = !config.budget.tariffs.is_empty();
        month(&report, has_tariff, &config.time_zone()).iter().for_each(|line| print_line(line));
    }
    Ok(if report.step == BudgetStep::Off { Exit::ProblemFound } else { Exit::Done })
}

/// The governor as it would go on from the database; nothing is written.
fn of_database(config: &Config, now: Stamp) -> Result<Governor> {
    let reader = Store::read_only(&config.device.state_dir.join("store"))?;
    budget::governor_of(config, &reader, now)
}

fn month(report: &BudgetReport, has_tariff: bool, zone: &TimeZone) -> Vec<String> {
    let day = |wall: Wall| wall.local_text(zone).chars().take(10).collect::<String>();
    let mut rows = vec![[String::new(), text!("budget-column-mb"), text!("budget-column-yuan")]];
    for (class, sums) in report.classes.iter().filter(|(_, sums)| sums.bytes > 0) {
        rows.push([class_name(*class), megabytes(sums.bytes), sums.yuan.rounded_up()]);
    }
    rows.push([text!("budget-total"), megabytes(report.bytes), report.used_yuan.rounded_up()]);
    let mut lines = vec![text!("budget-month", from = day(report.period.from), to = day(report.period.to))];
    lines.extend(table(&rows));
    if report.free_bytes > 0 {
        lines.push(text!("budget-free", megabytes = megabytes(report.free_bytes)));
    }
    lines.push(text!(
        "budget-ceiling",
        ceiling = report.ceiling_yuan.rounded_down(),
        reserve = report.reserve_yuan.rounded_down(),
        percent = report.used_percent,
        forecast = report.forecast_yuan.rounded_up()
    ));
    lines.push(text!("budget-step", step = step_name(report.step)));
    if let Some(until) = report.until {
        lines.push(text!("budget-resting", until = until.local_text(zone)));
    }
    lines.push(match &report.interface {
        Some(name) => text!("budget-counted-at", interface = name),
        None => text!("budget-counted-by-model"),
    });
    if !has_tariff {
        lines.push(text!("budget-no-tariff"));
    }
    lines
}

fn year(cli: &Cli, changes: &[String]) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    let now = SystemClock::new().stamp();
    let mut budget = config.budget.clone();
    let connected = connected_bytes_per_day(config.uplink.keepalive_s, config.uplink.heartbeat_s, HEARTBEAT_BYTES);
    let load = of_database(&config, now).map(|governor| Load::of(governor.forecast(), connected)).ok();
    // A box without a past is taken for a usual one.
    let mut load = load
        .filter(|load| alerts(load) > 0.0)
        .unwrap_or(Load { connected_bytes_per_day: connected, ..Load::default() });
    for change in changes {
        if apply(change, &mut load, &mut budget).is_none() {
            return Ok(refused(&text!("budget-what-if", found = change), Exit::WrongUse));
        }
    }
    let plan = plan_year(&Settings::new(&budget, config.time_zone()), load, now.wall);
    if cli.json {
        print_json(&json!({
            "alerts_per_day": rounded(alerts(&load)),
            "months": plan.months.iter().map(as_json).collect::<Vec<_>>(),
            "bytes": plan.bytes(), "yuan": plan.yuan(),
        }))?;
    } else {
        year_lines(&plan, &load, &config.time_zone()).iter().for_each(|line| print_line(line));
    }
    Ok(Exit::Done)
}

fn alerts(load: &Load) -> f64 {
    load.alerts_per_day.iter().sum()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// `alerts_per_day=50`: one change of the load or of the money; `None` where it is neither.
fn apply(change: &str, load: &mut Load, budget: &mut BudgetConfig) -> Option<()> {
    let (key, value) = change.split_once('=')?;
    let number = || value.parse::<f64>().ok().filter(|number| (0.0..=100_000.0).contains(number));
    let bytes = || value.parse::<u64>().ok().filter(|bytes| (1..=1_000_000_000).contains(bytes));
    let most = Decimal::whole(1_000_000);
    let amount = || value.parse::<Decimal>().ok().filter(|amount| (Decimal::default()..=most).contains(amount));
    match key {
        "alerts_per_day" => *load = load.with_alerts_per_day(number()?),
        "clip_bytes" => load.clip_bytes = bytes()?,
        "snapshot_bytes" => load.snapshot_bytes = bytes()?,
        "yuan_per_year" => budget.yuan_per_year = amount()?,
        "yuan_per_gb" => budget.tariffs = vec![Tariff { up_to_gb: None, yuan_per_gb: amount()? }],
        _ => return None,
    }
    Some(())
}

fn as_json(month: &MonthPlan) -> Value {
    json!({
        "from": month.period.from, "to": month.period.to, "alerts": month.alerts, "snapshots": month.snapshots,
        "clips": month.clips, "snapshots_left": month.snapshots_left, "clips_left": month.clips_left,
        "bytes": month.bytes, "yuan": month.yuan, "step": month.step,
    })
}

fn year_lines(plan: &YearPlan, load: &Load, zone: &TimeZone) -> Vec<String> {
    let head = ["month", "alerts", "pictures", "clips", "left", "mb", "yuan", "lowest-step"];
    let mut rows = vec![head.map(|column| text::get(&format!("budget-column-{column}"), &[]))];
    let sum = |of: fn(&MonthPlan) -> u64| plan.months.iter().map(of).sum::<u64>().to_string();
    for month in &plan.months {
        rows.push([
            month.period.from.local_text(zone).chars().take(10).collect(),
            month.alerts.to_string(),
            month.snapshots.to_string(),
            month.clips.to_string(),
            (month.snapshots_left + month.clips_left).to_string(),
            megabytes(month.bytes),
            month.yuan.rounded_up(),
            step_name(month.step),
        ]);
    }
    rows.push([
        text!("budget-total"),
        sum(|month| month.alerts),
        sum(|month| month.snapshots),
        sum(|month| month.clips),
        sum(|month| month.snapshots_left + month.clips_left),
        megabytes(plan.bytes()),
        plan.yuan().rounded_up(),
        String::new(),
    ]);
    let mut lines = vec![text!("budget-year", alerts = rounded(alerts(load)))];
    lines.extend(table(&rows));
    lines
}

/// Columns as wide as their widest cell; the first to the left, a last one of words too, numbers to the right.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<String> {
    let widest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let columns = widest(column);
            let is_word = column == 0 || (column == 7 && COLUMNS == 8);
            if is_word { padded(cell, columns + 1) } else { format!("{}{cell}  ", " ".repeat(columns - width(cell))) }
        });
        format!("  {}", cells.collect::<String>()).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn class_name(class: TrafficClass) -> String {
    text::get(&format!("budget-class-{class}"), &[])
}

pub(super) fn step_name(step: BudgetStep) -> String {
    text::get(&format!("budget-step-{}", step.as_str().replace('_', "-")), &[])
}

/// Why a message is held, as [`kitchen_core::budget::HoldReason`] says it, in the chosen language.
pub(super) fn hold_name(reason: &str) -> String {
    let bare = reason.strip_prefix("budget: ").unwrap_or(reason);
    let id = bare.replace([' ', '_'], "-");
    text::get_or(&format!("budget-hold-{id}"), &text::get_or(&format!("budget-step-{id}"), reason))
}

/// One line of the month for `status`.
pub(super) fn summary(report: &BudgetReport) -> String {
    let used: Yuan = report.used_yuan;
    text!(
        "budget-summary",
        used = used.rounded_up(),
        ceiling = report.ceiling_yuan.rounded_down(),
        megabytes = megabytes(report.bytes),
        percent = report.used_percent,
        step = step_name(report.step)
    )
}

#[cfg(test)]
#[path = "budget_tests.rs"]
pub(super) mod tests;
