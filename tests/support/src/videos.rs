//! Videos for the tests: the demo's, and what ffmpeg makes of it. Made once, kept under `target/test-videos`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kitchen_core::wire::sha256_hex;

use crate::program::{repository, run, system, target};

/// x264 as cameras encode: no B-frames, a keyframe every 2 s at 10 frames a second.
const CAMERA: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 0 -g 20 -sc_threshold 0 -an";

/// 30 s of people, 640×360, 10 frames a second, H.264 without B-frames: the demo's video.
#[must_use]
pub fn people() -> PathBuf {
    repository().join("agent/kitchen-agent/demo/people.mp4")
}

/// The first 10 s as the camera coded them: what a clip has.
#[must_use]
pub fn ten_seconds() -> PathBuf {
    from_people("ten_seconds.mp4", "-t 10 -c copy")
}

/// An empty picture for 6 s, then people for 12 s.
#[must_use]
pub fn people_after_a_while() -> PathBuf {
    from_people("people_after_a_while.mp4", &format!("-t 18 -vf tpad=start_duration=6:color=gray {CAMERA}"))
}

/// The first 10 s as H.265, which the agent can't decode.
#[must_use]
pub fn h265() -> PathBuf {
    from_people("h265.mp4", "-t 10 -c:v libx265 -preset ultrafast -x265-params log-level=error -tag:v hvc1 -an")
}

/// The first 10 s with B-frames.
#[must_use]
pub fn b_frames() -> PathBuf {
    from_people("b_frames.mp4", "-t 10 -c:v libx264 -preset veryfast -bf 2 -g 20 -an")
}

/// People for 10 s, then 30 s of a covered lens, then people again.
#[must_use]
pub fn lens_covered() -> PathBuf {
    let cover = "-vf drawbox=color=black:thickness=fill:enable='between(t,10,40)',noise=alls=2:allf=t";
    let input = format!("-stream_loop 1 -i {}", people().display());
    made("lens_covered.mp4", &format!("{input} {cover} -t 50 {CAMERA}"))
}

/// An empty picture for 4 s, then people for 12 s, as four kinds of cameras code them; of the last one 10 s have more
/// bytes than a clip may have.
#[must_use]
pub fn kinds() -> [(&'static str, PathBuf); 4] {
    let late = "-t 16 -vf tpad=start_duration=4:color=gray";
    let x264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -sc_threshold 0 -an";
    let large = format!("{late},scale=1920:1080,fps=15,noise=alls=8:allf=t");
    [
        ("high", from_people("kind_high.mp4", &format!("{late} {x264} -profile:v high -bf 0 -g 20"))),
        ("b-frames", from_people("kind_b_frames.mp4", &format!("{late} {x264} -profile:v high -bf 2 -g 20"))),
        ("baseline", from_people("kind_baseline.mp4", &format!("{late} {x264} -profile:v baseline -g 20"))),
        (
            "large",
            from_people(
                "kind_large.mp4",
                &format!("{large} {x264} -preset ultrafast -bf 0 -g 60 -b:v 3M -maxrate 3M -bufsize 3M"),
            ),
        ),
    ]
}

/// 10 s of a covered lens.
#[must_use]
pub fn covered() -> PathBuf {
    let cover = "-vf drawbox=color=black:thickness=fill,noise=alls=2:allf=t";
    from_people("covered.mp4", &format!("{cover} -t 10 {CAMERA}"))
}

/// People for 5 s, then the same picture for 25 s, without a bit of change: no keyframe comes to encode it anew.
#[must_use]
pub fn frozen() -> PathBuf {
    let freeze = "-t 30 -vf trim=end=5,tpad=stop_mode=clone:stop_duration=25";
    let encode = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 0 -g 300 -sc_threshold 0 -qp 28 -an";
    from_people("frozen.mp4", &format!("{freeze} {encode}"))
}

/// 6 s in which the stream's parameters change each second, as a camera's do whose settings are changed: each second is
/// a segment of its own in a recording.
#[must_use]
pub fn changing_parameters() -> PathBuf {
    let second = |references: u8| {
        let encode = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 0 -g 10 -sc_threshold 0 -an";
        from_people(&format!("references_{references}.h264"), &format!("-t 1 {encode} -refs {references}"))
    };
    let (one, other) = (second(1), second(3));
    let pair = format!("{}|{}", one.display(), other.display());
    made("changing_parameters.mp4", &format!("-f h264 -r 10 -i concat:{pair}|{pair}|{pair} -c copy"))
}

/// Grey noise without anybody.
#[must_use]
pub fn empty_room() -> PathBuf {
    let source = "-f lavfi -i color=gray:size=640x360:rate=10,noise=alls=3:allf=t";
    made("empty_room.mp4", &format!("{source} -t 10 {CAMERA}"))
}

/// The demo's video cut off after `bytes`, as a copy that broke: its index is at the start.
#[must_use]
pub fn truncated(directory: &Path, bytes: usize) -> PathBuf {
    let whole = fs::read(people()).expect("the demo's video is part of the checkout");
    let path = directory.join("truncated.mp4");
    fs::write(&path, &whole[..bytes.min(whole.len())]).expect("a temporary folder takes files");
    path
}

fn from_people(name: &str, arguments: &str) -> PathBuf {
    made(name, &format!("-i {} {arguments}", people().display()))
}

/// Runs ffmpeg unless the same arguments on the same video were run before.
fn made(name: &str, arguments: &str) -> PathBuf {
    let source = fs::read(people()).expect("the demo's video is part of the checkout");
    let key = sha256_hex(format!("{arguments}{}", sha256_hex(&source)).as_bytes());
    let folder = target().join("test-videos");
    let path = folder.join(format!("{}-{name}", &key[..8]));
    if path.exists() {
        return path;
    }
    fs::create_dir_all(&folder).expect("the target folder takes folders");
    // Tests run at once: each makes its own file, the last rename wins, all are alike.
    let unfinished = folder.join(format!("{}-{:?}-{name}", std::process::id(), std::thread::current().id()));
    let mut command = Command::new(system("ffmpeg", "ffmpeg"));
    command.args(["-v", "error", "-nostdin", "-y"]).args(arguments.split(' '));
    command.args(["-movflags", "+faststart"]).arg(&unfinished);
    let _ = run(&mut command).expect_code(0);
    fs::rename(&unfinished, &path).expect("both lie in the same folder");
    path
}
