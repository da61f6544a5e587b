//! The agent's rolling recording from the outside: files, index, commands; killed at random instants, on a full disk,
//! switched off. `RECORDING_KILLS` and `KILL_SEED` in the environment make the run longer, or repeat it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

use kitchen_core::recording::Segment;
use kitchen_store::Store;
use kitchen_test_support::{Agent, AgentConfig, Disk, ffprobe, shown_at_ms, videos, wait_until};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
const BOUND: Duration = Duration::from_secs(120);

fn config(directory: &Path, video: &Path) -> AgentConfig {
    AgentConfig::new(DEVICE, directory)
        .set("recording.enabled", true)
        .camera("stove", &format!("file://{}", video.display()))
}

fn root(directory: &Path) -> PathBuf {
    directory.join("state/recording")
}

/// Files of all cameras, whatever they are called, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let mut all: Vec<PathBuf> = list(&root(directory)).iter().flat_map(|camera| list(camera)).collect();
    all.sort();
    all
}

fn indexed(directory: &Path) -> Vec<PathBuf> {
    let rows = Store::read_only(&directory.join("state/store")).and_then(|reader| reader.recording());
    let path = |segment: &Segment| root(directory).join(&segment.camera).join(segment.file_name());
    let mut all: Vec<PathBuf> = rows.unwrap_or_default().iter().map(path).collect();
    all.sort();
    all
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn clip(agent: &Agent, from: &str, to: &str, out: &Path) -> kitchen_test_support::Finished {
    agent.command(&["camera", "clip", "--from", from, "--to", to, "--out", out.to_str().unwrap(), "--json"])
}

#[test]
fn a_piece_of_the_recording_is_cut_beside_a_running_agent_and_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(config(directory.path(), &videos::people()));
    wait_until(BOUND, "two segments", || files(directory.path()).len() >= 2);
    let out = directory.path().join("clip.mp4");
    wait_until(BOUND, "status tells of the recording", || {
        let status = agent.command(&["status", "--json"]);
        status.code == 0 && status.json()["recording"]["state"] == "on"
    });
    let first = Segment::parse("stove", files(directory.path())[0].file_name().unwrap().to_str().unwrap(), 0).unwrap();
    let second = |after: i64| {
        let wall = kitchen_core::time::Wall::from_unix_millis(first.start.wall.as_unix_millis() + after * 1000);
        wall.to_string()
    };
    let cut = clip(&agent, &second(7), &second(13), &out).expect_code(0).json();
    assert_eq!((cut["camera"].as_str(), cut["lacks_ms"].as_u64()), (Some("stove"), Some(0)), "{cut}");
    let shown = shown_at_ms(&out);
    assert!(shown.len() >= 60 && shown.windows(2).all(|pair| pair[1] - pair[0] == 100), "over a border: {shown:?}");
    let later = agent.command(&["camera", "clip", "stove", "--from", "2020-01-01 08:00", "--to", "2020-01-01 08:01"]);
    assert!(later.code == 1 && later.stderr.contains("there is 20"), "{}", later.stderr);
    let check = agent.command(&["check", "recording", "--json"]).expect_code(0);
    assert!(check.stdout.contains("\"recording\""), "{}", check.stdout);
    let bundle = directory.path().join("bundle.tar.gz");
    let _ = agent.command(&["bundle", "--out", bundle.to_str().unwrap()]);
    assert!(bundle.metadata().unwrap().len() < 200_000, "no video in a bundle");

    assert!(agent.terminate().success());
    assert_eq!(indexed(directory.path()), files(directory.path()), "the last rows are written at the end");
    let cut = clip(&agent, &second(1), &second(4), &out).expect_code(0).json();
    assert_eq!(cut["lacks_ms"], 0, "without an agent: {cut}");
    assert_eq!(ffprobe(&out)["streams"][0]["codec_name"], "h264");
    for (from, to, code) in [("soon", "now", 64), ("1min", "2min", 64), ("3h", "1h", 64)] {
        assert_eq!(clip(&agent, from, to, &out).code, code, "{from} to {to}");
    }
    let unknown = agent.command(&["camera", "clip", "attic", "--from", "2min", "--to", "now"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("stove"), "{}", unknown.stderr);

    // Switched off: nothing is recorded, and what is there stays.
    let kept = files(directory.path());
    let mut agent = Agent::start(config(directory.path(), &videos::people()).set("recording.enabled", false));
    wait_until(BOUND, "the camera is watched", || {
        let status = agent.command(&["status", "--json"]);
        status.code == 0 && status.json()["cameras"][0]["frames"].as_u64() > Some(20)
    });
    let status = agent.command(&["status", "--json"]).json();
    assert_eq!(status["recording"]["state"], "off");
    assert!(status["recording"]["bytes"].as_u64() > Some(0));
    assert_eq!(agent.command(&["check", "recording"]).expect_code(0).stdout.matches("switched off").count(), 1);
    assert!(agent.terminate().success());
    assert_eq!(files(directory.path()), kept);
}

#[test]
fn a_recording_agent_killed_at_random_instants_leaves_whole_segments_and_an_index_that_agrees() {
    let (kills, seed) = (number("RECORDING_KILLS", 8), number("KILL_SEED", u64::from(std::process::id())).max(1));
    println!("RECORDING_KILLS={kills} KILL_SEED={seed}");
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let directory = tempfile::tempdir().unwrap();
    // A segment a second, of two cameras.
    let video = videos::changing_parameters();
    let config = config(directory.path(), &video).camera("door", &format!("file://{}", video.display()));
    let mut agent = Agent::start(config);
    let mut known: Vec<PathBuf> = Vec::new();
    for kill in 0..kills {
        let before = known.len();
        wait_until(BOUND, "a further segment", || files(directory.path()).len() > before);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        sleep(Duration::from_millis(random % 1500));
        agent.kill();
        let all = files(directory.path());
        assert!(known.iter().all(|path| all.contains(path)), "kill {kill}: a finished segment is gone");
        let finished: Vec<PathBuf> = all.into_iter().filter(|path| path.extension().unwrap() == "mp4").collect();
        for path in finished.iter().filter(|path| !known.contains(path)) {
            let packets = &ffprobe(path)["streams"][0]["nb_read_packets"];
            assert!(packets.as_str().is_some_and(|count| count.parse::<u32>().unwrap() >= 1), "{}", path.display());
        }
        known = finished;
        agent.restart();
        wait_until(BOUND, "index and files are brought together", || {
            let rows = indexed(directory.path());
            known.iter().all(|path| rows.contains(path))
        });
    }
    assert!(agent.terminate().success());
    let all = files(directory.path());
    assert!(all.iter().all(|path| path.extension().unwrap() == "mp4"), "no interrupted write is left: {all:?}");
    assert_eq!(indexed(directory.path()), all);
    println!("{kills} kills: {} segments, all readable and indexed", all.len());
}

#[test]
fn a_recording_on_a_small_disk_keeps_a_margin_and_gives_up_only_its_own_oldest() {
    let directory = tempfile::tempdir().unwrap();
    let _disk = Disk::mount(&directory.path().join("state"), "size=20m");
    let mut agent = Agent::start(
        config(directory.path(), &videos::changing_parameters())
            .rule("intrusion", "score = 0.5\nwindow_s = 1\ncool_down_s = 600\nevidence = \"snapshot\""),
    );
    wait_until(BOUND, "a segment", || !files(directory.path()).is_empty());
    let first = files(directory.path())[0].clone();
    // Somebody else takes what is left but a little.
    let filler = directory.path().join("state/somebody's.log");
    let report = agent.command(&["status", "--json"]).json();
    let free = report["disk"]["free_bytes"].as_u64().unwrap();
    fs::write(&filler, vec![b'x'; usize::try_from(free - 1_200_000).unwrap()]).unwrap();
    wait_until(BOUND, "the oldest segment has gone", || !first.exists());
    wait_until(BOUND, "an alert with its picture", || {
        agent.alerts().iter().any(|alert| alert["snapshot"].as_str().is_some_and(|path| Path::new(path).exists()))
    });
    let free = agent.command(&["status", "--json"]).json()["disk"]["free_bytes"].as_u64().unwrap();
    assert!(free >= 500_000, "{free} bytes are free for evidence");
    fs::remove_file(&filler).unwrap();
    wait_until(BOUND, "it goes on", || {
        let status: Value = agent.command(&["status", "--json"]).json();
        status["recording"]["state"] == "on" && files(directory.path()).len() >= 3
    });
    agent.assert_running();
}

#[test]
fn a_recording_that_panics_is_started_again_in_the_middle_of_the_stream() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), &videos::changing_parameters())
        .environment("FAILPOINTS", "recording=30*off->1*panic->off");
    let mut agent = Agent::start(config);
    wait_until(BOUND, "it was started again", || {
        let status = agent.command(&["status", "--json"]);
        status.code <= 1 && status.json()["restarts"]["recording"] == 1
    });
    let before = files(directory.path()).len();
    wait_until(BOUND, "it goes on", || files(directory.path()).len() >= before + 2);
    let status = agent.command(&["status", "--json"]).json();
    assert_eq!(status["restarts"].as_object().unwrap().len(), 1, "nothing else was touched: {}", status["restarts"]);
    agent.assert_running();
}
