//! The recording: whether it goes on, as the running agent tells it; without an agent, what is held.

use std::time::Duration;

use kitchen_core::config::Config;
use kitchen_store::{HeldRecording, Store};

use super::Finding;
use crate::command::duration;
use crate::control::AgentState;
use crate::fault::Fault;
use crate::recording::RecordingReport;
use crate::status::StatusReport;
use crate::text::text;

/// A segment takes up to two minutes where a camera sends few keyframes, before it is written.
const OLD: Duration = Duration::from_secs(240);

pub(super) fn look(config: &Config, agent: &AgentState) -> Finding {
    if !config.recording.enabled {
        return Finding::absent(text!("check-recording-off"));
    }
    match agent {
        AgentState::Up(report) => told(report),
        _ => Finding::absent(without_agent(config)),
    }
}

fn told(report: &StatusReport) -> Finding {
    let expected = text!("check-recording-expected");
    let fails = |found: String| Finding::fail(Fault::RecordingFails, found, expected.clone());
    let Some(recording) = report.recording.as_ref().filter(|recording| recording.state != "off") else {
        return fails(text!("check-recording-none"));
    };
    let (held, gigabytes) = amount(recording);
    if recording.state != "on" {
        let fault = recording.notice.as_ref().and_then(|notice| notice.code).unwrap_or(Fault::RecordingFails);
        let found = recording.notice.as_ref().map_or_else(|| recording.state.clone(), ToString::to_string);
        return Finding::fail(fault, found, expected);
    }
    let age = |camera: &crate::recording::CameraRecordingReport| {
        let ms = camera.newest.map(|newest| report.time.as_unix_millis().saturating_sub(newest.as_unix_millis()));
        ms.map_or(report.uptime_s, |ms| u64::try_from(ms / 1000).unwrap_or(0)).min(report.uptime_s)
    };
    let is_online =
        |id: &str| report.cameras.iter().any(|camera| camera.health.id == id && camera.health.state == "online");
    let online: Vec<_> = recording.cameras.iter().filter(|camera| is_online(&camera.id)).collect();
    if let Some(late) = online.iter().find(|camera| age(camera) > OLD.as_secs()) {
        return fails(text!("check-recording-old", camera = late.id, age = duration(age(late))));
    }
    let (gaps, dropped) =
        recording.cameras.iter().fold((0, 0), |sum, camera| (sum.0 + camera.gaps, sum.1 + camera.dropped));
    if gaps > 0 {
        let found = text!("check-recording-gaps", gaps = gaps, dropped = dropped);
        return Finding::warn(Fault::RecordingFails, found, expected);
    }
    match online.iter().map(|camera| age(camera)).max().filter(|_| recording.bytes > 0) {
        Some(age) => {
            Finding::ok(text!("check-recording-good", held = held, gigabytes = gigabytes, age = duration(age)))
        }
        None => Finding::ok(text!("check-recording-young", held = held, gigabytes = gigabytes)),
    }
}

fn amount(recording: &RecordingReport) -> (String, String) {
    let held_s = recording.cameras.iter().map(|camera| camera.held_s).sum();
    (duration(held_s), format!("{:.1}", recording.bytes as f64 / 1e9))
}

fn without_agent(config: &Config) -> String {
    let reader = Store::read_only(&config.device.state_dir.join("store"));
    let held = reader.and_then(|reader| reader.recording_held()).unwrap_or_default();
    let sum = |of: fn(&HeldRecording) -> u64| held.iter().map(of).sum::<u64>();
    let gigabytes = format!("{:.1}", sum(|held| held.bytes) as f64 / 1e9);
    let held_text = duration(sum(|held| held.duration_ms) / 1000);
    text!("check-recording-no-agent", held = held_text, gigabytes = gigabytes)
}
