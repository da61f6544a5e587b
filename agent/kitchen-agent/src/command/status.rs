//! `status`: one screen of what the running agent does.

use std::time::Duration;

use anyhow::Result;
use kitchen_core::time::{TimeQuality, TimeZone};
use kitchen_core::wire::RuleState;

use super::{budget, duration, padded, print_json, print_line, rule_name};
use crate::cli::{Cli, Exit};
use crate::notice::Notice;
use crate::recording::RecordingReport;
use crate::status::{CameraReport, StatusReport};
use crate::text::{self, text};
use crate::{config_file, control};

const REFRESH: Duration = Duration::from_secs(1);
/// Columns of a terminal before a row's text.
const TITLE: usize = 14;

pub fn run(cli: &Cli, watch: bool) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let socket = control::socket_path(&config.device.state_dir);
    loop {
        let report = control::ask_status(&socket)?;
        if cli.json {
            print_json(&report)?;
        } else {
            if watch {
                // Clears the screen and goes to its upper left corner.
                print_line("\x1b[2J\x1b[H");
            }
            screen(&report, &config.time_zone()).iter().for_each(|line| print_line(line));
        }
        if !watch {
            let online = report.cameras.iter().all(|camera| camera.health.state == "online");
            return Ok(if online { Exit::Done } else { Exit::ProblemFound });
        }
        std::thread::sleep(REFRESH);
    }
}

fn screen(report: &StatusReport, zone: &TimeZone) -> Vec<String> {
    let up = duration(report.uptime_s);
    let time = format!("{} ({})", report.time.local_text(zone), time_quality(report.time_quality));
    let mut lines = vec![
        text!("status-head", device = report.device, version = report.agent, time = up),
        row(&text!("status-row-time"), &time),
    ];
    for seen in &report.cameras {
        lines.extend(camera(seen));
    }
    if let Some(detector) = &report.detector {
        let text =
            text!("status-detector", model = detector.model, version = detector.version, engine = detector.engine);
        lines.push(row(&text!("status-row-detector"), &text));
    }
    for (title, state) in [
        (text!("status-row-rules-on"), RuleState::On),
        (text!("status-row-rules-off"), RuleState::Off),
        (text!("status-row-rules-unavailable"), RuleState::Unavailable),
    ] {
        let rules = report.rules.iter().filter(|(_, other)| **other == state);
        let names: Vec<String> = rules.map(|(rule, _)| rule_name(rule)).collect();
        lines.extend(wrapped(&title, &names));
    }
    if let Some(alerts) = report.alerts_today {
        lines.push(row(&text!("status-row-alerts"), &alerts.to_string()));
    }
    if let Some(outbox) = &report.outbox {
        let mut text = text!("status-outbox", count = outbox.count, kilobytes = outbox.bytes / 1000);
        if outbox.count > 0 {
            text += &text!("status-outbox-oldest", age = duration(outbox.oldest_s));
        }
        lines.push(row(&text!("status-row-outbox"), &text));
    }
    lines.extend(link(report, zone));
    if let Some(budget) = &report.budget {
        lines.push(row(&text!("status-row-budget"), &budget::summary(budget)));
    }
    if let Some(first) = report.held.first() {
        let (reason, until) = (budget::hold_name(&first.reason), first.until.local_text(zone));
        lines.push(row("", &text!("status-held", count = report.held.len(), reason = reason, until = until)));
    }
    if let Some(disk) = &report.disk {
        let gigabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e9);
        let mut text = text!("status-disk", free = gigabytes(disk.free_bytes), total = gigabytes(disk.total_bytes));
        if let Some(bytes) = report.written_bytes {
            text += &written(bytes, report.recording.as_ref().map_or(0, |it| it.written_bytes), report.uptime_s);
        }
        lines.push(row(&text!("status-row-disk"), &text));
    }
    if let Some(seen) = &report.recording {
        lines.extend(recording(seen, zone));
    }
    if let Some(temperature) = report.temperature_c {
        let text = text!("status-temperature", degrees = format!("{temperature:.0}"));
        lines.push(row(&text!("status-row-temperature"), &text));
    }
    if let Some(why) = &report.slowed_by {
        lines.push(row(&text!("status-row-slowed"), why));
    }
    for (stage, count) in &report.restarts {
        let text = text!("status-restarted", stage = stage, count = count);
        lines.push(row(&text!("status-row-restarted"), &text));
    }
    lines
}

/// What the agent wrote beside the recording, with its daily share once it has run for an hour; and the recording.
fn written(bytes: u64, recording: u64, uptime_s: u64) -> String {
    let megabytes = |bytes: f64| format!("{:.0}", bytes / 1e6);
    let beside = bytes.saturating_sub(recording) as f64;
    let mut text = text!("status-written", megabytes = megabytes(beside));
    if uptime_s >= 3600 {
        text += &text!("status-written-daily", megabytes = megabytes(beside / uptime_s as f64 * 86_400.0));
    }
    if recording > 0 {
        text += &text!("status-written-recording", megabytes = megabytes(recording as f64));
    }
    text
}

/// What is held, since when, and what was left out.
fn recording(report: &RecordingReport, zone: &TimeZone) -> Vec<String> {
    let gigabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e9);
    let held = duration(report.cameras.iter().map(|camera| camera.held_s).sum());
    let (bytes, quota) = (gigabytes(report.bytes), gigabytes(report.quota_bytes));
    let mut text = match report.state.as_str() {
        "off" => text!("status-recording-off", held = held, gigabytes = bytes),
        "failing" => text!("status-recording-failing", held = held, gigabytes = bytes, quota = quota),
        "stalled" => text!("status-recording-stalled", held = held, gigabytes = bytes, quota = quota),
        _ => text!("status-recording-on", held = held, gigabytes = bytes, quota = quota),
    };
    if let Some(oldest) = report.cameras.iter().filter_map(|camera| camera.oldest).min() {
        text += &text!("status-recording-oldest", time = oldest.local_text(zone));
    }
    let mut lines = vec![row(&text!("status-row-recording"), &text)];
    for camera in report.cameras.iter().filter(|camera| camera.gaps + camera.dropped > 0) {
        let gaps = text!("status-recording-gaps", camera = camera.id, gaps = camera.gaps, dropped = camera.dropped);
        lines.push(row("", &gaps));
    }
    if report.detail.is_some() {
        lines.push(row("", &told(report.notice.as_ref(), report.detail.as_deref())));
        lines.extend(next_step(report.notice.as_ref()));
    }
    lines
}

fn camera(camera: &CameraReport) -> Vec<String> {
    let health = &camera.health;
    let state = text::get_or(&format!("status-camera-{}", health.state), &health.state);
    let told = told(camera.notice.as_ref(), camera.detail.as_deref());
    let mut lines =
        vec![row(&text!("status-row-camera"), &format!("{} {state}  {told}", health.id)), row("", &camera.address)];
    let mut counts =
        text!("status-camera-counts", frames = health.frames, analysed = health.analysed, dropped = health.dropped);
    if let Some(ms) = camera.look_ms {
        counts += &text!("status-camera-look", ms = format!("{ms:.0}"));
    }
    lines.push(row("", &counts));
    if camera.lost_packets + camera.damaged > 0 {
        lines.push(row("", &text!("status-camera-lost", lost = camera.lost_packets, damaged = camera.damaged)));
    }
    lines.extend(next_step(camera.notice.as_ref()));
    lines
}

fn link(report: &StatusReport, zone: &TimeZone) -> Vec<String> {
    let link = &report.link;
    let state = match (link.broker.is_empty(), link.connected_since) {
        (true, _) => text!("status-link-none"),
        (false, Some(since)) => text!("status-link-up", broker = link.broker, since = since.local_text(zone)),
        (false, None) => text!("status-link-down", broker = link.broker),
    };
    let mut lines = vec![row(&text!("status-row-link"), &state)];
    if let Some(until) = link.resting_until.filter(|_| link.connected_since.is_none()) {
        lines.push(row("", &text!("status-link-resting", until = until.local_text(zone))));
    }
    if let Some(receipt) = link.last_receipt {
        lines.push(row("", &text!("status-link-receipt", time = receipt.local_text(zone))));
    }
    if link.district_silent {
        lines.push(row("", &text!("status-link-silent")));
    }
    if link.last_error.is_some() && link.connected_since.is_none() {
        lines.push(row("", &told(link.notice.as_ref(), link.last_error.as_deref())));
        lines.extend(next_step(link.notice.as_ref()));
    }
    lines
}

/// The notice with its code, or the English detail of an agent whose notices this program does not know.
fn told(notice: Option<&Notice>, detail: Option<&str>) -> String {
    let detail = detail.unwrap_or_default().to_owned();
    let Some(notice) = notice else { return detail };
    match notice.code {
        Some(code) if notice.is_known() => format!("[{code}] {notice}"),
        Some(code) => format!("[{code}] {} ({detail})", code.title()),
        None if notice.is_known() => notice.to_string(),
        None => detail,
    }
}

fn next_step(notice: Option<&Notice>) -> Option<String> {
    let step = notice.filter(|notice| notice.is_known())?.next_step()?;
    Some(row("", &text!("next-step", step = step)))
}

fn time_quality(quality: TimeQuality) -> String {
    match quality {
        TimeQuality::Ntp => text!("status-time-ntp"),
        TimeQuality::Modem => text!("status-time-modem"),
        TimeQuality::Rtc => text!("status-time-rtc"),
        TimeQuality::Floor => text!("status-time-floor"),
        TimeQuality::None => text!("status-time-none"),
    }
}

fn row(title: &str, text: &str) -> String {
    format!("{}{text}", padded(title, TITLE)).trim_end().to_owned()
}

/// Names over as many rows as a terminal of 80 columns needs.
fn wrapped(title: &str, names: &[String]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for (number, name) in names.iter().enumerate() {
        let comma = if number + 1 < names.len() { text!("list-comma") } else { String::new() };
        let current = texts.last_mut().expect("never empty");
        if super::width(current) + super::width(name) + TITLE > 78 {
            texts.push(format!("{name}{comma}"));
        } else {
            *current += &format!("{name}{comma}");
        }
    }
    texts.iter().enumerate().map(|(number, text)| row(if number == 0 { title } else { "" }, text)).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
