//! The videos are what their names say, and the camera plays them, dies, and comes back on its port.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use kitchen_test_support::{Breakage, Finished, RtspCamera, ffprobe, run, system, videos};
use serde_json::Value;

fn stream(path: &Path) -> Value {
    ffprobe(path)["streams"][0].take()
}

fn seconds(stream: &Value) -> f64 {
    stream["duration"].as_str().unwrap().parse().unwrap()
}

#[test]
fn the_demo_s_video_looks_like_a_camera_s_sub_stream() {
    let people = stream(&videos::people());
    assert_eq!((&people["codec_name"], &people["has_b_frames"]), (&"h264".into(), &0.into()), "{people:#}");
    assert_eq!((&people["width"], &people["height"]), (&640.into(), &360.into()));
    assert!((20.0..=40.0).contains(&seconds(&people)));
    assert!(std::fs::metadata(videos::people()).unwrap().len() <= 1_000_000);
}

#[test]
fn made_videos_are_what_their_names_say() {
    assert_eq!(stream(&videos::h265())["codec_name"], "hevc");
    assert_ne!(stream(&videos::b_frames())["has_b_frames"], 0);
    assert!((seconds(&stream(&videos::lens_covered())) - 50.0).abs() < 0.5);
    assert!((seconds(&stream(&videos::frozen())) - 30.0).abs() < 0.5);
    assert_eq!(stream(&videos::empty_room())["nb_read_packets"], "100");
}

fn watch(url: &str, password: &str) -> Finished {
    let url = url.replace("rtsp://", &format!("rtsp://{}:{password}@", RtspCamera::USER));
    let mut command = Command::new(system("ffprobe", "ffmpeg"));
    command.args([
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        "-timeout",
        "2000000",
        "-show_streams",
        "-of",
        "json",
        &url,
    ]);
    run(&mut command)
}

#[test]
fn a_camera_plays_to_who_knows_the_password_and_returns_on_its_port() {
    let (people, h265) = (videos::people(), videos::h265());
    let mut camera = RtspCamera::start(&[("view", &people), ("new", &h265)]);
    let url = camera.url("view");
    assert_eq!(watch(&url, RtspCamera::PASSWORD).expect_code(0).json()["streams"][0]["codec_name"], "h264");
    assert_eq!(watch(&camera.url("new"), RtspCamera::PASSWORD).json()["streams"][0]["codec_name"], "hevc");
    assert!(watch(&url, "wrong").stderr.contains("401"));
    camera.kill();
    assert_ne!(watch(&url, RtspCamera::PASSWORD).code, 0);
    camera.restart();
    let _ = watch(&url, RtspCamera::PASSWORD).expect_code(0);
    camera.hang();
    assert_ne!(watch(&url, RtspCamera::PASSWORD).code, 0);
    camera.resume();
    let _ = watch(&url, RtspCamera::PASSWORD).expect_code(0);
}

#[test]
fn a_broken_camera_is_broken() {
    let camera = RtspCamera::broken(Breakage::Answers);
    assert_ne!(watch(&camera.url("view"), RtspCamera::PASSWORD).code, 0);
}
