//! The whole path on real servers: an RTSP camera shows people where nobody should be, the agent sees them, and the
//! district has the alert, a snapshot with the boxes drawn, and a clip that begins before the alert.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use image::{DynamicImage, GenericImageView as _};
use kitchen_core::time::{Wall, millis};
use kitchen_core::wire::sha256_hex;
use kitchen_test_support::{
    Agent, AgentConfig, District, Mosquitto, RtspCamera, ffprobe, shown_at_ms, videos, wait_until,
};
use serde_json::Value;

const DEVICE: &str = "mh07-000123";
/// Model load, window and transfer on a busy machine.
const ALERT_BOUND: Duration = Duration::from_secs(60);
const CLIP_BOUND: Duration = Duration::from_secs(60);
const PRE_S: u32 = 3;
const POST_S: u32 = 3;
/// The demo's video has a keyframe every 2 s and 10 frames a second.
const GOP_MS: u64 = 2000;
const FRAME_MS: u64 = 100;

fn config(directory: &Path, camera: &RtspCamera, broker: &Mosquitto) -> AgentConfig {
    AgentConfig::new(DEVICE, directory)
        .rtsp_camera("stove", &camera.url("people"))
        .uplink(broker)
        .rule("intrusion", "score = 0.5\nwindow_s = 3\ncool_down_s = 600\nschedule = \"00:00-24:00\"")
        .set("clip.pre_s", i64::from(PRE_S))
        .set("clip.post_s", i64::from(POST_S))
}

#[test]
fn people_before_the_camera_become_an_alert_with_snapshot_and_clip_at_the_district() {
    let directory = tempfile::tempdir().unwrap();
    let camera = RtspCamera::start(&[("people", &videos::people_after_a_while())]);
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let mut agent = Agent::start(config(directory.path(), &camera, &broker));

    let opened = district.wait_for_message(ALERT_BOUND, "alert.opened", |_| true);
    assert_alert(&opened);
    let alert_id = opened["id"].as_str().unwrap().to_owned();

    let snapshot = district.wait_for(ALERT_BOUND, "the alert's snapshot", |event| {
        event["event"] == "snapshot" && event["alert_id"] == alert_id.as_str()
    });
    let picture = std::fs::read(district.file(snapshot["path"].as_str().unwrap())).unwrap();
    assert_eq!(opened["body"]["snapshot"]["sha256"], sha256_hex(&picture));
    assert!(picture.len() <= 40 * 1024, "a snapshot is at most 40 KB, this one has {} bytes", picture.len());
    assert_boxes_are_drawn(&picture, opened["body"]["boxes"].as_array().unwrap());

    let clip = district.wait_for(CLIP_BOUND, "the alert's clip", |event| {
        event["event"] == "clip" && event["alert_id"] == alert_id.as_str()
    });
    let record = district.wait_for_message(CLIP_BOUND, "alert.clip", |record| record["body"]["clip"].is_object());
    assert_clip(&district.file(clip["path"].as_str().unwrap()), &record);

    wait_until(ALERT_BOUND, "the box learns that all is stored", || {
        let alerts = agent.alerts();
        let mut records = alerts.iter().flat_map(|alert| alert["records"].as_array().unwrap());
        records.all(|record| record["receipted_at"].is_string())
    });
    assert_eq!(district.events_of("conflict"), Vec::<Value>::new());
    assert!(agent.terminate().success());
    assert!(!agent.log().contains(RtspCamera::PASSWORD), "a password in the log:\n{}", agent.log());
}

#[test]
fn a_camera_with_b_frames_is_watched_and_its_clip_plays_from_end_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let camera = RtspCamera::start(&[("people", &videos::b_frames())]);
    let broker = Mosquitto::start();
    let mut district = District::start(&broker);
    let agent = Agent::start(config(directory.path(), &camera, &broker));

    let clip = district.wait_for(ALERT_BOUND + CLIP_BOUND, "a clip", |event| event["event"] == "clip");
    let path = district.file(clip["path"].as_str().unwrap());
    let probed = ffprobe(&path);
    let stream = &probed["streams"][0];
    assert!(stream["has_b_frames"].as_u64().is_some_and(|delay| delay > 0), "the clip has no B-frames: {probed:#}");
    let seconds: f64 = probed["format"]["duration"].as_str().unwrap().parse().unwrap();
    let duration = millis(Duration::from_secs_f64(seconds));
    let packets: u64 = stream["nb_read_packets"].as_str().unwrap().parse().unwrap();
    // Every frame comes out, in the order of its time, a frame's length apart.
    let shown = shown_at_ms(&path);
    assert!(
        packets.abs_diff(duration / FRAME_MS) <= 3,
        "{packets} frames in {duration} ms, some are missing: {shown:?}"
    );
    assert_eq!(shown.len() as u64, packets, "{shown:?}");
    let steps = shown.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(steps.clone().all(|step| (1..3 * FRAME_MS.cast_signed()).contains(&step)), "{shown:?}");

    let status = agent.command(&["status", "--json"]).json();
    assert_eq!(status["cameras"][0]["damaged"], 0, "{status:#}");
    assert_eq!(status["cameras"][0]["lost_packets"], 0, "{status:#}");
}

fn assert_alert(opened: &Value) {
    let body = &opened["body"];
    assert_eq!(opened["v"], 1);
    assert_eq!(opened["device"], DEVICE);
    assert_eq!(body["alert_id"], opened["id"], "{opened:#}");
    assert_eq!(body["rule"], "intrusion");
    assert_eq!(body["tier"], 2);
    assert_eq!(body["camera"], "stove");
    assert_eq!(body["model"]["name"], "objects");
    assert!(body["score"].as_f64().is_some_and(|score| (0.5..=1.0).contains(&score)), "{opened:#}");
    assert!(serde_json::to_vec(opened).unwrap().len() <= 1536, "an alert's text is at most 1.5 KB: {opened:#}");
    let boxes = body["boxes"].as_array().unwrap();
    assert!(!boxes.is_empty(), "{opened:#}");
    for found in boxes {
        assert_eq!(found["label"], "person");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| found[key].as_f64().unwrap());
        assert!(x >= 0.0 && y >= 0.0 && w > 0.0 && h > 0.0 && x + w <= 1.001 && y + h <= 1.001, "{found}");
        assert!(h > w, "somebody who walks is taller than wide: {found}");
    }
}

/// Along the edges of each announced box runs a saturated colour that the scene hardly has elsewhere.
fn assert_boxes_are_drawn(jpeg: &[u8], boxes: &[Value]) {
    assert_eq!(&jpeg[..2], [0xff, 0xd8], "a snapshot is a JPEG");
    let picture = image::load_from_memory(jpeg).unwrap();
    assert_eq!(picture.dimensions(), (640, 360));
    let colour = edge_colour(&picture, &boxes[0]);
    let mut outside = 0.0;
    for found in boxes {
        let on_edge = share(&picture, edge(found, 0), colour);
        assert!(on_edge > 0.6, "only {on_edge:.2} of the edge of {found} has the colour {colour:?}");
        outside += share(&picture, edge(found, 12), colour);
    }
    // On the average, for another box or something of that colour may lie beside one.
    #[expect(clippy::cast_precision_loss, reason = "a few boxes")]
    let outside = outside / boxes.len() as f64;
    assert!(outside < 0.3, "{outside:.2} of what lies 12 pixels outside has the colour of the boxes, {colour:?}");
}

/// Points on the box's four edges, `margin` pixels outside.
fn edge(found: &Value, margin: i32) -> Vec<(i32, i32)> {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| found[key].as_f64().unwrap());
    #[expect(clippy::cast_possible_truncation, reason = "pixels of a small picture")]
    let pixel = |fraction: f64, size: f64| (fraction * size).round() as i32;
    let (left, right) = (pixel(x, 640.0) - margin, pixel(x + w, 640.0) + margin);
    let (top, bottom) = (pixel(y, 360.0) - margin, pixel(y + h, 360.0) + margin);
    let horizontal = (left..=right).flat_map(|x| [(x, top), (x, bottom)]);
    let vertical = (top..=bottom).flat_map(|y| [(left, y), (right, y)]);
    horizontal.chain(vertical).filter(|&(x, y)| (0..640).contains(&x) && (0..360).contains(&y)).collect()
}

/// The most frequent of coarse colours on the edge.
fn edge_colour(picture: &DynamicImage, found: &Value) -> [u8; 3] {
    let mut counts = std::collections::HashMap::new();
    for (x, y) in edge(found, 0) {
        *counts.entry(strongest(picture, x, y).map(|channel| channel / 32)).or_insert(0) += 1;
    }
    let (coarse, _) = counts.into_iter().max_by_key(|&(_, count)| count).unwrap();
    coarse.map(|channel| channel * 32 + 16)
}

fn share(picture: &DynamicImage, points: Vec<(i32, i32)>, colour: [u8; 3]) -> f64 {
    let count = points.len().max(1);
    let alike = points.into_iter().filter(|&(x, y)| {
        let difference = |found: [u8; 3]| found.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 72);
        neighbours(picture, x, y).into_iter().any(difference)
    });
    #[expect(clippy::cast_precision_loss, reason = "a few hundred pixels")]
    let share = alike.count() as f64 / count as f64;
    share
}

/// The most saturated pixel around: a line may lie a pixel inside or outside of the announced edge.
fn strongest(picture: &DynamicImage, x: i32, y: i32) -> [u8; 3] {
    let saturation = |p: &[u8; 3]| p.iter().max().unwrap() - p.iter().min().unwrap();
    neighbours(picture, x, y).into_iter().max_by_key(saturation).unwrap()
}

fn neighbours(picture: &DynamicImage, x: i32, y: i32) -> Vec<[u8; 3]> {
    let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (x + dx, y + dy)));
    let inside = around.filter(|&(x, y)| (0..640).contains(&x) && (0..360).contains(&y));
    inside.map(|(x, y)| picture.get_pixel(x.unsigned_abs(), y.unsigned_abs()).0).map(|p| [p[0], p[1], p[2]]).collect()
}

fn assert_clip(path: &Path, record: &Value) {
    let body = &record["body"];
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(body["clip"]["sha256"], sha256_hex(&bytes));
    assert_eq!(body["clip_status"], "attached");
    let probed = ffprobe(path);
    let stream = &probed["streams"][0];
    assert_eq!(stream["codec_name"], "h264");
    assert_eq!((&stream["width"], &stream["height"]), (&640.into(), &360.into()));
    let seconds: f64 = probed["format"]["duration"].as_str().unwrap().parse().unwrap();
    let duration = millis(Duration::from_secs_f64(seconds));
    let wanted = u64::from(PRE_S + POST_S) * 1000;
    assert!(
        (wanted - GOP_MS / 2..=wanted + GOP_MS + 500).contains(&duration),
        "{duration} ms, wanted {wanted} and at most a keyframe interval more"
    );
    assert!(body["clip"]["duration_ms"].as_u64().unwrap().abs_diff(duration) <= 2 * FRAME_MS, "{record:#} {probed:#}");
    let packets: u64 = stream["nb_read_packets"].as_str().unwrap().parse().unwrap();
    assert!(packets.abs_diff(duration / FRAME_MS) <= 3, "{packets} frames in {duration} ms: some are missing");
    let start: Wall = body["clip"]["start"].as_str().unwrap().parse().unwrap();
    let opened_at: Wall = body["opened_at"].as_str().unwrap().parse().unwrap();
    assert!(start < opened_at, "the clip starts at {start}, after the alert opened at {opened_at}");
}
