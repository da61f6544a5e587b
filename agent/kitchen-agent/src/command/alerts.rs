//! `alerts list`: what this box has raised, read from its database whether the agent runs or not.

use anyhow::Result;
use kitchen_store::Store;
use serde_json::json;

use super::{print_json, print_line};
use crate::cli::{Cli, Exit, Language};
use crate::config_file;

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
        let defaults = alert.rule.defaults();
        let name = if cli.language() == Language::Zh { defaults.chinese } else { defaults.english };
        let state = match (alert.closed_at, alert.records.iter().all(|record| record.receipted_at.is_some())) {
            (None, _) => "open",
            (Some(_), true) => "at the district",
            (Some(_), false) => "waits to be sent",
        };
        let opened = alert.opened_at.local_text(&zone);
        print_line(&format!("{opened}  {:<12} {:<16} {name}  {state}", alert.camera, alert.alert_id.to_string()));
    }
    if alerts.is_empty() {
        print_line("no alerts");
    }
    Ok(Exit::Done)
}
