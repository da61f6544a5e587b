//! Recorded videos through the pipeline: the same records every time, with times in the video.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use kitchen_test_support::{AgentConfig, Finished, videos};
use serde_json::Value;

fn config(directory: &Path) -> AgentConfig {
    let config = AgentConfig::new("mh07-000123", directory)
        .camera("stove", &format!("file://{}", videos::people().display()))
        .rule("intrusion", "score = 0.5\nwindow_s = 3\ncool_down_s = 600\nevidence = \"snapshot\"");
    config.write();
    config
}

fn replay(config: &AgentConfig, video: &Path, more: &[&str]) -> Finished {
    let arguments = [&["replay", video.to_str().unwrap(), "--json"], more].concat();
    config.run(&arguments)
}

#[test]
fn the_same_video_gives_the_same_records() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let first = replay(&config, &videos::people(), &["--detections"]).expect_code(0);
    let second = replay(&config, &videos::people(), &["--detections"]).expect_code(0);
    assert_eq!(first.stdout, second.stdout);

    let records = first.json_lines();
    let opened: Vec<&Value> = records.iter().filter(|record| record["type"] == "alert.opened").collect();
    assert_eq!(opened.len(), 1, "people walk through the whole video: one episode, one alert: {opened:#?}");
    assert_eq!(opened[0]["body"]["rule"], "intrusion");
    let video_ms = opened[0]["video_ms"].as_u64().unwrap();
    assert!((1500..8000).contains(&video_ms), "the window of 3 s is full at {video_ms} ms of the video");

    let frames: Vec<&Value> = records.iter().filter(|record| record["type"] == "frame").collect();
    assert!(frames.len() >= 55, "30 s at 2 looks a second, not {}", frames.len());
    let times: Vec<u64> = frames.iter().map(|frame| frame["video_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let people =
        |frame: &&&Value| frame["detections"].as_array().unwrap().iter().any(|found| found["label"] == "person");
    let with_people = frames.iter().filter(people).count();
    assert!(with_people * 10 >= frames.len() * 9, "people in {with_people} of {} frames", frames.len());
}

#[test]
fn a_video_without_anybody_raises_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let finished = replay(&config(directory.path()), &videos::empty_room(), &[]).expect_code(0);
    let raised = finished.json_lines().into_iter().filter(|record| record["type"] == "alert.opened").count();
    assert_eq!(raised, 0, "{finished:#?}");
}

#[test]
fn b_frames_are_decoded_in_the_order_of_presentation() {
    let directory = tempfile::tempdir().unwrap();
    let finished = replay(&config(directory.path()), &videos::b_frames(), &["--detections"]).expect_code(0);
    let records = finished.json_lines();
    let times: Vec<u64> = records
        .iter()
        .filter(|record| record["type"] == "frame")
        .map(|frame| frame["video_ms"].as_u64().unwrap())
        .collect();
    assert!(times.len() >= 17, "10 s at 2 looks a second, not {}", times.len());
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn annotated_pictures_are_written_where_asked() {
    let directory = tempfile::tempdir().unwrap();
    let pictures = directory.path().join("pictures");
    let out = ["--out", pictures.to_str().unwrap()];
    let _ = replay(&config(directory.path()), &videos::people(), &out).expect_code(0);
    let written: Vec<_> = std::fs::read_dir(&pictures).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!written.is_empty());
    for picture in written {
        image::open(&picture).unwrap_or_else(|error| panic!("{}: {error}", picture.display()));
    }
}

#[test]
fn an_h265_file_is_refused_with_what_to_change() {
    let directory = tempfile::tempdir().unwrap();
    let finished = replay(&config(directory.path()), &videos::h265(), &[]);
    assert_ne!(finished.code, 0, "{finished:#?}");
    assert!(finished.stderr.contains("H.265") && finished.stderr.contains("H.264"), "{finished:#?}");
}
