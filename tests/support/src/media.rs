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

/// The times at which a video's frames are shown, in the order in which a player shows them; panics when one of them
/// can't be decoded.
#[must_use]
#[track_caller]
pub fn shown_at_ms(path: &Path) -> Vec<i64> {
    let mut command = Command::new(system("ffprobe", "ffmpeg"));
    let shown = ["-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0"];
    command.args(["-v", "error"]).args(shown).arg(path);
    let shown = run(&mut command).expect_code(0);
    assert_eq!(shown.stderr, "", "{}", path.display());
    // A frame with side data has a second, empty line.
    let times = shown.stdout.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty());
    #[expect(clippy::cast_possible_truncation, reason = "a clip of some seconds")]
    times.map(|time| (time.parse::<f64>().expect("a time in seconds") * 1000.0).round() as i64).collect()
}
