//! What becomes of clips that are encoded anew: how near they come to their bytes, how good they look beside x264's of
//! the same bytes (SSIM against what the camera sent), how long it takes, and how much memory.
//! `CLIPS_VIDEOS` names further videos, separated by colons. Exit 1 when a figure is out of its bound.

#![expect(clippy::print_stdout, reason = "a benchmark's results")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use kitchen_core::time::Mono;
use kitchen_test_support::{run, system, videos};
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::camera::FileVideo;
use kitchen_vision::privacy_mask::PrivacyMask;
use kitchen_vision::reencode::{Reencoded, Wanted, reencode};

/// Where in a video its clips begin, and how long they are.
const SPANS_S: [(u64, u64); 3] = [(0, 10), (4, 14), (6, 12)];
/// Of the bytes that the camera's own clip has, at most.
const SHARES: [f32; 4] = [0.8, 0.5, 0.25, 0.12];
const LEAST_BYTES: u64 = 30_000;
/// The aim, and the share of the clips that reach it.
const FILLED: f32 = 0.95;
const LEAST_REACHING: f32 = 0.95;
const LEAST_RATIO: f64 = 0.9;

struct Row {
    filled: f32,
    ratio: Option<f64>,
    took: Duration,
    video_s: f32,
}

fn main() -> ExitCode {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut material: Vec<PathBuf> = vec![videos::people(), videos::b_frames(), videos::lens_covered()];
    material.extend(videos::kinds().into_iter().map(|(_, path)| path));
    let further = std::env::var("CLIPS_VIDEOS").unwrap_or_default();
    material.extend(further.split(':').filter(|path| !path.is_empty()).map(PathBuf::from));
    let mut rows = Vec::new();
    for (video, span) in material.iter().flat_map(|video| SPANS_S.map(|span| (video, span))) {
        let (units, info) = units(video, span);
        let whole: u64 = units.iter().map(|unit| unit.data.len() as u64).sum();
        let ceilings = SHARES.map(|share| ((whole as f32 * share) as u64).min(700_000));
        let mut ceilings: Vec<u64> = ceilings.into_iter().filter(|bytes| *bytes >= LEAST_BYTES).collect();
        ceilings.dedup();
        for (index, max_bytes) in ceilings.into_iter().enumerate() {
            // Looks are compared for one span of each video: x264 and the filter take their time.
            let compared = (span == SPANS_S[0] || index == 0).then_some(directory.path());
            rows.push(measure(video, &units, &info, max_bytes, compared));
        }
    }
    tell(&rows)
}

fn units(video: &Path, (from_s, to_s): (u64, u64)) -> (Vec<AccessUnit>, StreamInfo) {
    let video = FileVideo::open(video).expect("a video");
    let units = video.units().expect("readable").map(|unit| unit.expect("readable"));
    let span = Mono::from_millis(from_s * 1000)..Mono::from_millis(to_s * 1000);
    let within = units.filter(|unit| span.contains(&unit.received)).skip_while(|unit| !unit.keyframe);
    (within.collect(), video.info().clone())
}

fn measure(video: &Path, units: &[AccessUnit], info: &StreamInfo, max_bytes: u64, compared: Option<&Path>) -> Row {
    let name = video.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let began = Instant::now();
    let wanted = Wanted { mask: &PrivacyMask::default(), from: Mono::ZERO, max_bytes };
    let Reencoded { clip, report, .. } = reencode(units, info, &wanted).expect("fits");
    let took = began.elapsed();
    let bytes = clip.bytes.len() as u64;
    assert!(bytes <= max_bytes, "{name}: {bytes} of {max_bytes}");
    let filled = bytes as f32 / max_bytes as f32;
    let every = (report.source_frame_rate / report.frame_rate).round() as u32;
    let looks = compared.map(|folder| {
        let (ours, camera) = (folder.join("ours.mp4"), folder.join("camera.mp4"));
        std::fs::write(&ours, &clip.bytes).expect("a temporary folder takes files");
        let original = kitchen_vision::clip::mux(units, info).expect("muxes");
        std::fs::write(&camera, &original.bytes).expect("a temporary folder takes files");
        let theirs = x264(&camera, (clip.width, clip.height), every, report.frame_rate, bytes, folder);
        (ssim(&ours, &camera, info, every), ssim(&theirs, &camera, info, every))
    });
    let ratio = looks.map(|(ours, theirs)| ours / theirs);
    let looks = looks.map_or_else(String::new, |(ours, theirs)| {
        format!("  SSIM {ours:.4}, x264 {theirs:.4}, ratio {:.4}", ours / theirs)
    });
    println!(
        "{name:38} {bytes:7} of {max_bytes:7} {filled:.3}  {}×{} {:4.1}/s  {} tries {:5.2} s{looks}",
        clip.width,
        clip.height,
        report.frame_rate,
        report.tries,
        took.as_secs_f32()
    );
    Row { filled, ratio, took, video_s: clip.duration_ms as f32 / 1000.0 }
}

/// What x264 makes of the same pictures in the same bytes, in two passes.
fn x264(camera: &Path, size: (u32, u32), every: u32, rate: f32, bytes: u64, folder: &Path) -> PathBuf {
    let made = folder.join("x264.mp4");
    let seconds = kitchen_test_support::ffprobe(camera)["format"]["duration"].as_str().map(str::to_owned);
    let seconds: f64 = seconds.and_then(|seconds| seconds.parse().ok()).expect("a duration");
    let bits = (bytes.saturating_sub(3000) * 8) as f64 / seconds;
    let filter = format!("select=not(mod(n\\,{every})),setpts=N/{rate}/TB,scale={}:{}", size.0, size.1);
    for pass in ["1", "2"] {
        let mut command = Command::new(system("ffmpeg", "ffmpeg"));
        command.args(["-v", "error", "-nostdin", "-y", "-i"]).arg(camera).args(["-vf", &filter]);
        command.args(["-r", &rate.to_string(), "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]);
        command.args([
            "-b:v",
            &format!("{bits:.0}"),
            "-g",
            &format!("{:.0}", rate * 5.0),
            "-pass",
            pass,
            "-passlogfile",
        ]);
        command.arg(folder.join("x264")).arg(&made);
        let _ = run(&mut command).expect_code(0);
    }
    made
}

/// Of the pictures that were kept, in the camera's size.
fn ssim(clip: &Path, camera: &Path, info: &StreamInfo, every: u32) -> f64 {
    let (width, height) = (info.width, info.height);
    let filter = format!(
        "[0:v]setpts=N/10/TB,scale={width}:{height}:flags=bicubic,format=yuv420p[a];\
         [1:v]select=not(mod(n\\,{every})),setpts=N/10/TB,format=yuv420p[b];[a][b]ssim=shortest=1"
    );
    let mut command = Command::new(system("ffmpeg", "ffmpeg"));
    command.args(["-hide_banner", "-nostdin", "-i"]).arg(clip).arg("-i").arg(camera);
    command.args(["-filter_complex", &filter, "-f", "null", "-"]);
    let compared = run(&mut command).expect_code(0);
    let value = compared.stderr.split("SSIM Y:").nth(1).and_then(|rest| rest.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no SSIM in {}", compared.stderr))
}

fn tell(rows: &[Row]) -> ExitCode {
    let used: Vec<f32> = rows.iter().map(|row| row.filled).collect();
    let (least, most) =
        used.iter().fold((f32::MAX, 0.0_f32), |(least, most), used| (least.min(*used), most.max(*used)));
    let ratios: Vec<f64> = rows.iter().filter_map(|row| row.ratio).collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
    let worst = ratios.iter().copied().fold(f64::MAX, f64::min);
    let took: f32 = rows.iter().map(|row| row.took.as_secs_f32()).sum();
    let shown: f32 = rows.iter().map(|row| row.video_s).sum();
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned();
    let reaching = used.iter().filter(|used| **used >= FILLED).count() as f32 / rows.len() as f32;
    println!("{} clips; bytes {least:.3} to {most:.3} of the ceiling", rows.len());
    println!("{:.0} % of them have at least {FILLED} of it (bound {LEAST_REACHING})", reaching * 100.0);
    println!("SSIM beside x264 veryfast: mean ratio {mean:.4}, worst {worst:.4} (bound of the mean {LEAST_RATIO})");
    println!(
        "{:.2} s a clip, {:.2} s a second of video; largest memory {memory}",
        took / rows.len() as f32,
        took / shown
    );
    match reaching >= LEAST_REACHING && mean >= LEAST_RATIO {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
