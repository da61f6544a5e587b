//! What the whole agent costs on this machine, with a real camera, broker and district's end: memory, processor time
//! before an idle and before a busy scene, what is written to the disk before an idle one, what recording adds, and how
//! long an alert is on its way. Exit 1 when a cost is over its bound.

#![expect(clippy::print_stdout, reason = "a benchmark's results")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kitchen_core::time::Wall;
use kitchen_test_support::{Agent, AgentConfig, District, Mosquitto, RtspCamera, videos};
use serde_json::Value;

const BUSY: &str = "mh07-000001";
const IDLE: &str = "mh07-000002";
const PROMPT: &str = "mh07-000003";
const RECORDING: &str = "mh07-000004";
const WARM_UP: Duration = Duration::from_secs(15);
const SPAN: Duration = Duration::from_secs(60);
const ALERTS: usize = 5;
const BOUND: Duration = Duration::from_secs(180);
const INTRUSION: &str =
    "score = 0.5\nwindow_s = 2\ncool_down_s = 1\nevidence = \"snapshot\"\nschedule = \"00:00-24:00\"";

const LARGEST_MEMORY_MB: f64 = 150.0;
/// A fifth is the aim and was measured (0.20 to 0.22); decoding alone is two thirds of an idle scene's cost.
const IDLE_OF_BUSY: f64 = 0.25;
const WRITTEN_A_DAY_MB: f64 = 50.0;
const LONGEST_WAY_MS: u64 = 1000;
/// A processor that others use too is never quite fair to both.
const RECORDING_OF_BUSY: f64 = 1.15;
const WRITTEN_PER_BYTE: f64 = 1.05;

fn main() -> ExitCode {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let camera = RtspCamera::start(&[
        ("busy", &videos::people()),
        ("idle", &videos::empty_room()),
        ("prompt", &videos::people_after_a_while()),
    ]);
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let start = |device: &str, view: &str| {
        let folder = directory.path().join(device);
        std::fs::create_dir_all(&folder).expect("a temporary folder takes folders");
        let config = AgentConfig::new(device, &folder)
            .set("recording.enabled", device == RECORDING)
            // As the service sets it.
            .environment("MALLOC_ARENA_MAX", "1")
            .rtsp_camera("stove", &camera.url(view));
        Agent::start(config.uplink(&broker).rule("intrusion", INTRUSION))
    };

    // Side by side, so that a noisy machine is as noisy for both.
    let (busy, idle, recording) = (start(BUSY, "busy"), start(IDLE, "idle"), start(RECORDING, "busy"));
    std::thread::sleep(WARM_UP);
    let before = [&busy, &idle, &recording].map(|agent| cpu(agent.id()));
    let written_before = written_bytes(&idle);
    std::thread::sleep(SPAN);
    let after = [&busy, &idle, &recording].map(|agent| cpu(agent.id()));
    let [busy_cpu, idle_cpu, recording_cpu] =
        [0, 1, 2].map(|at| (after[at] - before[at]).as_secs_f64() / SPAN.as_secs_f64());
    let memory = [&busy, &idle, &recording].map(|agent| largest_memory_mb(agent.id()));
    let recorded = recorded_bytes(&recording);
    let per_byte = (written_bytes(&recording) - written_bytes(&busy)) / recorded;
    // The time saved every ten minutes may fall into the span, and then counts for more than it is.
    let written_a_day_mb = (written_bytes(&idle) - written_before) / SPAN.as_secs_f64() * 86_400.0 / 1e6;
    drop((busy, idle, recording));

    let _prompt = start(PROMPT, "prompt");
    let mut ways = Vec::new();
    let began = std::time::Instant::now();
    while ways.len() < ALERTS && began.elapsed() < BOUND {
        district.wait_for(BOUND, "an alert of the third box", |_| true);
        let alerts = district.messages("alert.opened").into_iter().filter(|alert| alert["device"] == PROMPT);
        let now = now();
        ways.extend(alerts.skip(ways.len()).map(|alert| now.as_unix_millis().abs_diff(satisfied_at(&alert))));
        std::thread::sleep(Duration::from_millis(10));
    }
    let longest = ways.iter().max().copied();

    println!("processor, busy scene {:.1} % of a core", busy_cpu * 100.0);
    println!(
        "processor, idle scene {:.1} % of a core, {:.2} of busy (bound {IDLE_OF_BUSY})",
        idle_cpu * 100.0,
        idle_cpu / busy_cpu
    );
    println!("written when idle     {written_a_day_mb:.0} MB a day (bound {WRITTEN_A_DAY_MB} MB)");
    println!(
        "largest memory        {:.0} MB busy, {:.0} MB idle, {:.0} MB recording (bound {LARGEST_MEMORY_MB} MB)",
        memory[0], memory[1], memory[2]
    );
    println!("recording             {:.2} of busy (bound {RECORDING_OF_BUSY})", recording_cpu / busy_cpu);
    println!("written by recording  {per_byte:.3} bytes a byte of its files (bound {WRITTEN_PER_BYTE})");
    println!("window satisfied → alert at the district, ms: {ways:?} (bound {LONGEST_WAY_MS})");
    let holds = memory.iter().all(|&mb| mb <= LARGEST_MEMORY_MB)
        && idle_cpu <= IDLE_OF_BUSY * busy_cpu
        && written_a_day_mb <= WRITTEN_A_DAY_MB
        && recording_cpu <= RECORDING_OF_BUSY * busy_cpu
        && per_byte <= WRITTEN_PER_BYTE
        && longest.is_some_and(|longest| longest <= LONGEST_WAY_MS);
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When the look was captured that satisfied the window, in Unix milliseconds.
fn satisfied_at(opened: &Value) -> i64 {
    let body = &opened["body"];
    let opened_at: Wall = body["opened_at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    opened_at.as_unix_millis() + body["duration_ms"].as_i64().expect("a duration")
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Wall::from_unix_millis(i64::try_from(since.as_millis()).expect("before the year 292 million"))
}

fn written_bytes(agent: &Agent) -> f64 {
    agent.command(&["status", "--json"]).json()["written_bytes"].as_f64().expect("the kernel counts it")
}

/// Of the files that it has written.
fn recorded_bytes(agent: &Agent) -> f64 {
    agent.command(&["status", "--json"]).json()["recording"]["written_bytes"].as_f64().expect("it records")
}

/// Processor time of the process since its start, user and system.
fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).expect("it runs");
    // The name in parentheses may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks = [11, 12].map(|at| fields[at].parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.iter().sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second())
}

fn largest_memory_mb(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1000.0
}
