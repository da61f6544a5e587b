//! `replay`: recorded videos through the live pipeline's stages, in the video's own time, so that two runs agree.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kitchen_core::alert::{AlertBody, AlertRecord, ClipRef, CloseReason, SnapshotRef};
use kitchen_core::caps::DailyCaps;
use kitchen_core::config::{CameraConfig, Config, Transport};
use kitchen_core::sample::Sampler;
use kitchen_core::time::{Mono, Stamp, TimeQuality, Wall};
use kitchen_core::watch::Violation;
use kitchen_core::wire::{Envelope, MessageId, sha256_hex};
use kitchen_store::{NewClip, NewSnapshot, OpenedAlert};
use kitchen_vision::access_unit::ticks_to_ms;
use kitchen_vision::camera::FileVideo;
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::picture;
use kitchen_vision::privacy_mask::PrivacyMask;
use kitchen_vision::stage_timer::StageTimes;
use serde_json::{Value, json};

use super::{padded, print_json, print_line, record_name, rule_name, width};
use crate::alert_desk::{AlertDesk, DeskCamera, Ledger};
use crate::analysis::{Analysis, Looked};
use crate::cli::{Cli, Exit, ReplayArguments};
use crate::config_file;
use crate::notice::notice;
use crate::pack::{self, Pack};
use crate::pipeline::running_rules;
use crate::snapshot::Photographer;
use crate::text::text;

/// Noon in China: an hour at which nothing is special.
const START: &str = "2026-01-01T04:00:00.000Z";

pub fn run(cli: &Cli, arguments: &ReplayArguments) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).with_context(|| notice!("folder-unmakeable", None, path = folder.display()))?;
    }
    for path in &arguments.files {
        Replay::open(cli, &config, arguments, path)?.run()?;
    }
    Ok(Exit::Done)
}

struct Replay<'a> {
    cli: &'a Cli,
    arguments: &'a ReplayArguments,
    video: FileVideo,
    name: String,
    start: Wall,
    decoder: Decoder,
    sampler: Sampler,
    analysis: Analysis,
    desk: AlertDesk<Printed<'a>>,
    camera: DeskCamera,
    mask: PrivacyMask,
    decoding: StageTimes,
    alerting: StageTimes,
}

impl<'a> Replay<'a> {
    fn open(cli: &'a Cli, config: &Config, arguments: &'a ReplayArguments, path: &Path) -> Result<Self> {
        let video = FileVideo::open(path)?;
        let camera = camera_of(config, path);
        let pack = Pack::load(config)?;
        let rules = running_rules(config, &pack).settings;
        let zone = config.time_zone();
        let start = arguments.start.unwrap_or_else(|| START.parse().expect("the built-in start is a time"));
        let desk_camera =
            DeskCamera { id: camera.id.clone(), rules: rules.clone(), models: pack.models(), recorder: None };
        let name = path.file_stem().map_or_else(|| "video".into(), |stem| stem.to_string_lossy().into_owned());
        let printed = Printed {
            cli,
            out: arguments.out.as_deref(),
            name: name.clone(),
            device: config.device.id.clone(),
            sequence: 0,
            start,
        };
        // A recording of a whole day must not go quiet after twenty alerts: an engineer wants to see all of them.
        let caps = DailyCaps::unlimited();
        Ok(Self {
            cli,
            arguments,
            name,
            start,
            decoder: Decoder::new()?,
            sampler: Sampler::new(camera.analyse_fps),
            analysis: Analysis::new(&camera, &rules, &zone, pack, Mono::ZERO),
            desk: AlertDesk::new(printed, config.clip, zone, caps, Photographer::new(config)),
            camera: desk_camera,
            mask: PrivacyMask::new(&camera.privacy_masks),
            video,
            decoding: StageTimes::default(),
            alerting: StageTimes::default(),
        })
    }

    fn run(mut self) -> Result<()> {
        let began = Instant::now();
        let mut frames = VecDeque::new();
        let mut cut_off = None;
        for unit in self.video.units()? {
            let unit = match unit {
                Ok(unit) => unit,
                // What could be read is replayed to its end before the error is told.
                Err(error) => {
                    cut_off = Some(error);
                    break;
                }
            };
            let sampler = &mut self.sampler;
            let wanted = |pts, _| sampler.take(video_time(pts));
            match self.decoding.measure(|| self.decoder.decode(&unit, wanted)) {
                Ok(decoded) => frames.extend(decoded),
                Err(_) => eprintln!("kitchen-agent: {}", text!("decode-damaged")),
            }
            while let Some(frame) = frames.pop_front() {
                self.look(frame, began)?;
            }
        }
        let sampler = &mut self.sampler;
        for frame in self.decoder.drain(|pts, _| sampler.take(video_time(pts))) {
            self.look(frame, began)?;
        }
        let end = self.stamp(Mono::from_millis(self.video.duration_ms()));
        self.analysis.handle_timeout(end);
        self.take_violations(end);
        if self.arguments.profile {
            self.print_profile(began.elapsed())?;
        }
        cut_off.map_or(Ok(()), |error| Err(error.into()))
    }

    fn look(&mut self, frame: Frame, began: Instant) -> Result<()> {
        let mut frame = self.mask.burn(frame);
        frame.captured = video_time(frame.pts_90k);
        let stamp = self.stamp(frame.captured);
        if self.arguments.real_time {
            let due = Duration::from_millis(frame.captured.as_millis());
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let looked = self.analysis.handle_frame(frame, stamp)?;
        if self.arguments.detections {
            self.print_detections(&looked, stamp)?;
        }
        self.take_violations(stamp);
        Ok(())
    }

    fn take_violations(&mut self, stamp: Stamp) {
        while let Some((violation, sight)) = self.analysis.poll_violation() {
            let key = match &violation {
                Violation::Opened { key, .. } => Some(key.clone()),
                _ => None,
            };
            let desk = &mut self.desk;
            let camera = &self.camera;
            let raised = self.alerting.measure(|| desk.handle_violation(camera, violation, sight.as_ref(), stamp));
            match key.zip(raised) {
                Some((key, true)) => self.analysis.handle_raised(&key, stamp.mono),
                Some((key, false)) => self.analysis.handle_suppressed(&key, stamp.mono),
                None => {}
            }
        }
    }

    fn stamp(&self, at: Mono) -> Stamp {
        let wall = Wall::from_unix_millis(self.start.as_unix_millis().saturating_add_unsigned(at.as_millis()));
        Stamp { mono: at, wall, quality: TimeQuality::Rtc }
    }

    fn print_detections(&self, looked: &Looked, stamp: Stamp) -> Result<()> {
        let Some(detections) = &looked.detections else { return Ok(()) };
        let video_ms = stamp.mono.as_millis();
        let seen = pack::with_attributes(detections, &looked.tracks);
        if self.cli.json {
            let boxes: Vec<Value> = seen.iter().map(super::detect::described).collect();
            print_json(&json!({ "type": "frame", "video_ms": video_ms, "detections": boxes }))?;
        } else {
            let seen: Vec<String> = seen.iter().map(super::detect::in_short).collect();
            print_line(&format!("{:>9.3} s  {}", video_ms as f64 / 1000.0, seen.join(", ")));
        }
        if let Some(folder) = &self.arguments.out {
            let picture = picture::annotate(&looked.frame, detections)?;
            write(&folder.join(format!("{}-{video_ms:08}.jpg", self.name)), &picture.bytes)?;
        }
        Ok(())
    }

    fn print_profile(&self, elapsed: Duration) -> Result<()> {
        let (analysis, detector) = (self.analysis.times(), self.analysis.detector().times());
        let stages = [
            ("decode", self.decoding),
            ("motion", analysis.motion),
            ("letterbox", detector.letterbox),
            ("inference", detector.inference),
            ("detections", detector.decode),
            ("closer", analysis.closer),
            ("attributes", analysis.attributes),
            ("track", analysis.track),
            ("rules", analysis.rules),
            ("alert", self.alerting),
        ];
        let video_s = self.video.duration_ms() as f64 / 1000.0;
        let mean = |times: &StageTimes| times.mean_cpu().as_secs_f64() * 1000.0;
        if self.cli.json {
            let stages: serde_json::Map<String, Value> = stages
                .iter()
                .map(|(name, times)| {
                    let share = times.cpu.as_secs_f64() / video_s;
                    ((*name).to_owned(), json!({ "runs": times.runs, "cpu_ms": mean(times), "core_share": share }))
                })
                .collect();
            return print_json(&json!({
                "type": "profile", "video_s": video_s, "elapsed_s": elapsed.as_secs_f64(),
                "engine": self.analysis.detector().engine_name(), "stages": stages,
            }));
        }
        let heads = [
            (text!("profile-stage"), 0),
            (text!("profile-runs"), 20),
            (text!("profile-cpu"), 14),
            (text!("profile-share"), 22),
        ];
        let head: String = heads.iter().map(|(head, columns)| right(head, *columns)).collect();
        eprintln!("{head}");
        for (name, times) in &stages {
            let share = times.cpu.as_secs_f64() / video_s * 100.0;
            eprintln!("{name:<12}{:>8}{:>14.3}{share:>22.2}", times.runs, mean(times));
        }
        let (video, elapsed) = (format!("{video_s:.1}"), format!("{:.1}", elapsed.as_secs_f64()));
        eprintln!("{}", text!("replay-whole", video = video, elapsed = elapsed));
        Ok(())
    }
}

/// The configured camera whose zones and rate hold for the video: the first, or a plain one.
fn camera_of(config: &Config, path: &Path) -> CameraConfig {
    let plain = || CameraConfig {
        id: "replay".to_owned(),
        url: format!("file://{}", path.display()),
        main_url: None,
        username: None,
        password_file: None,
        transport: Transport::Tcp,
        analyse_fps: 2.0,
        zones: Vec::new(),
        privacy_masks: Vec::new(),
    };
    config.cameras.first().cloned().unwrap_or_else(plain)
}

fn video_time(pts_90k: i64) -> Mono {
    Mono::from_millis(u64::try_from(ticks_to_ms(pts_90k)).unwrap_or(0))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| notice!("file-unwritable", None, path = path.display()))
}

fn close_reason(reason: CloseReason) -> String {
    match reason {
        CloseReason::Cleared => text!("reason-cleared"),
        CloseReason::Lost => text!("reason-lost"),
        CloseReason::Restart => text!("reason-restart"),
    }
}

/// The text with spaces before it.
fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Records printed instead of stored; their ids count from 1.
struct Printed<'a> {
    cli: &'a Cli,
    out: Option<&'a Path>,
    name: String,
    device: String,
    sequence: u64,
    start: Wall,
}

impl Printed<'_> {
    fn next_id(&mut self) -> MessageId {
        self.sequence += 1;
        MessageId { store: "replay".to_owned(), boot: 1, sequence: self.sequence }
    }

    fn print(&self, id: MessageId, record: AlertRecord, stamp: Stamp, body: &AlertBody) -> Result<()> {
        let video_ms = stamp.mono.as_millis();
        if self.cli.json {
            let envelope = Envelope::new(id, record.as_str(), &self.device, stamp, serde_json::to_value(body)?);
            let mut line = serde_json::to_value(&envelope)?;
            line["video_ms"] = json!(video_ms);
            return print_json(&line);
        }
        let began = body.opened_at.as_unix_millis() - self.start.as_unix_millis();
        let or_nothing = |text: Option<String>| text.unwrap_or_default();
        let seconds = |ms: f64| format!("{:.1}", ms / 1000.0);
        print_line(&text!(
            "replay-line",
            at = format!("{:>9.3}", video_ms as f64 / 1000.0),
            record = padded(&record_name(record.as_str()), 8),
            rule = rule_name(body.rule.as_str()),
            id = body.rule,
            zone = or_nothing(body.zone.as_ref().map(|zone| text!("replay-zone", zone = zone))),
            since = seconds(began as f64),
            duration = seconds(body.duration_ms as f64),
            score = or_nothing(body.score.map(|score| text!("replay-score", score = format!("{score:.2}")))),
            reason = or_nothing(body.reason.map(|reason| text!("replay-reason", reason = close_reason(reason)))),
            detail = or_nothing(body.detail.as_ref().map(|detail| text!("replay-detail", detail = detail))),
        ));
        Ok(())
    }
}

impl Ledger for Printed<'_> {
    fn open(&mut self, stamp: Stamp, mut body: AlertBody, snapshot: Option<NewSnapshot>) -> Result<OpenedAlert> {
        let id = self.next_id();
        body.alert_id = Some(id.clone());
        body.snapshot = snapshot.as_ref().map(|snapshot| SnapshotRef {
            sha256: sha256_hex(&snapshot.sent),
            bytes: snapshot.sent.len() as u64,
            original_sha256: sha256_hex(&snapshot.original),
        });
        if let (Some(folder), Some(snapshot)) = (self.out, &snapshot) {
            let name = format!("{}-{:08}-{}.jpg", self.name, stamp.mono.as_millis(), body.rule);
            write(&folder.join(name), &snapshot.sent)?;
        }
        self.print(id.clone(), AlertRecord::Opened, stamp, &body)?;
        Ok(OpenedAlert { alert_id: id, snapshot: body.snapshot })
    }

    fn append(&mut self, stamp: Stamp, _: &MessageId, record: AlertRecord, body: AlertBody) -> Result<()> {
        let id = self.next_id();
        self.print(id, record, stamp, &body)
    }

    fn attach_clip(&mut self, _: Stamp, alert_id: &MessageId, clip: NewClip, _: AlertBody) -> Result<ClipRef> {
        let (sha256, bytes) = (sha256_hex(&clip.bytes), clip.bytes.len() as u64);
        let clip_id = alert_id.to_string();
        Ok(ClipRef {
            clip_id,
            sha256,
            bytes,
            duration_ms: clip.duration_ms,
            start: clip.start,
            reencoded: clip.reencoded,
        })
    }
}
