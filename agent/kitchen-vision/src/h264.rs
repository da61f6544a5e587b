//! The little of H.264 that is needed outside the decoder: NAL units, framing, and what an SPS says.
//! Reads any bytes without panicking.

use bytes::Bytes;
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::rbsp;

use crate::access_unit::StreamInfo;

/// NAL unit types, Table 7-1.
pub const IDR_SLICE: u8 = 5;
pub const SPS: u8 = 7;
pub const PPS: u8 = 8;
pub const DELIMITER: u8 = 9;

/// The NAL units of Annex B data, without start codes and trailing zeros.
pub fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let current = rest?;
        let end = find_start_code(current);
        rest = after_start_code(&current[end..]);
        let unit = &current[..end];
        Some(&unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)])
    })
    .filter(|unit| !unit.is_empty())
}

/// Type of a NAL unit, 0 for an empty one.
#[must_use]
pub fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |header| header & 0x1f)
}

fn find_start_code(data: &[u8]) -> usize {
    data.windows(3).position(|window| window == [0, 0, 1]).unwrap_or(data.len())
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    data.get(find_start_code(data) + 3..)
}

/// Appends `unit` to Annex B data.
pub fn push_annex_b(data: &mut Vec<u8>, unit: &[u8]) {
    data.extend_from_slice(&[0, 0, 0, 1]);
    data.extend_from_slice(unit);
}

/// The NAL units of length-prefixed data; `None` as an item where a length points beyond the end.
pub fn length_prefixed(data: &[u8], length_bytes: usize) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((prefix, after)) = rest.split_at_checked(length_bytes) else {
            rest = &[];
            return Some(None);
        };
        let length = prefix.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
        let Some((unit, after)) = after.split_at_checked(length) else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        Some(Some(unit))
    })
}

/// Whether pictures coded with this SPS use luma 0..255; `false` where it doesn't say.
#[must_use]
pub fn is_full_range(sps: &[u8]) -> bool {
    parse_sps(sps)
        .and_then(|sps| sps.vui_parameters)
        .and_then(|vui| vui.video_signal_type)
        .is_some_and(|signal| signal.video_full_range_flag)
}

/// How pictures coded with this SPS become red, green and blue, Table E-5; `None` where it doesn't say.
#[must_use]
pub fn matrix_coefficients(sps: &[u8]) -> Option<u8> {
    let signal = parse_sps(sps)?.vui_parameters?.video_signal_type?;
    signal.colour_description.map(|colours| colours.matrix_coefficients).filter(|matrix| *matrix != UNSPECIFIED)
}

const UNSPECIFIED: u8 = 2;

/// Describes a stream by its parameter sets (NAL units without start code); `None` for an unreadable SPS, and for one whose
/// picture is cut to nothing.
#[must_use]
pub fn stream_info(sps: &[u8], pps: &[u8]) -> Option<StreamInfo> {
    let parsed = parse_sps(sps)?;
    let (width, height) = parsed.pixel_dimensions().ok().filter(|(width, height)| *width > 0 && *height > 0)?;
    let [_, profile, constraints, level, ..] = *sps else { return None };
    Some(StreamInfo {
        codec: format!("avc1.{profile:02x}{constraints:02x}{level:02x}"),
        width,
        height,
        sps: Bytes::copy_from_slice(sps),
        pps: Bytes::copy_from_slice(pps),
        #[expect(clippy::cast_possible_truncation, reason = "a frame rate needs no more than f32")]
        frame_rate: parsed.fps().map(|rate| rate as f32).filter(|rate| rate.is_finite() && *rate > 0.0),
        full_range: is_full_range(sps),
    })
}

fn parse_sps(sps: &[u8]) -> Option<SeqParameterSet> {
    // The reader panics on an empty unit.
    if sps.len() < 4 {
        return None;
    }
    let bits = rbsp::decode_nal(sps).ok()?;
    SeqParameterSet::from_bits(rbsp::BitReader::new(&*bits)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_are_found_with_either_start_code() {
        let data = [0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 3, 0, 0, 0, 1, 0x65, 0, 0, 0, 1];
        let units: Vec<&[u8]> = nal_units(&data).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68, 2, 3], &[0x65]]);
        assert_eq!(nal_units(&[]).count() + nal_units(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn a_length_beyond_the_end_is_seen() {
        let good: Vec<_> = length_prefixed(&[0, 2, 7, 8, 0, 1, 9], 2).collect();
        assert_eq!(good, [Some(&[7, 8][..]), Some(&[9][..])]);
        let bad: Vec<_> = length_prefixed(&[0, 9, 7], 2).collect();
        assert_eq!(bad, [None]);
    }

    #[test]
    fn garbage_is_no_sps() {
        assert_eq!(stream_info(&[0x67, 0xff, 0xff], &[]), None);
        assert_eq!(stream_info(&[], &[]), None);
        assert!(!is_full_range(&[0x67; 40]));
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut sps: Vec<u8> = {
                let length = random.usize(1..40);
                std::iter::repeat_with(|| random.u8(..)).take(length).collect()
            };
            sps[0] = 0x67;
            // Whatever it finds, it must not panic.
            let _ = (stream_info(&sps, &[]), is_full_range(&sps), matrix_coefficients(&sps));
        }
    }
}
