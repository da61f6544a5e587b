//! What watching one kitchen costs in traffic, by three ways at the same time and from the same video: this agent, all of
//! the stream pushed to the district, and clips of every movement, as Debian's `motion` makes them (apt-get install motion).
//! The bytes of five minutes are measured on a cable or on the disk; those of a year are reckoned from them, as printed.
//! `BYTES_SECONDS` makes it longer or shorter.

#![expect(clippy::print_stdout, reason = "a benchmark's results")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kitchen_core::budget::{TrafficClass, wire_bytes};
use kitchen_test_support::{
    Agent, AgentConfig, District, Mosquitto, Network, Process, RtspCamera, run, system, videos, wait_until,
};

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(1500);
/// A kitchen's hours: what the video shows goes on for so long a day.
const HOURS_A_DAY: f64 = 13.0;
/// At most so many alerts and clips of tiers 2 and 3 a day, as the agent's daily caps allow.
const CAPS: (f64, f64) = (20.0, 6.0);
/// A whole clip, 5 s before and 5 s after the alert's moment.
const CLIP_MS: f64 = 10_000.0;
const YUAN_A_GB: [f64; 2] = [20.0, 290.0];
/// An idle, connected box: what `counting.rs` measures of its parts, times their number in a year.
const IDLE_BYTES_A_DAY: f64 = 51.6e6 / 365.0;

struct Seen {
    bytes: u64,
    protocol: f64,
    alerts: usize,
    pictures: usize,
    clips: usize,
    clip_bytes: f64,
    /// Shown by all clips together: one of an alert at the video's very beginning lacks what came before it.
    clip_ms: f64,
}

fn main() {
    let seconds: u64 = std::env::var("BYTES_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let directory = tempfile::tempdir().expect("a temporary folder");
    let video = looped(directory.path(), seconds);
    let (agent, pushed, clips) = std::thread::scope(|scope| {
        let agent = scope.spawn(|| watched(&video, seconds));
        let pushed = scope.spawn(|| pushed(&video, directory.path(), seconds));
        let clips = scope.spawn(|| clipped(directory.path(), seconds));
        let failed = "a way failed";
        (agent.join().expect(failed), pushed.join().expect(failed), clips.join().expect(failed))
    });
    tell(seconds, &agent, pushed, &clips);
}

/// The demo's video of people, over and over.
fn looped(folder: &Path, seconds: u64) -> PathBuf {
    let path = folder.join("looped.mp4");
    let mut command = Command::new(system("ffmpeg", "ffmpeg"));
    command.args(["-v", "error", "-nostdin", "-y", "-stream_loop", "-1", "-i"]).arg(videos::people());
    command.args(["-t", &seconds.to_string(), "-c", "copy"]).arg(&path);
    let _ = run(&mut command).expect_code(0);
    path
}

/// The agent with every rule as it comes, and intruders looked for at all hours, since that is what the video shows.
fn watched(video: &Path, seconds: u64) -> Seen {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let network = Network::start();
    let broker = Mosquitto::start_at(network.host().into());
    let district = District::start(&broker);
    let config = AgentConfig::new(DEVICE, directory.path())
        .network(&network)
        .uplink(&broker)
        .camera("stove", &format!("file://{}", video.display()))
        .rule("intrusion", "schedule = \"00:00-24:00\"");
    let config = ["smoking", "phone", "animal", "rodent", "no_hat", "no_mask", "no_uniform", "lens_covered"]
        .into_iter()
        .fold(config, |config, rule| config.rule(rule, ""));
    let mut agent = Agent::start(config);
    let until = Instant::now() + Duration::from_secs(seconds);
    wait_until(Duration::from_secs(seconds + 60), "the video is over", || Instant::now() >= until);
    wait_until(BOUND, "nothing waits any more", || {
        let status = agent.command(&["status", "--json"]);
        status.code <= 1 && status.json()["outbox"]["count"] == 0
    });
    let bytes = network.counted_when_quiet(PAUSE, BOUND).ip_bytes();
    let report = agent.command(&["budget", "--json"]).json();
    let of = |class: TrafficClass| report["classes"][class.as_str()]["bytes"].as_f64().unwrap_or(0.0);
    agent.kill();
    Seen {
        bytes,
        protocol: of(TrafficClass::Protocol),
        alerts: district.messages("alert.opened").len(),
        pictures: district.events_of("snapshot").len(),
        clips: district.events_of("clip").len(),
        clip_bytes: of(TrafficClass::Clip),
        clip_ms: district
            .messages("alert.clip")
            .iter()
            .filter_map(|it| it["body"]["clip"]["duration_ms"].as_f64())
            .sum(),
    }
}

/// ffmpeg pushes the stream as it is, over RTSP and TCP, to one that listens.
fn pushed(video: &Path, folder: &Path, seconds: u64) -> u64 {
    let network = Network::start();
    let ffmpeg = system("ffmpeg", "ffmpeg");
    let address = format!("rtsp://{}:8554/stove", network.host());
    let mut receive = Command::new(&ffmpeg);
    receive.args(["-v", "error", "-nostdin", "-rtsp_flags", "listen", "-i", &address, "-c", "copy", "-f", "null", "-"]);
    let _receiver = Process::start("receiver", receive, folder);
    let listens =
        || run(Command::new(system("ss", "iproute2")).args(["-Htln", "sport", "=", ":8554"])).stdout.contains(":8554");
    wait_until(BOUND, "ffmpeg listens", listens);
    let mut push = network.command(&ffmpeg);
    push.args(["-v", "error", "-nostdin", "-re", "-i"]).arg(video);
    push.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", &address]);
    let mut pusher = Process::start("pusher", push, folder);
    wait_until(Duration::from_secs(seconds) + BOUND, "the video is pushed", || pusher.ended().is_some());
    assert!(pusher.ended().is_some_and(|status| status.success()), "{}", pusher.stderr());
    network.counted_when_quiet(PAUSE, BOUND).ip_bytes()
}

/// `motion` with the package's own configuration, told only where the camera is, how large its picture is, and where to
/// write; the sizes of its files.
fn clipped(folder: &Path, seconds: u64) -> Vec<u64> {
    let camera = RtspCamera::start(&[("stove", &videos::people())]);
    let motion = system("motion", "motion");
    let clips = folder.join("motion");
    fs::create_dir_all(&clips).expect("a temporary folder takes folders");
    let own = ["video_device", "width", "height", "log_file", "target_dir", "webcontrol_port", "stream_port"];
    let packaged = fs::read_to_string("/etc/motion/motion.conf").expect("the package's configuration");
    let kept = packaged.lines().filter(|line| !own.iter().any(|key| line.starts_with(key)));
    let text = format!(
        "{}\nnetcam_url {}\nnetcam_userpass {}:{}\nwidth 640\nheight 360\nlog_file {}\ntarget_dir {}\n\
         webcontrol_port 0\nstream_port 0\n",
        kept.collect::<Vec<_>>().join("\n"),
        camera.url("stove"),
        RtspCamera::USER,
        RtspCamera::PASSWORD,
        folder.join("motion.log").display(),
        clips.display()
    );
    let configuration = folder.join("motion.conf");
    fs::write(&configuration, text).expect("a temporary folder takes files");
    let mut command = Command::new(motion);
    command.arg("-n").arg("-c").arg(&configuration);
    let mut process = Process::start("motion", command, folder);
    let until = Instant::now() + Duration::from_secs(seconds);
    wait_until(Duration::from_secs(seconds + 60), "the video is over", || {
        process.assert_running();
        Instant::now() >= until
    });
    let _ = process.terminate(BOUND);
    let files = fs::read_dir(&clips).expect("the folder is there");
    files.map(|file| file.expect("readable").metadata().expect("readable").len()).collect()
}

fn tell(seconds: u64, agent: &Seen, pushed: u64, clips: &[u64]) {
    let days = 365.0;
    let often = HOURS_A_DAY * 3600.0 / seconds as f64;
    let uploaded: u64 = clips.iter().map(|bytes| wire_bytes(*bytes, true)).sum();
    let events = agent.bytes as f64 - agent.protocol;
    let share = |count: usize, most: f64| (most / (count as f64 * often)).min(1.0);
    let texts = events - agent.clip_bytes;
    let moving = agent.clip_bytes * (agent.clips as f64 * CLIP_MS / agent.clip_ms).max(1.0);
    let capped = texts * share(agent.alerts.max(1), CAPS.0) + moving * share(agent.clips.max(1), CAPS.1);
    println!("measured, {seconds} s of video at once by all three:");
    println!(
        "  agent   {:>11} bytes of IP packets: {} alerts, {} pictures, {} clips of {:.1} s; \
         of these clips {:.0}, protocol {:.0}",
        agent.bytes,
        agent.alerts,
        agent.pictures,
        agent.clips,
        agent.clip_ms / 1000.0,
        agent.clip_bytes,
        agent.protocol
    );
    println!("  push    {pushed:>11} bytes of IP packets, RTSP over TCP without TLS");
    println!(
        "  motion  {:>11} bytes in {} files; {uploaded} as uploaded, by the agent's model of TLS and TCP",
        clips.iter().sum::<u64>(),
        clips.len()
    );
    println!("a year: each × {often:.0} a day ({HOURS_A_DAY} h of the video's content), 365 days; the agent's idle");
    println!(
        "connection of all 24 h added, its clips reckoned at 10 s, up to the daily caps of {} alerts and {} clips",
        CAPS.0, CAPS.1
    );
    println!("{:34} {:>12} {:>12} {:>12}", "", "GB a year", "at 20/GB", "at 290/GB");
    let rows = [
        ("agent, idle and connected", 0.0, true),
        ("agent, within its daily caps", capped * often, true),
        ("agent, if there were no caps", (texts + moving) * often, true),
        ("motion, clips of movement", uploaded as f64 * often, false),
        ("stream pushed in kitchen hours", pushed as f64 * often, false),
        ("stream pushed all day", pushed as f64 * 86_400.0 / seconds as f64, false),
    ];
    for (name, a_day, is_agent) in rows {
        let gigabytes = (a_day + if is_agent { IDLE_BYTES_A_DAY } else { 0.0 }) * days / 1e9;
        let yuan = YUAN_A_GB.map(|price| gigabytes * price);
        println!("{name:34} {gigabytes:>12.3} {:>12.2} {:>12.2}", yuan[0], yuan[1]);
    }
}
