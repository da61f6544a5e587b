//! `outbox list` and `show`: what waits to be sent, read from the database whether the agent runs or not.
//! `requeue` and `drop` ask the running agent; without one they write to the database themselves.

use std::time::Duration;

use anyhow::Result;
use kitchen_core::config::Config;
use kitchen_core::time::{Clock as _, TimeZone, Wall};
use kitchen_store::{OpenOptions, OutboxRow, Store};
use serde_json::{Value, json};

use super::{print_json, print_line, refused};
use crate::cli::{Cli, Exit};
use crate::clock::{SystemClock, boot_id};
use crate::control::{AgentState, OutboxChange};
use crate::fault::Fault;
use crate::notice::notice;
use crate::status::HeldReport;
use crate::text::text;
use crate::{config_file, control};

/// The pause after a first attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

pub fn list(cli: &Cli, limit: usize) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let reader = Store::read_only(&config.device.state_dir.join("store"))?;
    let now = SystemClock::new().stamp().wall;
    let messages = reader.outbox(limit)?;
    let (held, zone) = (held(&config), config.time_zone());
    if cli.json {
        let messages: Vec<Value> = messages.iter().map(|message| described(message, &held, now)).collect();
        print_json(&json!({ "messages": messages }))?;
        return Ok(Exit::Done);
    }
    for message in &messages {
        let OutboxRow { id, kind, bytes, created, .. } = message;
        let created = created.local_text(&zone);
        print_line(&format!(
            "{created}  {id:<16} {:<9} {bytes:>8}  {}",
            kind.as_str(),
            state(message, &held, &zone, now)
        ));
    }
    if messages.is_empty() {
        print_line(&text!("outbox-empty"));
    }
    Ok(Exit::Done)
}

pub fn show(cli: &Cli, id: &str) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let reader = Store::read_only(&config.device.state_dir.join("store"))?;
    let found = reader.outbox_beginning(id)?;
    let message = match only(&found, id) {
        Ok(message) => message,
        Err(exit) => return Ok(exit),
    };
    let now = SystemClock::new().stamp().wall;
    let (held, zone) = (held(&config), config.time_zone());
    let content = reader.outbox_content(message)?;
    let topic = format!("kitchen/v1/{}/up/{}", config.device.id, content.topic_leaf);
    if cli.json {
        let mut shown = described(message, &held, now);
        shown["topic"] = json!(topic);
        shown["body"] = json!(content.body);
        shown["file"] = json!(content.file);
        print_json(&shown)?;
        return Ok(Exit::Done);
    }
    print_line(&format!("{}  {}  {topic}", message.id, message.kind.as_str()));
    let (created, bytes) = (message.created.local_text(&zone), message.bytes);
    print_line(&text!("outbox-created", time = created, bytes = bytes));
    print_line(&state(message, &held, &zone, now));
    if let Some(file) = content.file {
        print_line(&file.display().to_string());
    }
    if let Some(body) = content.body {
        serde_json::to_string_pretty(&body)?.lines().for_each(print_line);
    }
    Ok(Exit::Done)
}

pub fn change(cli: &Cli, id: &str, change: OutboxChange) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let folder = config.device.state_dir.join("store");
    let found = Store::read_only(&folder)?.outbox_beginning(id)?;
    let id = match only(&found, id) {
        Ok(message) => message.id.clone(),
        Err(exit) => return Ok(exit),
    };
    let socket = control::socket_path(&config.device.state_dir);
    let was_there = match control::agent_state(&socket) {
        AgentState::Down => {
            let options = OpenOptions { dir: &folder, device: &config.device.id, boot_id: &boot_id()? };
            change.make(&Store::open(options)?, &id, SystemClock::new().stamp())?
        }
        AgentState::Up(_) => control::change_outbox(&socket, change, &id)?,
        AgentState::Silent | AgentState::NotForUs => {
            return Err(notice!("agent-no-answer", Fault::AgentDown, socket = socket.display()).into());
        }
    };
    if !was_there {
        return Ok(refused(&text!("outbox-unknown", id = id), Exit::ProblemFound));
    }
    let (state, said) = match change {
        OutboxChange::Requeue => ("waiting", text!("outbox-requeued", id = id)),
        OutboxChange::Drop => ("dropped", text!("outbox-dropped", id = id)),
    };
    if cli.json {
        print_json(&json!({ "id": id, "state": state }))?;
    } else {
        print_line(&said);
    }
    Ok(Exit::Done)
}

/// The one message that is meant.
fn only<'a>(found: &'a [OutboxRow], id: &str) -> Result<&'a OutboxRow, Exit> {
    match found {
        [] => Err(refused(&text!("outbox-unknown", id = id), Exit::ProblemFound)),
        [first, ..] if found.len() == 1 || first.id == id => Ok(first),
        _ => Err(refused(&text!("outbox-ambiguous", id = id), Exit::WrongUse)),
    }
}

/// What the running agent holds back to keep the month's ceiling.
fn held(config: &Config) -> Vec<HeldReport> {
    match control::agent_state(&control::socket_path(&config.device.state_dir)) {
        AgentState::Up(report) => report.held,
        _ => Vec::new(),
    }
}

fn described(message: &OutboxRow, held: &[HeldReport], now: Wall) -> Value {
    let held = held.iter().find(|held| held.id == message.id);
    let state = match (&message.set_aside, held, message.sent) {
        (Some(_), ..) => "set_aside",
        (None, Some(_), _) => "held",
        (None, None, Some(_)) => "sent",
        (None, None, None) => "waiting",
    };
    let mut described = json!({
        "id": message.id, "kind": message.kind.as_str(), "bytes": message.bytes, "created": message.created,
        "attempts": message.attempts, "next_attempt_s": next_attempt(message, now), "state": state,
    });
    if let Some(reason) = &message.set_aside {
        described["reason"] = json!(reason);
    } else if let Some(held) = held {
        (described["reason"], described["until"]) = (json!(held.reason), json!(held.until));
        described["next_attempt_s"] = Value::Null;
    }
    described
}

/// Seconds until it is sent again at the latest, while the district answers; none for what is set aside.
fn next_attempt(message: &OutboxRow, now: Wall) -> Option<u64> {
    if message.set_aside.is_some() {
        return None;
    }
    let Some(sent) = message.sent else { return Some(0) };
    let doublings = message.attempts.saturating_sub(1).min(16);
    let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    let since_ms = u64::try_from(now.as_unix_millis() - sent.as_unix_millis()).unwrap_or(0);
    Some(pause.saturating_sub(Duration::from_millis(since_ms)).as_secs())
}

fn state(message: &OutboxRow, held: &[HeldReport], zone: &TimeZone, now: Wall) -> String {
    if let Some(held) = held.iter().find(|held| held.id == message.id && message.set_aside.is_none()) {
        return text!(
            "outbox-held",
            reason = super::budget::hold_name(&held.reason),
            until = held.until.local_text(zone)
        );
    }
    match (&message.set_aside, next_attempt(message, now)) {
        (Some(reason), _) => text!("outbox-set-aside", reason = reason),
        (None, Some(seconds)) if message.sent.is_some() => {
            text!("outbox-sent", attempts = message.attempts, seconds = seconds)
        }
        _ => text!("outbox-waiting"),
    }
}
