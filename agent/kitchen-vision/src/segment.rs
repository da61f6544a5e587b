//! A stream of access units cut into segments that each begin with a keyframe and hold one stream's parameters.
//! Bounded in time and bytes: what a keyframe's absence makes too long ends there, and the rest up to the next keyframe
//! is left out. Never decodes, never writes.

use std::time::Duration;

use kitchen_core::time::Mono;
use kitchen_core::wire::sha256_hex;

use crate::access_unit::{AccessUnit, StreamInfo, ticks_to_ms};
use crate::h264;

/// What a unit costs beside its data.
const UNIT_OVERHEAD: usize = 64;
/// Timestamps that jump by more are of a camera whose clock was set.
const LARGEST_JUMP_MS: i64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    /// A segment ends at the first keyframe after so long.
    pub wanted: Duration,
    /// It ends here without a keyframe.
    pub longest: Duration,
    pub max_bytes: usize,
}

impl SegmentLimits {
    /// A keyframe a minute is recorded whole up to 1 megabit a second.
    pub const RECORDING: Self =
        Self { wanted: Duration::from_secs(10), longest: Duration::from_secs(120), max_bytes: 8_000_000 };
}

/// Pictures of one session in decode order, the first one a keyframe.
#[derive(Clone, Debug)]
pub struct CutSegment {
    pub units: Vec<AccessUnit>,
    pub info: StreamInfo,
    /// The first eight digits of a hash of the parameter sets.
    pub parameters: String,
    /// When the stream was opened.
    pub opened: Mono,
    /// It was ended for want of a keyframe: what follows is left out up to the next one.
    pub is_cut_short: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Segmenter {
    limits: SegmentLimits,
    stream: Option<(StreamInfo, Mono)>,
    current: Option<CutSegment>,
    bytes: usize,
}

impl Segmenter {
    #[must_use]
    pub fn new(limits: SegmentLimits) -> Self {
        Self { limits, stream: None, current: None, bytes: 0 }
    }

    /// The stream was opened anew: timestamps and parameters begin afresh.
    pub fn handle_opened(&mut self, info: StreamInfo, now: Mono) -> Option<CutSegment> {
        let finished = self.finish();
        self.stream = Some((info, now));
        finished
    }

    /// The next unit. Units before the first keyframe are left out.
    pub fn handle_unit(&mut self, unit: AccessUnit) -> Option<CutSegment> {
        let mut finished = None;
        if let Some(current) = &self.current
            && self.ends_before(current, &unit)
        {
            finished = self.finish();
        }
        if self.current.is_none() && unit.keyframe {
            self.current = self.begin(&unit);
            self.bytes = 0;
        }
        let Some(current) = &mut self.current else { return finished };
        self.bytes += unit.data.len() + UNIT_OVERHEAD;
        let began = current.units.first().map_or(unit.received, |first| first.received);
        let is_too_long = self.bytes > self.limits.max_bytes || unit.received.since(began) > self.limits.longest;
        current.units.push(unit);
        if is_too_long {
            current.is_cut_short = true;
            return self.finish();
        }
        finished
    }

    /// Ends the segment: what follows does not go on where it ended.
    pub fn finish(&mut self) -> Option<CutSegment> {
        self.bytes = 0;
        self.current.take()
    }

    fn ends_before(&self, current: &CutSegment, unit: &AccessUnit) -> bool {
        let (Some(first), Some(last)) = (current.units.first(), current.units.last()) else { return false };
        let jump_ms = ticks_to_ms(unit.pts_90k.saturating_sub(last.pts_90k));
        if jump_ms.abs() > LARGEST_JUMP_MS {
            return true;
        }
        let is_due = unit.received.since(first.received) >= self.limits.wanted;
        unit.keyframe && (is_due || parameters(unit).is_some_and(|(.., hash)| hash != current.parameters))
    }

    fn begin(&self, unit: &AccessUnit) -> Option<CutSegment> {
        let (info, opened) = self.stream.clone()?;
        let (sps, pps, parameters) = parameters(unit)?;
        let info = if sps == &info.sps[..] {
            info
        } else {
            let frame_rate = info.frame_rate;
            let changed = h264::stream_info(sps, pps)?;
            StreamInfo { frame_rate: changed.frame_rate.or(frame_rate), ..changed }
        };
        Some(CutSegment { units: Vec::new(), info, parameters, opened, is_cut_short: false })
    }
}

/// The first SPS and PPS that come with a keyframe, and a short hash of all.
fn parameters(unit: &AccessUnit) -> Option<(&[u8], &[u8], String)> {
    let of_kind = |kind| h264::nal_units(&unit.data).filter(move |nal| h264::nal_type(nal) == kind);
    let (sps, pps) = (of_kind(h264::SPS).next()?, of_kind(h264::PPS).next()?);
    let all: Vec<&[u8]> = of_kind(h264::SPS).chain(of_kind(h264::PPS)).collect();
    let mut hash = sha256_hex(&all.join(&[0_u8, 0, 1][..]));
    hash.truncate(8);
    Some((sps, pps, hash))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A real SPS of 640×360 and another PPS; a slice's content does not matter here.
    const SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
        0x00, 0x03, 0x00, 0x14, 0x0f, 0x16, 0x2d, 0x96,
    ];

    fn info() -> StreamInfo {
        h264::stream_info(SPS, &[0x68, 0xeb]).expect("an SPS")
    }

    fn unit(ms: u64, keyframe: bool, bytes: usize, pps: u8) -> AccessUnit {
        let mut data = Vec::new();
        if keyframe {
            h264::push_annex_b(&mut data, SPS);
            h264::push_annex_b(&mut data, &[0x68, pps]);
        }
        h264::push_annex_b(&mut data, &vec![if keyframe { 0x65 } else { 0x41 }; bytes]);
        let pts_90k = i64::try_from(ms).expect("small") * 90;
        AccessUnit { data: Bytes::from(data), pts_90k, keyframe, received: Mono::from_millis(ms), lost_packets: 0 }
    }

    fn segmenter() -> Segmenter {
        let mut segmenter = Segmenter::new(SegmentLimits::RECORDING);
        assert!(segmenter.handle_opened(info(), Mono::from_millis(1)).is_none());
        segmenter
    }

    /// Ten pictures a second, a keyframe every `gop`; the segments with what is left at the end.
    fn cut(units: u64, gop: u64, bytes: usize) -> Vec<CutSegment> {
        let mut segmenter = segmenter();
        let mut all = Vec::new();
        for n in 0..units {
            all.extend(segmenter.handle_unit(unit(n * 100, n % gop == 0, bytes, 0xeb)));
        }
        all.extend(segmenter.finish());
        assert!(all.iter().all(|segment| segment.units[0].keyframe));
        all
    }

    fn lengths(segments: &[CutSegment]) -> Vec<usize> {
        segments.iter().map(|segment| segment.units.len()).collect()
    }

    #[test]
    fn a_segment_ends_at_the_first_keyframe_after_ten_seconds_and_nothing_is_left_out() {
        assert_eq!(lengths(&cut(350, 20, 100)), [100, 100, 100, 50]);
        assert_eq!(lengths(&cut(350, 30, 100)), [120, 120, 110]);
        assert_eq!(lengths(&cut(1300, 600, 100)), [600, 600, 100], "a keyframe a minute");
    }

    #[test]
    fn a_segment_without_a_second_keyframe_is_bounded_in_bytes_and_time() {
        let long = cut(5000, 4000, 100);
        assert_eq!(lengths(&long), [1202, 1000], "two minutes, then nothing up to the next keyframe");
        assert!(long[0].is_cut_short && !long[1].is_cut_short);
        let large = cut(900, 600, 40_000);
        let bytes: usize = large[0].units.iter().map(|unit| unit.data.len()).sum();
        assert!((7_000_000..9_000_000).contains(&bytes), "{bytes}");
        assert_eq!(lengths(&large), [200, 200], "it goes on with the next keyframe");
    }

    #[test]
    fn changed_parameters_and_a_new_session_begin_a_segment_of_their_own() {
        let mut segmenter = segmenter();
        assert!(segmenter.handle_unit(unit(0, true, 10, 0xeb)).is_none());
        assert!(segmenter.handle_unit(unit(100, false, 10, 0xeb)).is_none());
        let first = segmenter.handle_unit(unit(200, true, 10, 0xec)).expect("another PPS");
        assert_eq!(first.units.len(), 2);
        let second = segmenter.handle_opened(info(), Mono::from_millis(300)).expect("a new session");
        assert_ne!(first.parameters, second.parameters);
        assert!(segmenter.handle_unit(unit(300, false, 10, 0xec)).is_none());
        assert!(segmenter.finish().is_none(), "nothing without a keyframe");
    }

    #[test]
    fn a_camera_whose_clock_jumps_begins_a_segment() {
        let mut segmenter = segmenter();
        assert!(segmenter.handle_unit(unit(0, true, 10, 0xeb)).is_none());
        let jumped = AccessUnit { pts_90k: 90_000 * 3600, ..unit(100, false, 10, 0xeb) };
        assert_eq!(segmenter.handle_unit(jumped).expect("ended").units.len(), 1);
        let jumped = AccessUnit { pts_90k: 90_000 * 3601, ..unit(200, true, 10, 0xeb) };
        assert!(segmenter.handle_unit(jumped).is_none());
        assert_eq!(segmenter.finish().expect("goes on").units.len(), 1);
    }
}
