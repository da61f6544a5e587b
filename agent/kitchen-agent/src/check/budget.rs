//! The money: how much of the month is used, as the running agent counts it, and whether it can count at all.

use kitchen_core::budget::{BudgetReport, BudgetStep, NEARLY_USED};
use kitchen_core::config::Config;

use super::Finding;
use crate::control::AgentState;
use crate::fault::Fault;
use crate::health::sysfs;
use crate::text::text;

pub(super) fn look(config: &Config, agent: &AgentState) -> Finding {
    if let Some(interface) = &config.budget.interface
        && !sysfs().join("class/net").join(&interface.name).join("statistics").is_dir()
    {
        let found = text!("check-budget-no-interface", interface = interface.name);
        return Finding::warn(Fault::InterfaceMissing, found, text!("check-budget-interface-expected"));
    }
    match agent {
        AgentState::Up(report) => report.budget.as_ref().map_or_else(
            || Finding::absent(text!("check-budget-no-agent")),
            |budget| told(budget, !config.budget.tariffs.is_empty()),
        ),
        _ => Finding::absent(text!("check-budget-no-agent")),
    }
}

fn told(report: &BudgetReport, has_tariff: bool) -> Finding {
    let expected = text!("check-budget-expected");
    let (used, ceiling) = (report.used_yuan.rounded_up(), report.ceiling_yuan.rounded_down());
    let found = text!("check-budget-used", used = used, ceiling = ceiling, percent = report.used_percent);
    match report.step {
        BudgetStep::Off | BudgetStep::Reserve => Finding::fail(Fault::BudgetUsed, found, expected),
        _ if report.used_percent >= NEARLY_USED => Finding::warn(Fault::BudgetUsed, found, expected),
        _ if !has_tariff => Finding::warn(Fault::TariffMissing, text!("check-budget-no-tariff"), expected),
        _ => Finding::ok(found),
    }
}
