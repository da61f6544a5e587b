//! `alerts list`: what this box has raised, read from its database whether the agent runs or not; and how the other
//! commands find one of them.

use anyhow::Result;
use kitchen_store::{AlertRow, Reader, Store};
use serde_json::json;

use super::{padded, print_json, print_line, refused, rule_name};
use crate::cli::{Cli, Exit};
use crate::config_file;
use crate::text::text;

pub fn list(cli: &Cli, limit: usize) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let reader = Store::read_only(&config.device.state_dir.join("store"))?;
    let alerts = reader.alerts(limit)?;
    if cli.json {
        print_json(&json!({ "alerts": alerts }))?;
        return Ok(Exit::Done);
    }
    let zone = config.time_zone();
    for alert in &alerts {
        let state = match (alert.closed_at, alert.records.iter().all(|record| record.receipted_at.is_some())) {
            (None, _) => text!("alerts-open"),
            (Some(_), true) => text!("alerts-received"),
            (Some(_), false) => text!("alerts-waiting"),
        };
        let opened = alert.opened_at.local_text(&zone);
        let (camera, id) = (padded(&alert.camera, 13), padded(&alert.alert_id.to_string(), 17));
        let name = padded(&rule_name(alert.rule.as_str()), 30);
        print_line(&format!("{opened}  {camera}{id}{name}{state}"));
    }
    if alerts.is_empty() {
        print_line(&text!("alerts-none"));
    }
    Ok(Exit::Done)
}

/// The one alert that is meant by an id or its beginning; else how the command ends, having said why.
///
/// # Errors
/// When the store can't be read.
pub fn find(reader: &Reader, id: &str) -> Result<Result<AlertRow, Exit>> {
    let mut found = reader.alerts_beginning(id)?;
    Ok(match found.as_slice() {
        [] => Err(refused(&text!("alert-show-unknown", id = id), Exit::ProblemFound)),
        [first, ..] if found.len() == 1 || first.alert_id.to_string() == id => Ok(found.swap_remove(0)),
        _ => Err(refused(&text!("alert-show-ambiguous", id = id), Exit::WrongUse)),
    })
}
