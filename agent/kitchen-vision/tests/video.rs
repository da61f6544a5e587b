//! From a file to frames and clips and back: what a stored clip must be to those who play it.

use std::path::PathBuf;

use kitchen_core::time::Mono;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::camera::{CameraError, FileVideo};
use kitchen_vision::clip::{self, ClipError};
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str) -> (StreamInfo, Vec<AccessUnit>) {
    let video = FileVideo::open(fixture(name)).expect("opens");
    let units = video.units().expect("opens").collect::<Result<_, _>>().expect("reads");
    (video.info().clone(), units)
}

fn decode(units: &[AccessUnit]) -> Vec<Frame> {
    let mut decoder = Decoder::new().expect("starts");
    let mut frames: Vec<Frame> =
        units.iter().flat_map(|unit| decoder.decode(unit, |_, _| true).expect("decodes")).collect();
    frames.extend(decoder.drain(|_, _| true));
    frames
}

fn pts(frames: &[Frame]) -> Vec<i64> {
    frames.iter().map(|frame| frame.pts_90k).collect()
}

/// Eight pictures a second from 0.
fn expected_pts(count: i64) -> Vec<i64> {
    (0..count).map(|n| n * 11_250).collect()
}

#[test]
fn a_file_is_described_and_read_in_decode_order() {
    for (name, codec) in [("plain.mp4", "avc1.4d400c"), ("reordered.mp4", "avc1.64000c")] {
        let video = FileVideo::open(fixture(name)).expect("opens");
        let info = video.info();
        assert_eq!((info.codec.as_str(), info.width, info.height, info.full_range), (codec, 320, 180, false));
        assert_eq!((video.duration_ms(), video.len()), (5000, 40), "{name}");
        assert!(info.frame_rate.is_some_and(|rate| (rate - 8.0).abs() < 0.01), "{info:?}");
        let (_, units) = read(name);
        let keyframes: Vec<usize> = (0..units.len()).filter(|n| units[*n].keyframe).collect();
        assert_eq!(keyframes, [0, 16, 32], "{name}");
        assert!(units.is_sorted_by_key(|unit| unit.received), "{name}");
        let mut shown: Vec<i64> = units.iter().map(|unit| unit.pts_90k).collect();
        shown.sort_unstable();
        assert_eq!(shown, expected_pts(40), "{name}");
    }
}

#[test]
fn every_picture_is_decoded_once_and_in_the_order_of_presentation() {
    for name in ["plain.mp4", "reordered.mp4"] {
        let (_, units) = read(name);
        let frames = decode(&units);
        assert_eq!(pts(&frames), expected_pts(40), "{name}");
        for pair in frames.windows(2) {
            assert!(!pair[0].same_picture(&pair[1]), "{name}: the test pattern moves");
        }
    }
}

#[test]
fn unwanted_pictures_are_decoded_but_not_returned() {
    let (_, units) = read("reordered.mp4");
    let mut decoder = Decoder::new().expect("starts");
    let mut wanted = |pts: i64, _| pts % 45_000 == 0;
    let mut frames: Vec<Frame> =
        units.iter().flat_map(|unit| decoder.decode(unit, &mut wanted).expect("decodes")).collect();
    frames.extend(decoder.drain(&mut wanted));
    assert_eq!(pts(&frames), (0..10).map(|n| n * 45_000).collect::<Vec<_>>());
    assert_eq!((decoder.decoded(), decoder.errors()), (40, 0));
}

#[test]
fn damage_costs_a_group_of_pictures_and_no_more() {
    for name in ["plain.mp4", "reordered.mp4"] {
        let (_, units) = read(name);
        for lost in [1, 5, 17, 31] {
            let mut decoder = Decoder::new().expect("starts");
            let mut shown = Vec::new();
            for (n, unit) in units.iter().enumerate() {
                let mut unit = unit.clone();
                if n == lost {
                    let mut bytes = unit.data.to_vec();
                    bytes.iter_mut().skip(5).for_each(|byte| *byte ^= 0x5a);
                    unit.data = bytes.into();
                }
                shown.extend(decoder.decode(&unit, |_, _| true).unwrap_or_default());
            }
            shown.extend(decoder.drain(|_, _| true));
            let next_group = if lost < 16 { 16 } else { 32 };
            let after: Vec<i64> = pts(&shown).into_iter().filter(|pts| *pts >= next_group * 11_250).collect();
            assert_eq!(after, expected_pts(40).split_off(usize::try_from(next_group).expect("small")), "{name} {lost}");
            assert!(pts(&shown).is_sorted(), "{name} {lost}: {:?}", pts(&shown));
        }
    }
}

#[test]
fn garbage_never_panics() {
    let (_, units) = read("plain.mp4");
    let mut random = 12_345_u32;
    let mut decoder = Decoder::new().expect("starts");
    for round in 0..200_u32 {
        let mut bytes = units[0].data.to_vec();
        for _ in 0..20 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = random as usize % bytes.len();
            bytes[at] = (random >> 16) as u8;
        }
        let pts_90k = i64::from(round);
        let unit = AccessUnit { data: bytes.into(), keyframe: true, pts_90k, received: Mono::ZERO, lost_packets: 0 };
        // Either outcome is right; the process must live.
        let _ = decoder.decode(&unit, |_, _| true);
    }
}

#[test]
fn a_clip_has_the_pictures_and_times_of_its_stream() {
    for name in ["plain.mp4", "reordered.mp4"] {
        let (info, units) = read(name);
        let units = &units[16..];
        let clip = clip::mux(units, &info).expect("writes");
        assert_eq!((clip.duration_ms, clip.first_pts_90k, clip.last_pts_90k), (3000, 180_000, 438_750), "{name}");
        assert_eq!((clip.width, clip.height, clip.codec.as_str()), (320, 180, info.codec.as_str()));

        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("clip.mp4");
        std::fs::write(&path, &clip.bytes).expect("writes");
        let video = FileVideo::open(&path).expect("opens");
        assert_eq!((video.len(), video.duration_ms()), (24, 3000), "{name}");
        let back: Vec<AccessUnit> = video.units().expect("opens").collect::<Result<_, _>>().expect("reads");
        assert!(back[0].keyframe && back[16].keyframe);
        assert!(back.is_sorted_by(|a, b| a.received < b.received));
        let shifted: Vec<i64> = units.iter().map(|unit| unit.pts_90k - 180_000).collect();
        assert_eq!(back.iter().map(|unit| unit.pts_90k).collect::<Vec<_>>(), shifted, "{name}");
        for (original, copy) in decode(units).iter().zip(decode(&back)) {
            assert!(original.same_picture(&copy), "{name} at {}", original.pts_90k);
        }
    }
}

#[test]
fn a_clip_needs_a_keyframe_one_set_of_parameters_and_a_steady_clock() {
    let (info, units) = read("plain.mp4");
    let (other, _) = read("reordered.mp4");
    assert!(matches!(clip::mux(&[], &info), Err(ClipError::Empty)));
    assert!(matches!(clip::mux(&units[1..], &info), Err(ClipError::NoKeyframe)));
    assert!(matches!(clip::mux(&units, &other), Err(ClipError::ParametersChanged { index: 0 })));
    let mut jumped = units;
    jumped[20].pts_90k += 90_000 * 3600;
    assert!(matches!(clip::mux(&jumped, &info), Err(ClipError::TimestampsJumped { seconds: 3602 })));
}

#[test]
fn equal_timestamps_still_make_a_clip() {
    let (info, mut units) = read("plain.mp4");
    units.iter_mut().for_each(|unit| unit.pts_90k /= 20_000);
    units.iter_mut().for_each(|unit| unit.pts_90k *= 20_000);
    let clip = clip::mux(&units, &info).expect("writes");
    assert!(clip.duration_ms > 4000);
}

#[test]
fn files_that_are_no_video_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let whole = std::fs::read(fixture("plain.mp4")).expect("reads");
    let open = |bytes: &[u8]| {
        let path = folder.path().join("video.mp4");
        std::fs::write(&path, bytes).expect("writes");
        FileVideo::open(&path)
    };
    assert!(matches!(FileVideo::open(folder.path().join("absent.mp4")), Err(CameraError::File { .. })));
    assert!(matches!(open(b""), Err(CameraError::NotMp4 { .. })));
    assert!(matches!(open(b"RIFF....AVI LIST and so on and on"), Err(CameraError::NotMp4 { .. })));
    assert!(matches!(open(&whole[..600]), Err(CameraError::CutOff { .. })));
    assert!(
        matches!(FileVideo::open(fixture("hevc.mp4")), Err(CameraError::Encoding { encoding }) if encoding == "H.265")
    );

    let cut = open(&whole[..whole.len() / 2]).expect("the index is whole");
    let mut units: Vec<_> = cut.units().expect("opens").collect();
    let last = units.pop().expect("an end");
    assert!(matches!(last, Err(CameraError::EndsEarly { at_ms: 1000..4000, duration_ms: 5000, .. })), "{last:?}");
    assert!(units.len() > 8 && units.iter().all(Result::is_ok));
}

#[test]
fn sound_costs_nothing_and_a_promise_no_memory() {
    let with_sound = FileVideo::open(corpus("uncompressed_sound")).expect("opens");
    assert_eq!((with_sound.len(), with_sound.units().expect("opens").filter_map(Result::ok).count()), (1, 1));
    let fragments = FileVideo::open(corpus("fragments_with_sound")).expect("opens");
    assert_eq!((fragments.len(), fragments.units().expect("opens").filter_map(Result::ok).count()), (10, 10));
    for promise in ["samples_of_one_size_in_one_chunk", "run_without_sizes", "trak_zero", "avcC_zero"] {
        let opened = FileVideo::open(corpus(promise));
        assert!(matches!(opened, Err(CameraError::NotMp4 { .. })), "{promise}: {opened:?}");
    }
}

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/mp4").join(name)
}

#[test]
fn a_damaged_index_never_panics() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("video.mp4");
    let whole = std::fs::read(fixture("reordered.mp4")).expect("reads");
    for at in (0..1600).step_by(61) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&path, &bytes).expect("writes");
        if let Ok(video) = FileVideo::open(&path) {
            let _ = video.units().expect("opens").take(100).filter_map(Result::ok).count();
        }
    }
}
