//! `status`: one screen of what the running agent does.

use std::time::Duration;

use anyhow::Result;
use kitchen_core::time::TimeZone;
use kitchen_core::wire::RuleState;

use super::{print_json, print_line};
use crate::cli::{Cli, Exit};
use crate::status::StatusReport;
use crate::text::text;
use crate::{config_file, control};

const REFRESH: Duration = Duration::from_secs(1);

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
    let mut lines = vec![
        format!("{}  agent {}  {}", report.device, report.agent, text!("status-up", time = duration(report.uptime_s))),
        row("time", &format!("{} ({:?})", report.time.local_text(zone), report.time_quality).to_lowercase()),
    ];
    for camera in &report.cameras {
        let health = &camera.health;
        let detail = camera.detail.as_deref().unwrap_or_default();
        lines.push(row("camera", &format!("{} {}  {detail}", health.id, health.state)));
        lines.push(row("", &camera.address));
        let look = camera.look_ms.map_or_else(String::new, |ms| format!(", last look {ms:.0} ms"));
        let counts =
            format!("{} frames, {} looked at, {} dropped{look}", health.frames, health.analysed, health.dropped);
        lines.push(row("", &counts));
        if camera.lost_packets + camera.damaged > 0 {
            let faults = format!("{} packets lost, {} pictures damaged", camera.lost_packets, camera.damaged);
            lines.push(row("", &faults));
        }
    }
    if let Some(detector) = &report.detector {
        lines.push(row("detector", &format!("{} {} on {}", detector.model, detector.version, detector.engine)));
    }
    for (title, state) in
        [("rules on", RuleState::On), ("off", RuleState::Off), ("unavailable", RuleState::Unavailable)]
    {
        let names: Vec<&str> =
            report.rules.iter().filter(|(_, other)| **other == state).map(|(rule, _)| rule.as_str()).collect();
        lines.push(row(title, &names.join(" ")));
    }
    if let Some(alerts) = report.alerts_today {
        lines.push(row("alerts today", &alerts.to_string()));
    }
    if let Some(outbox) = &report.outbox {
        let oldest = if outbox.count > 0 { format!(", oldest {}", duration(outbox.oldest_s)) } else { String::new() };
        lines.push(row("outbox", &format!("{} messages, {} KB{oldest}", outbox.count, outbox.bytes / 1000)));
    }
    lines.extend(link(report, zone));
    if let Some(disk) = &report.disk {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let text = format!("{:.1} of {:.1} GB free", gigabytes(disk.free_bytes), gigabytes(disk.total_bytes));
        lines.push(row("disk", &text));
    }
    if let Some(temperature) = report.temperature_c {
        lines.push(row("temperature", &format!("{temperature:.0} °C")));
    }
    if let Some(why) = &report.slowed_by {
        lines.push(row("slowed by", why));
    }
    for (stage, count) in &report.restarts {
        lines.push(row("restarted", &format!("{stage} {count} times")));
    }
    lines
}

fn link(report: &StatusReport, zone: &TimeZone) -> Vec<String> {
    let link = &report.link;
    let state = match (link.broker.is_empty(), link.connected_since) {
        (true, _) => "no broker is configured".to_owned(),
        (false, Some(since)) => format!("{} connected since {}", link.broker, since.local_text(zone)),
        (false, None) => format!("{} not connected", link.broker),
    };
    let mut lines = vec![row("link", &state)];
    if let Some(receipt) = link.last_receipt {
        lines.push(row("", &format!("last receipt {}", receipt.local_text(zone))));
    }
    if link.district_silent {
        lines.push(row("", "the district acknowledges nothing"));
    }
    if let Some(error) = link.last_error.as_ref().filter(|_| link.connected_since.is_none()) {
        lines.push(row("", error));
    }
    lines
}

fn row(title: &str, text: &str) -> String {
    format!("{title:<14}{text}")
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
