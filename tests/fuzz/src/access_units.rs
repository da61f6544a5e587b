//! A camera's stream in Annex B, cut before each parameter set and delimiter, through ring, decoder and clip writer.
//! The ring keeps its bounds, frames are whole, and a clip that is written can be read again.

use std::time::Duration;

use bytes::Bytes;
use kitchen_core::time::Mono;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::camera::FileVideo;
use kitchen_vision::clip;
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::gop_ring::GopRing;
use kitchen_vision::h264;

use crate::scratch;

const MAX_UNITS: usize = 32;
const RING_BYTES: usize = 16 * 1024;
const INTERVAL_MS: u64 = 100;

pub fn check(input: &[u8]) {
    let units = access_units(input);
    let mut ring = GopRing::new(Duration::from_secs(1), RING_BYTES);
    for unit in &units {
        ring.push(unit.clone());
        assert!(ring.bytes() <= RING_BYTES, "the ring holds {} bytes", ring.bytes());
    }
    assert!(ring.since(Mono::ZERO).is_none_or(|held| held[0].keyframe), "begins with a keyframe");
    decode(&units);
    if let Some(first) = units.iter().position(|unit| unit.keyframe)
        && let Some(info) = described(&units[first])
    {
        write(&units[first..], &info);
    }
}

fn access_units(input: &[u8]) -> Vec<AccessUnit> {
    let mut groups: Vec<Vec<&[u8]>> = Vec::new();
    let mut holds_picture = true;
    for unit in h264::nal_units(input) {
        let kind = h264::nal_type(unit);
        if holds_picture && matches!(kind, 1..=5 | h264::SPS | h264::DELIMITER) || groups.is_empty() {
            groups.push(Vec::new());
            holds_picture = false;
        }
        holds_picture |= matches!(kind, 1..=5);
        if let Some(group) = groups.last_mut() {
            group.push(unit);
        }
    }
    groups.iter().take(MAX_UNITS).zip(0..).map(|(group, number)| access_unit(group, number)).collect()
}

fn access_unit(group: &[&[u8]], number: u32) -> AccessUnit {
    let mut data = Vec::new();
    group.iter().for_each(|unit| h264::push_annex_b(&mut data, unit));
    AccessUnit {
        data: Bytes::from(data),
        pts_90k: i64::from(number) * 9000,
        keyframe: group.iter().any(|unit| h264::nal_type(unit) == h264::IDR_SLICE),
        received: Mono::from_millis(u64::from(number) * INTERVAL_MS),
        lost_packets: 0,
    }
}

fn described(unit: &AccessUnit) -> Option<StreamInfo> {
    let set = |kind| h264::nal_units(&unit.data).find(|nal| h264::nal_type(nal) == kind);
    h264::stream_info(set(h264::SPS)?, set(h264::PPS)?)
}

fn decode(units: &[AccessUnit]) {
    let mut decoder = Decoder::new().expect("a decoder starts");
    let mut frames = 0;
    for unit in units {
        // Either outcome is right.
        for frame in decoder.decode(unit, |_, _| true).unwrap_or_default() {
            is_whole(&frame);
            frames += 1;
        }
    }
    for frame in decoder.drain(|_, _| true) {
        is_whole(&frame);
        frames += 1;
    }
    assert!(frames <= units.len(), "{frames} frames of {} units", units.len());
}

fn is_whole(frame: &Frame) {
    assert!(frame.width > 0 && frame.height > 0);
    assert!(frame.pts_90k >= 0 && frame.pts_90k < MAX_UNITS as i64 * 9000, "a time of no unit: {}", frame.pts_90k);
}

fn write(units: &[AccessUnit], info: &StreamInfo) {
    let Ok(clip) = clip::mux(units, info) else { return };
    assert_eq!((clip.width, clip.height), (info.width, info.height));
    let folder = scratch::folder();
    let path = folder.path().join("clip.mp4");
    std::fs::write(&path, &clip.bytes).expect("a temporary file");
    let video = FileVideo::open(&path).expect("a clip that was written is read");
    assert_eq!(video.len(), units.len(), "pictures in the clip");
    let back = video.units().expect("opens").filter_map(Result::ok).count();
    assert_eq!(back, units.len(), "pictures read");
}
