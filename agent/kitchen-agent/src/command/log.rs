//! `log`: the agent's part of systemd's journal, a short line each or one JSON document a line, without secrets.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use kitchen_core::time::{TimeZone, Wall};
use serde_json::{Map, Value, json};

use super::{print_json, print_line, refused};
use crate::cli::{Cli, Exit, LogArguments, LogLevel};
use crate::config_file;
use crate::notice::{Notice, notice};
use crate::text::text;

/// By unit, and by name for an agent that systemd did not start.
const MATCHES: [&str; 5] =
    ["_SYSTEMD_UNIT=kitchen-agent.service", "+", "UNIT=kitchen-agent.service", "+", "SYSLOG_IDENTIFIER=kitchen-agent"];
const LINES: usize = 200;
/// What `tracing-journald` writes before the names of an event's own fields.
const FIELD: &str = "F_";
/// Where the box's configuration can't be read.
const USUAL_ZONE: &str = "Asia/Shanghai";

pub fn run(cli: &Cli, arguments: &LogArguments) -> Result<Exit> {
    let zone = config_file::load(cli).map(|config| config.time_zone()).or_else(|_| TimeZone::named(USUAL_ZONE));
    let zone = zone.unwrap_or(TimeZone::UTC);
    // journalctl would wait for ever for a journal to be made.
    if let Some(said) = arguments.follow.then(|| complaint(arguments)).flatten() {
        return Ok(refused(&text!("log-no-journal", said = said), Exit::CouldNotCheck));
    }
    let mut child = match journalctl(arguments).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(refused(&text!("log-no-journalctl", error = error), Exit::CouldNotCheck)),
    };
    let lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut any = false;
    for line in lines.lines() {
        let Some(entry) = Entry::read(&line.with_context(unreadable)?) else { continue };
        any = true;
        if cli.json {
            print_json(&entry.described())?;
        } else {
            print_line(&entry.line(&zone));
        }
    }
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).with_context(unreadable)?;
    let ended = child.wait().with_context(unreadable)?;
    let complaint = if ended.success() { (!any).then(|| complaint(arguments)).flatten() } else { Some(said) };
    if let Some(said) = complaint {
        return Ok(refused(&text!("log-no-journal", said = said.trim()), Exit::CouldNotCheck));
    }
    if !any && !cli.json {
        print_line(&text!("log-empty"));
    }
    Ok(Exit::Done)
}

fn journalctl(arguments: &LogArguments) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--output=json", "--all"]).env("LC_ALL", "C");
    if let Some(directory) = &arguments.directory {
        command.arg("--directory").arg(directory);
    }
    if arguments.follow {
        command.arg("--follow");
    }
    if let Some(since) = &arguments.since {
        command.arg(format!("--since={}", since_text(since)));
    }
    if let Some(lines) = arguments.lines.or_else(|| arguments.since.is_none().then_some(LINES)) {
        command.arg(format!("--lines={lines}"));
    }
    command.arg(format!("--priority={}", priority(arguments.level)));
    command.args(MATCHES).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Why this user sees no entries, in journalctl's words: with JSON as output it keeps silent.
fn complaint(arguments: &LogArguments) -> Option<String> {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--lines=1", "--output=short"]).env("LC_ALL", "C");
    if let Some(directory) = &arguments.directory {
        command.arg("--directory").arg(directory);
    }
    // Where journalctl is missing, the command itself says so.
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let sees_nothing = ["No journal files", "not seeing messages"].iter().any(|words| said.contains(words));
    (sees_nothing || !output.status.success()).then(|| said.lines().next().unwrap_or_default().to_owned())
}

/// `2h` is how long ago; anything else journalctl reads itself.
fn since_text(since: &str) -> String {
    let is_span = since.starts_with(|first: char| first.is_ascii_digit())
        && since.ends_with(|last: char| last.is_ascii_alphabetic())
        && since.chars().all(|sign| sign.is_ascii_alphanumeric());
    if is_span { format!("-{since}") } else { since.to_owned() }
}

const fn priority(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 6,
        LogLevel::Debug => 7,
    }
}

/// One entry of the journal.
struct Entry {
    time: Wall,
    level: &'static str,
    target: Option<String>,
    message: String,
    fields: Map<String, Value>,
}

impl Entry {
    /// None for a line that is no entry.
    fn read(line: &str) -> Option<Self> {
        let Value::Object(entry) = serde_json::from_str(line).ok()? else { return None };
        let micros: i64 = entry.get("__REALTIME_TIMESTAMP")?.as_str()?.parse().ok()?;
        let level = match entry.get("PRIORITY").and_then(Value::as_str) {
            Some("0" | "1" | "2" | "3") => "error",
            Some("4") => "warn",
            Some("7") => "debug",
            _ => "info",
        };
        let own = entry.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(FIELD)?.to_ascii_lowercase();
            Some((name, Value::String(shown(value))))
        });
        Some(Self {
            time: Wall::from_unix_millis(micros / 1000),
            level,
            target: entry.get("TARGET").map(shown),
            message: entry.get("MESSAGE").map(shown).unwrap_or_default(),
            fields: own.collect(),
        })
    }

    fn line(&self, zone: &TimeZone) -> String {
        let fields = self.fields.iter().map(|(name, value)| format!("  {name}={}", value.as_str().unwrap_or_default()));
        let (time, level) = (self.time.local_text(zone), self.level.to_ascii_uppercase());
        format!("{time} {level:<5} {}{}", self.message, fields.collect::<String>())
    }

    fn described(&self) -> Value {
        json!({
            "time": self.time, "level": self.level, "target": self.target, "message": self.message,
            "fields": self.fields,
        })
    }
}

/// The journal gives bytes that are no text as a list of numbers, and fields that stand twice as a list.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => match items.iter().map(|item| u8::try_from(item.as_u64()?).ok()).collect() {
            Some::<Vec<u8>>(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        },
        other => other.to_string(),
    }
}

fn unreadable() -> Notice {
    notice!("log-unreadable", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shows_its_time_level_message_and_own_fields() {
        let entry = Entry::read(
            r#"{"__REALTIME_TIMESTAMP":"1795497151250000","PRIORITY":"4","MESSAGE":"camera lost","F_CAMERA":"stove",
                "TARGET":"kitchen_vision::camera","_PID":"7"}"#,
        )
        .expect("an entry");
        assert_eq!(entry.line(&TimeZone::UTC), "2026-11-24 05:12:31 WARN  camera lost  camera=stove");
        assert_eq!(entry.described()["fields"], json!({ "camera": "stove" }));
    }

    #[test]
    fn a_message_given_as_bytes_is_read_and_a_foreign_line_left_out() {
        let line = r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":[104,105,27]}"#;
        assert_eq!(Entry::read(line).expect("an entry").message, "hi\u{1b}");
        assert!(Entry::read("-- No entries --").is_none());
    }

    #[test]
    fn a_span_of_time_means_how_long_ago() {
        for (given, meant) in [("2h", "-2h"), ("30min", "-30min"), ("today", "today"), ("2026-11-24", "2026-11-24")] {
            assert_eq!(since_text(given), meant);
        }
    }
}
