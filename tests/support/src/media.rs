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

/// What every player wants of a clip: decodes without a warning, begins at 0 with a keyframe, no time comes twice or
/// goes back, and the index lies before the pictures.
#[track_caller]
pub fn assert_plays_from_the_start(path: &Path) {
    let mut decoding = Command::new(system("ffmpeg", "ffmpeg"));
    decoding.args(["-v", "warning", "-nostdin", "-i"]).arg(path).args(["-f", "null", "-"]);
    let decoded = run(&mut decoding).expect_code(0);
    assert_eq!(decoded.stderr, "", "{}", path.display());
    let mut command = Command::new(system("ffprobe", "ffmpeg"));
    let entries = ["-select_streams", "v", "-show_entries", "packet=pts,dts,flags", "-of", "json"];
    command.args(["-v", "warning"]).args(entries).arg(path);
    let probed = run(&mut command).expect_code(0);
    assert_eq!(probed.stderr, "", "{}", path.display());
    let packets = probed.json()["packets"].as_array().cloned().expect("a list");
    assert!(packets[0]["flags"].as_str().is_some_and(|flags| flags.starts_with('K')), "{}", packets[0]);
    let times =
        |name: &str| -> Vec<i64> { packets.iter().map(|packet| packet[name].as_i64().expect("a time")).collect() };
    let mut shown = times("pts");
    shown.sort_unstable();
    assert_eq!(shown[0], 0, "it does not begin at 0");
    for times in [shown, times("dts")] {
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "a time comes twice or goes back: {times:?}");
    }
    let bytes = std::fs::read(path).expect("the clip is there");
    let place = |name: &[u8]| bytes.windows(4).position(|window| window == name);
    assert!(place(b"moov") < place(b"mdat"), "the index lies behind the pictures");
}
