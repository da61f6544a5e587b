//! Clips as evidence: whatever the camera's coding, the district's clip plays everywhere, shows how it began, has no
//! more bytes than it may have, and hides what a privacy mask hides.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use kitchen_core::time::Wall;
use kitchen_test_support::{
    Agent, AgentConfig, Browser, District, Mosquitto, RtspCamera, assert_plays_from_the_start, ffprobe, videos,
};
use serde_json::{Value, json};

/// For a clip that is encoded anew on a busy machine.
const BOUND: Duration = Duration::from_secs(180);
const MAX_BYTES: u64 = 400_000;
const PRE_S: i64 = 3;
const POST_S: i64 = 3;
/// The upper left corner of the camera `masked`.
const MASK: [[f64; 2]; 4] = [[0.0, 0.0], [0.25, 0.0], [0.25, 0.25], [0.0, 0.25]];

/// The mean and the spread of the luma at some seconds, in the whole picture and below the mask; then it plays.
const LOOK: &str = r#"
(async () => {
    const video = document.querySelector('video');
    video.muted = true;
    if (video.readyState < 2) {
        await new Promise((loaded, failed) => {
            video.onloadeddata = loaded;
            video.onerror = () => failed(new Error(video.error.message));
        });
    }
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const spread = (x, y, width, height) => {
        const data = context.getImageData(x, y, width, height).data;
        let [sum, squares, count] = [0, 0, 0];
        for (let i = 0; i < data.length; i += 4, count++) {
            sum += data[i + 1];
            squares += data[i + 1] * data[i + 1];
        }
        return { mean: sum / count, spread: Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2)) };
    };
    const look = async second => {
        video.pause();
        const shown = new Promise(done => video.requestVideoFrameCallback(done));
        video.currentTime = second;
        await shown;
        context.drawImage(video, 0, 0);
        const [width, height] = [canvas.width >> 2, canvas.height >> 2];
        return { all: spread(0, 0, canvas.width, canvas.height), corner: spread(4, 4, width - 8, height - 8) };
    };
    const looks = [];
    for (const second of SECONDS) looks.push(await look(second));
    video.currentTime = 0;
    await video.play();
    await new Promise(done => { video.ontimeupdate = () => { if (video.currentTime > 0.5) done(); }; });
    return { duration: video.duration, looks };
})()"#;

struct Clip {
    path: std::path::PathBuf,
    /// Into the clip.
    began_s: f64,
    duration_s: f64,
    reencoded: bool,
}

fn clip_of(district: &mut District, camera: &str) -> Clip {
    let record = district.wait_for_message(BOUND, "alert.clip", |record| record["body"]["camera"] == camera);
    let body = &record["body"];
    assert_eq!(body["clip_status"], "attached", "{record:#}");
    let arrived =
        district.wait_for(BOUND, "the clip", |event| event["event"] == "clip" && event["alert_id"] == body["alert_id"]);
    let time = |value: &Value| value.as_str().unwrap().parse::<Wall>().unwrap().as_unix_millis();
    let reencoded = body["clip"].get("reencoded").is_some_and(|reencoded| reencoded == true);
    assert!(body["clip"].get("reencoded").is_none_or(|reencoded| reencoded == true), "absent when false: {record:#}");
    Clip {
        path: district.file(arrived["path"].as_str().unwrap()),
        began_s: (time(&body["opened_at"]) - time(&body["clip"]["start"])) as f64 / 1000.0,
        duration_s: body["clip"]["duration_ms"].as_f64().unwrap() / 1000.0,
        reencoded,
    }
}

fn look(browser: &mut Browser, clip: &Path, seconds: &[f64]) -> Value {
    browser.open(clip.to_str().unwrap());
    browser.evaluate(&LOOK.replace("SECONDS", &json!(seconds).to_string()))
}

#[test]
fn every_camera_s_clip_plays_at_the_district_and_shows_how_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let kinds = videos::kinds();
    let mut mounts: Vec<(&str, &Path)> = kinds.iter().map(|(kind, path)| (*kind, path.as_path())).collect();
    mounts.push(("masked", kinds[1].1.as_path()));
    let camera = RtspCamera::start(&mounts);
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let config = AgentConfig::new("mh07-000123", directory.path())
        .uplink(&broker)
        .rule("intrusion", "score = 0.5\nwindow_s = 2\ncool_down_s = 600\nschedule = \"00:00-24:00\"")
        .set("clip.pre_s", PRE_S)
        .set("clip.post_s", POST_S)
        .set("clip.max_bytes", MAX_BYTES.cast_signed());
    let config = mounts.iter().fold(config, |config, (kind, _)| match *kind {
        // What is larger than a clip may be can only have come from the main stream.
        "large" => config.rtsp_camera(kind, &camera.url("high")).main_stream(&camera.url(kind)),
        _ => config.rtsp_camera(kind, &camera.url(kind)),
    });
    let mut agent = Agent::start(config.privacy_mask(&MASK));

    let mut browser = Browser::start();
    for (kind, _) in &mounts {
        let clip = clip_of(&mut district, kind);
        assert_plays_from_the_start(&clip.path);
        assert!(std::fs::metadata(&clip.path).unwrap().len() <= MAX_BYTES, "{kind}");
        assert_eq!(clip.reencoded, ["large", "masked"].contains(kind), "{kind}");
        let least = (PRE_S + POST_S) as f64 - 0.5;
        assert!((least..least + 5.0).contains(&clip.duration_s), "{kind}: {} s", clip.duration_s);
        let probed = ffprobe(&clip.path);
        let seconds: f64 = probed["format"]["duration"].as_str().unwrap().parse().unwrap();
        assert!((seconds - clip.duration_s).abs() < 0.2, "{kind}: {seconds} s, said to have {} s", clip.duration_s);

        // The picture is empty until people come, which the first look after that sees.
        let seen = look(&mut browser, &clip.path, &[clip.began_s - 1.5, clip.began_s + 1.0]);
        let spread = |index: usize, place: &str| seen["looks"][index][place]["spread"].as_f64().unwrap();
        assert!((seen["duration"].as_f64().unwrap() - clip.duration_s).abs() < 0.2, "{kind}: {seen:#}");
        assert!(spread(0, "all") < 30.0 && spread(1, "all") > 40.0, "{kind}: {seen:#}");
        if *kind == "masked" {
            assert!(seen["looks"][1]["corner"]["mean"].as_f64().unwrap() < 60.0, "{seen:#}");
            assert!(spread(1, "corner") < 6.0, "something shows below the mask: {seen:#}");
        }
    }
    assert!(agent.terminate().success());
}
