//! `camera clip`: a piece of the local recording as MP4, with or without a running agent.

use anyhow::{Context as _, Result};
use kitchen_core::config::Config;
use kitchen_core::time::Wall;
use kitchen_core::time_text;
use kitchen_store::Store;
use serde_json::json;
use tracing::warn;

use super::camera::configured;
use super::{print_json, print_line, refused};
use crate::cli::{Cli, ClipArguments, Exit};
use crate::footage::{CutError, Footage, LONGEST};
use crate::notice::notice;
use crate::text::text;
use crate::{clock, config_file, recording};

pub fn run(cli: &Cli, arguments: &ClipArguments) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let camera = match &arguments.camera {
        // One that is no longer configured may still be recorded.
        Some(id) => id.clone(),
        None => configured(&config, None)?.id.clone(),
    };
    let (zone, now) = (config.time_zone(), clock::now());
    let mut times = Vec::new();
    for text in [&arguments.from, &arguments.to] {
        match time_text::parse(text, now, &zone) {
            Ok(time) => times.push(time),
            Err(_) => return Ok(refused(&text!("camera-clip-no-time", text = text), Exit::WrongUse)),
        }
    }
    let footage = footage(&config)?;
    let local = |time: Wall| time.local_text(&zone);
    let cut = match footage.clip(&camera, times[0], times[1]) {
        Ok(cut) => cut,
        Err(error) => {
            let (said, exit) = match &error {
                CutError::Backwards => (text!("camera-clip-backwards"), Exit::WrongUse),
                CutError::TooLong => (text!("camera-clip-too-long", minutes = LONGEST.as_secs() / 60), Exit::WrongUse),
                CutError::NothingHeld { .. } if config.cameras.iter().all(|known| known.id != camera) => {
                    let ids = config.cameras.iter().map(|known| known.id.as_str()).collect::<Vec<_>>().join(" ");
                    (text!("camera-unknown", id = camera, ids = ids), Exit::ProblemFound)
                }
                CutError::NothingHeld { .. } => {
                    (text!("camera-clip-nothing-held", camera = camera), Exit::ProblemFound)
                }
                CutError::NothingThen { oldest, newest, .. } => {
                    let (oldest, newest) = (local(*oldest), local(*newest));
                    let text = text!("camera-clip-nothing-then", camera = camera, oldest = oldest, newest = newest);
                    (text, Exit::ProblemFound)
                }
                CutError::Mux(_) => return Err(error.into()),
            };
            return Ok(refused(&said, exit));
        }
    };
    let out = &arguments.out;
    std::fs::write(out, &cut.clip.bytes).with_context(|| notice!("file-unwritable", None, path = out.display()))?;
    let clip = &cut.clip;
    let lacks_ms = u64::try_from(cut.lacks.as_millis())?;
    if cli.json {
        print_json(&json!({
            "camera": camera, "file": out, "bytes": clip.bytes.len(), "start": cut.start,
            "time_quality": cut.quality, "duration_ms": clip.duration_ms, "lacks_ms": lacks_ms,
            "width": clip.width, "height": clip.height, "codec": clip.codec,
        }))?;
        return Ok(Exit::Done);
    }
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1000.0);
    let (path, start, kilobytes) = (out.display(), local(cut.start), clip.bytes.len().div_ceil(1000));
    let length = seconds(clip.duration_ms);
    print_line(&text!("camera-clip-written", path = path, start = start, seconds = length, kilobytes = kilobytes));
    // Less than a picture or two is no loss.
    if lacks_ms >= 1000 {
        print_line(&format!("! {}", text!("camera-clip-lacks", seconds = seconds(lacks_ms))));
    }
    Ok(Exit::Done)
}

/// What is recorded. An index that can't be read is no reason to have none: the files have their names.
fn footage(config: &Config) -> Result<Footage> {
    let indexed = Store::read_only(&config.device.state_dir.join("store")).and_then(|reader| reader.recording());
    let indexed = indexed.unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "no index of the recording, its files are read");
        Vec::new()
    });
    Ok(Footage::new(&recording::folder(config), indexed)?)
}
