//! Clips encoded anew, from real videos: bytes, times, masks.

use std::path::Path;

use kitchen_core::config;
use kitchen_core::time::Mono;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::camera::FileVideo;
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::privacy_mask::PrivacyMask;
use kitchen_vision::reencode::{ReencodeError, Reencoded, Wanted, reencode};

/// 640×360, 10 pictures a second, a keyframe every 2 s.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kitchen-agent/demo/people.mp4");

fn units(from_s: u64, to_s: u64) -> (Vec<AccessUnit>, StreamInfo) {
    let video = FileVideo::open(Path::new(DEMO)).expect("the demo's video");
    let units = video.units().expect("readable").map(|unit| unit.expect("readable"));
    let span = Mono::from_millis(from_s * 1000)..Mono::from_millis(to_s * 1000);
    (units.filter(|unit| span.contains(&unit.received)).collect(), video.info().clone())
}

fn encoded(mask: &PrivacyMask, from: Mono, max_bytes: u64) -> Result<Reencoded, ReencodeError> {
    let (units, info) = units(4, 14);
    reencode(&units, &info, &Wanted { mask, from, max_bytes })
}

fn frames_of(clip: &[u8]) -> Vec<Frame> {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let path = directory.path().join("clip.mp4");
    std::fs::write(&path, clip).expect("written");
    let video = FileVideo::open(&path).expect("an MP4");
    let mut decoder = Decoder::new().expect("starts");
    let units = video.units().expect("readable");
    let mut frames: Vec<Frame> =
        units.flat_map(|unit| decoder.decode(&unit.expect("readable"), |_, _| true).expect("sound")).collect();
    frames.extend(decoder.drain(|_, _| true));
    frames
}

#[test]
fn a_clip_takes_its_bytes_and_not_one_more() {
    for max_bytes in [60_000, 150_000] {
        let Reencoded { clip, report, .. } = encoded(&PrivacyMask::default(), Mono::ZERO, max_bytes).expect("fits");
        let bytes = clip.bytes.len() as u64;
        assert!((max_bytes * 95 / 100..=max_bytes).contains(&bytes), "{bytes} of {max_bytes}: {report:?}");
        assert!(clip.duration_ms.abs_diff(10_000) <= 100, "{}", clip.duration_ms);
    }
}

#[test]
fn a_clip_begins_where_it_was_wanted_and_not_at_the_keyframe_before() {
    let wanted = Mono::from_millis(5300);
    let Reencoded { clip, start, .. } = encoded(&PrivacyMask::default(), wanted, 150_000).expect("fits");
    assert_eq!((start, clip.duration_ms), (wanted, 8700));
    let frames = frames_of(&clip.bytes);
    assert_eq!((frames.len(), frames[0].pts_90k), (87, 0));
}

#[test]
fn what_a_mask_hides_is_in_no_picture_of_the_clip() {
    let polygon = vec![[0.3, 0.2], [0.7, 0.2], [0.7, 0.9], [0.3, 0.9]];
    let mask = PrivacyMask::new(&[config::PrivacyMask { polygon }]);
    let clip = encoded(&mask, Mono::ZERO, 150_000).expect("fits").clip;
    for frame in frames_of(&clip.bytes) {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let rows = frame.y().chunks_exact(width).take(height * 9 / 10 - 8).skip(height / 5 + 8);
        let hidden = rows.flat_map(|row| &row[width * 3 / 10 + 8..width * 7 / 10 - 8]);
        let (least, most) = hidden.fold((255, 0), |(least, most), luma| (luma.min(&least).to_owned(), most.max(*luma)));
        assert!(least >= 40 && most <= 56, "luma from {least} to {most} below the mask");
    }
}

#[test]
fn a_damaged_group_is_left_out_and_the_rest_is_shown() {
    let (mut units, info) = units(4, 14);
    let torn = &mut units[25];
    torn.data = torn.data.slice(..torn.data.len() / 8);
    let wanted = Wanted { mask: &PrivacyMask::default(), from: Mono::ZERO, max_bytes: 150_000 };
    let clip = reencode(&units, &info, &wanted).expect("fits").clip;
    let frames = frames_of(&clip.bytes).len();
    assert!((80..=100).contains(&frames), "{frames}");
    units.retain(|unit| !unit.keyframe);
    assert!(matches!(reencode(&units, &info, &wanted), Err(ReencodeError::NoPicture)));
}

#[test]
fn bytes_that_hold_no_clip_are_refused_with_what_to_change() {
    let error = encoded(&PrivacyMask::default(), Mono::ZERO, 2000).expect_err("no clip has 2 KB");
    assert!(error.to_string().contains("clip.max_bytes"), "{error}");
}
