//! `camera probe` and `camera snapshot`: what an installer wants to know of a camera before he leaves.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kitchen_core::config::{CameraConfig, Config, Transport};
use kitchen_core::time::Wall;
use kitchen_vision::camera::{CameraError, CameraSource};
use kitchen_vision::picture;
use kitchen_vision::privacy_mask::PrivacyMask;
use serde_json::{Value, json};

use super::{print_json, print_line};
use crate::camera_measure::{Measured, Patience, measure};
use crate::cli::{Cli, Exit, Problem};
use crate::text::text;
use crate::{check, clock, config_file};

const PROBE: Patience = Patience { least: Duration::from_secs(5), intervals: 3, most: Duration::from_secs(16) };
const GREETING: Duration = Duration::from_secs(5);
const LONG_INTERVAL: Duration = Duration::from_secs(4);
const CLOCK_OFF_S: f64 = 5.0;

pub fn probe(cli: &Cli, camera: &str, username: Option<&str>, password_file: Option<&Path>) -> Result<Exit> {
    let (config, clip) = if camera.contains("://") {
        let config = CameraConfig {
            id: "probe".to_owned(),
            url: camera.to_owned(),
            main_url: None,
            username: username.map(str::to_owned),
            password_file: password_file.map(Path::to_owned),
            transport: Transport::Tcp,
            analyse_fps: 2.0,
            zones: Vec::new(),
            privacy_masks: Vec::new(),
        };
        (config, kitchen_core::config::ClipConfig::default())
    } else {
        let config = config_file::load(cli)?;
        (configured(&config, Some(camera))?.clone(), config.clip)
    };
    let source = CameraSource::new(&config, config_file::password(&config)?)?;
    progress(&text!("camera-probing", address = source.address(), seconds = PROBE.most.as_secs()));
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let greeting = source.greet(GREETING).await?;
        let asked = clock::now();
        Ok((
            Box::pin(measure(&source, &PrivacyMask::new(&config.privacy_masks), PROBE)).await?,
            greeting.time.map(|time| offset_s(time, asked)),
        ))
    });
    runtime.shutdown_background();
    progress("");
    match outcome {
        Ok((measured, offset_s)) => {
            let budget = clip.max_bytes as f64 * 8.0 / 1000.0 / f64::from(clip.pre_s + clip.post_s).max(1.0);
            tell(cli, &source, &measured, offset_s, budget)
        }
        Err(error) => tell_unusable(cli, &source, &error),
    }
}

pub fn snapshot(cli: &Cli, camera: Option<&str>, out: &Path) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let camera = configured(&config, camera)?;
    let source = CameraSource::new(camera, config_file::password(camera)?)?;
    progress(&text!("camera-opening", address = source.address()));
    let runtime = runtime()?;
    let mask = PrivacyMask::new(&camera.privacy_masks);
    let measured = runtime.block_on(async { Box::pin(measure(&source, &mask, Patience::ONE_PICTURE)).await });
    runtime.shutdown_background();
    progress("");
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => return tell_unusable(cli, &source, &error),
    };
    let frame = measured.picture.with_context(|| text!("camera-no-picture")).context(Problem)?;
    let jpeg = picture::clean(&frame)?;
    std::fs::write(out, &jpeg.bytes).with_context(|| text!("camera-unwritable", path = out.display()))?;
    if cli.json {
        let bytes = jpeg.bytes.len();
        print_json(&json!({
            "camera": camera.id, "file": out, "width": jpeg.width, "height": jpeg.height, "bytes": bytes,
        }))?;
    } else {
        let size = format!("{}×{}", jpeg.width, jpeg.height);
        print_line(&text!("camera-snapshot", path = out.display(), size = size));
    }
    Ok(Exit::Done)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// One line on a terminal, replaced by the next one.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}

pub fn configured<'a>(config: &'a Config, id: Option<&str>) -> Result<&'a CameraConfig> {
    let ids = || config.cameras.iter().map(|camera| camera.id.as_str()).collect::<Vec<_>>().join(" ");
    match (id, config.cameras.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => bail!(text!("camera-which", ids = ids())),
        (Some(id), cameras) => {
            let found = cameras.iter().find(|camera| camera.id == id);
            found.with_context(|| text!("camera-unknown", id = id, ids = ids())).context(Problem)
        }
    }
}

/// How far the camera's clock is ahead of the box's.
fn offset_s(camera: Wall, own: Wall) -> f64 {
    // The header has whole seconds: on average half a second is missing.
    (camera.as_unix_millis() + 500 - own.as_unix_millis()) as f64 / 1000.0
}

fn tell(
    cli: &Cli,
    source: &CameraSource,
    measured: &Measured,
    offset_s: Option<f64>,
    budget_kbps: f64,
) -> Result<Exit> {
    let advice = advice(measured, offset_s, budget_kbps);
    let verdict = if advice.is_empty() { "good" } else { "usable" };
    let seconds = |duration: &Duration| (duration.as_secs_f64() * 100.0).round() / 100.0;
    let info = &measured.info;
    let intervals = &measured.keyframe_intervals;
    let mean = intervals.iter().sum::<Duration>().checked_div(u32::try_from(intervals.len())?);
    if cli.json {
        let mut value = json!({
            "address": source.address(), "encoding": "H.264", "codec": info.codec,
            "width": info.width, "height": info.height,
            "frame_rate": (measured.rate() * 10.0).round() / 10.0,
            "kilobits_per_second": measured.kilobits_a_second().round(),
            "keyframe_intervals_s": intervals.iter().map(seconds).collect::<Vec<_>>(),
            "b_frames": measured.has_b_frames, "irregular_keyframes": measured.is_irregular(),
            "lost_packets": measured.lost_packets, "damaged": measured.damaged,
            "verdict": verdict,
            "advice": advice.iter().map(|(key, text)| json!({ "name": key, "text": text })).collect::<Vec<Value>>(),
        });
        if let Some(mean) = mean {
            value["keyframe_interval_s"] = json!(seconds(&mean));
        }
        if let Some(offset_s) = offset_s {
            value["clock_offset_s"] = json!(offset_s);
        }
        print_json(&value)?;
        return Ok(Exit::Done);
    }
    print_line(&source.address());
    let rate = format!("{:.1}", measured.rate());
    print_line(&text!("camera-stream", codec = info.codec, width = info.width, height = info.height, rate = rate));
    let keyframes = mean.map_or_else(|| "?".to_owned(), |mean| format!("{:.1}", mean.as_secs_f64()));
    let kilobits = format!("{:.0}", measured.kilobits_a_second());
    print_line(&text!("camera-weight", kilobits = kilobits, keyframes = keyframes));
    if let Some(offset_s) = offset_s {
        print_line(&text!("camera-clock", seconds = format!("{offset_s:+.1}")));
    }
    if advice.is_empty() {
        print_line(&text!("camera-good"));
    }
    advice.iter().for_each(|(_, text)| print_line(&format!("! {text}")));
    Ok(Exit::Done)
}

fn advice(measured: &Measured, offset_s: Option<f64>, budget_kbps: f64) -> Vec<(&'static str, String)> {
    let mut advice = Vec::new();
    let longest = measured.longest_without_keyframe;
    if measured.is_irregular() {
        advice.push(("smart_codec", text!("camera-advice-smart")));
    } else if longest > LONG_INTERVAL {
        let seconds = format!("{:.1}", longest.as_secs_f64());
        advice.push(("keyframe_interval", text!("camera-advice-keyframes", seconds = seconds)));
    }
    if measured.has_b_frames {
        advice.push(("b_frames", text!("camera-advice-b-frames")));
    }
    if measured.kilobits_a_second() > budget_kbps {
        let limit = format!("{:.0}", (budget_kbps / 50.0).floor() * 50.0);
        advice.push(("bit_rate", text!("camera-advice-bit-rate", kilobits = limit)));
    }
    if !(7.5..26.0).contains(&measured.rate()) {
        advice.push(("frame_rate", text!("camera-advice-rate")));
    }
    if measured.lost_packets + measured.damaged > 0 {
        advice.push(("damage", text!("camera-advice-damage")));
    }
    if let Some(offset_s) = offset_s.filter(|offset| offset.abs() > CLOCK_OFF_S) {
        advice.push(("clock", text!("camera-advice-clock", seconds = format!("{offset_s:+.0}"))));
    }
    advice
}

fn tell_unusable(cli: &Cli, source: &CameraSource, error: &CameraError) -> Result<Exit> {
    let fault = check::fault_of_camera(error);
    if cli.json {
        print_json(&json!({
            "address": source.address(), "verdict": "unusable", "code": fault,
            "problem": error.to_string(), "next_step": fault.next_step(),
        }))?;
    } else {
        print_line(&source.address());
        print_line(&format!("✗ {fault} {}", fault.title()));
        print_line(&format!("    {}", text!("check-line-found", text = error)));
        print_line(&format!("  → {}", fault.next_step()));
    }
    Ok(Exit::ProblemFound)
}
