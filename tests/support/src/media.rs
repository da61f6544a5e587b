//! What a media file holds, as ffprobe tells it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{run, system};

/// Format and streams of a file, packets counted; panics when it is no media file.
#[must_use]
#[track_caller]
pub fn ffprobe(path: &Path) -> Value {
    let mut command = Command::new(system("ffprobe", "ffmpeg"));
    command.args(["-v", "error", "-count_packets", "-show_format", "-show_streams", "-of", "json"]).arg(path);
    run(&mut command).expect_code(0).json()
}
