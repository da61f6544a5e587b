//! `alerts show`: all that this box knows of one alert, and where its files lie.

use std::path::Path;

use anyhow::Result;
use kitchen_core::alert::{AlertBox, CloseReason};
use kitchen_core::time::TimeZone;
use kitchen_store::{AlertRow, RecordRow, Store};
use serde_json::{Value, json};

use super::{alerts, print_json, print_line};
use crate::cli::{Cli, Exit, Language};
use crate::config_file;
use crate::text::text;

pub fn run(cli: &Cli, id: &str) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let reader = Store::read_only(&config.device.state_dir.join("store"))?;
    let alert = match alerts::find(&reader, id)? {
        Ok(alert) => alert,
        Err(exit) => return Ok(exit),
    };
    if cli.json {
        print_json(&described(&alert)?)?;
    } else {
        lines(&alert, crate::text::language(), &config.time_zone()).iter().for_each(|line| print_line(line));
    }
    Ok(Exit::Done)
}

/// As `alerts list` has it, with what its newest record says.
fn described(alert: &AlertRow) -> Result<Value> {
    let mut described = serde_json::to_value(alert)?;
    let Value::Object(body) = serde_json::to_value(&alert.body)? else { return Ok(described) };
    for key in ["zone", "duration_ms", "score", "boxes", "model", "clip_status", "detail"] {
        described[key] = body.get(key).cloned().unwrap_or_default();
    }
    let defaults = alert.rule.defaults();
    described["name"] = json!({ "zh": defaults.chinese, "en": defaults.english });
    described["original"] = json!(alert.original);
    Ok(described)
}

fn lines(alert: &AlertRow, language: Language, zone: &TimeZone) -> Vec<String> {
    let body = &alert.body;
    let defaults = alert.rule.defaults();
    let name = if language == Language::Zh { defaults.chinese } else { defaults.english };
    let opened = alert.opened_at.local_text(zone);
    let seconds = format!("{:.1}", body.duration_ms as f64 / 1000.0);
    let mut lines = vec![
        text!("alert-show-title", name = name, rule = alert.rule, tier = alert.tier, id = alert.alert_id),
        match &body.zone {
            Some(zone) => text!("alert-show-camera-zone", camera = alert.camera, zone = zone),
            None => text!("alert-show-camera", camera = alert.camera),
        },
        text!("alert-show-opened", time = opened, seconds = seconds),
    ];
    lines.push(match alert.closed_at {
        Some(closed) => {
            text!("alert-show-closed", time = closed.local_text(zone), reason = reason(alert.close_reason))
        }
        None => text!("alert-show-open"),
    });
    if let Some(score) = body.score {
        lines.push(text!("alert-show-score", score = format!("{score:.2}")));
    }
    if let Some(model) = &body.model {
        lines.push(text!("alert-show-model", name = model.name, version = model.version));
    }
    lines.extend(body.detail.as_ref().map(|detail| text!("alert-show-detail", detail = detail)));
    lines.extend(body.boxes.iter().map(|found| text!("alert-show-box", found = boxed(found))));
    lines.extend(alert.records.iter().map(|record| recorded(record, zone)));
    let shown = |path: &Path| path.display().to_string();
    lines.extend(alert.snapshot.as_ref().map(|path| text!("alert-show-snapshot", path = shown(path))));
    lines.extend(alert.original.as_ref().map(|path| text!("alert-show-original", path = shown(path))));
    lines.push(match &alert.clip {
        Some(path) => text!("alert-show-clip", path = shown(path)),
        None => text!("alert-show-no-clip", status = body.clip_status),
    });
    lines
}

fn boxed(found: &AlertBox) -> String {
    let AlertBox { label, score, x, y, w, h } = found;
    format!("{label} {score:.2}  {x:.3} {y:.3}  {w:.3}×{h:.3}")
}

fn recorded(record: &RecordRow, zone: &TimeZone) -> String {
    let RecordRow { id, kind, sent, receipted_at } = record;
    let state = match (sent, receipted_at) {
        (_, Some(receipted)) => text!("alert-show-receipted", time = receipted.local_text(zone)),
        (Some(sent), None) => text!("alert-show-sent", time = sent.local_text(zone)),
        (None, None) => text!("alert-show-waits"),
    };
    text!("alert-show-record", kind = kind, id = id, state = state)
}

fn reason(reason: Option<CloseReason>) -> String {
    match reason {
        Some(CloseReason::Cleared) | None => text!("alert-show-cleared"),
        Some(CloseReason::Lost) => text!("alert-show-lost"),
        Some(CloseReason::Restart) => text!("alert-show-restart"),
    }
}
