//! Access units as a fast-start MP4, without encoding anew.
//! Rebuilds decode times, which RTSP doesn't carry: the presentation times in ascending order.

use bytes::Bytes;
use muxide::api::{MuxerBuilder, MuxerError, VideoCodec};

use crate::access_unit::{AccessUnit, CLOCK_RATE, StreamInfo, ticks_to_ms};
use crate::h264;

/// A longer clip is a camera's clock that jumped.
const LONGEST_90K: i64 = 600 * CLOCK_RATE as i64;

/// An MP4 file with one H.264 track that begins at 0 with a keyframe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    pub bytes: Bytes,
    /// From the first picture to the end of the last.
    pub duration_ms: u64,
    /// Presentation times of the first and last picture in the camera's session.
    pub first_pts_90k: i64,
    pub last_pts_90k: i64,
    pub width: u32,
    pub height: u32,
    pub codec: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    #[error("no pictures for a clip")]
    Empty,
    #[error("the clip's first picture is no keyframe")]
    NoKeyframe,
    #[error("the stream's parameters changed within the clip, at picture {index}")]
    ParametersChanged { index: usize },
    #[error("the camera's timestamps jumped by {seconds} s within the clip")]
    TimestampsJumped { seconds: i64 },
    #[error("could not write the clip's MP4: {0}")]
    Write(#[from] MuxerError),
}

/// Writes `units`, in decode order and of one session, as MP4.
///
/// # Errors
/// [`ClipError`]; in particular when the first unit is no keyframe.
pub fn mux(units: &[AccessUnit], info: &StreamInfo) -> Result<Clip, ClipError> {
    let first = units.first().ok_or(ClipError::Empty)?;
    if !first.keyframe {
        return Err(ClipError::NoKeyframe);
    }
    let times = times(units)?;
    let mut bytes = Vec::with_capacity(units.iter().map(|unit| unit.data.len()).sum::<usize>() + 8192);
    let rate = f64::from(info.frame_rate.unwrap_or(25.0));
    let mut muxer = MuxerBuilder::new(&mut bytes)
        .video(VideoCodec::H264, info.width, info.height, rate)
        .with_fast_start(true)
        .build()?;
    for (index, (unit, (pts, dts))) in units.iter().zip(&times.samples).enumerate() {
        let data = slices_only(unit, info, index)?;
        let data = data.as_deref().unwrap_or(&unit.data);
        muxer.write_video_with_dts(seconds(*pts), seconds(*dts), data, unit.keyframe)?;
    }
    muxer.finish_in_place()?;
    drop(muxer);
    Ok(Clip {
        bytes: bytes.into(),
        duration_ms: u64::try_from(ticks_to_ms(times.duration_90k)).unwrap_or(0),
        first_pts_90k: times.first_pts_90k,
        last_pts_90k: times.last_pts_90k,
        width: info.width,
        height: info.height,
        codec: info.codec.clone(),
    })
}

struct Times {
    /// Presentation and decode times from 0, in ticks.
    samples: Vec<(i64, i64)>,
    duration_90k: i64,
    first_pts_90k: i64,
    last_pts_90k: i64,
}

/// Decode times are the presentation times in ascending order, made strictly increasing. A picture that is shown
/// before later decoded ones gets a negative composition offset (version 1 of `ctts`), so the clip begins at 0
/// without an edit list.
fn times(units: &[AccessUnit]) -> Result<Times, ClipError> {
    let mut sorted: Vec<i64> = units.iter().map(|unit| unit.pts_90k).collect();
    sorted.sort_unstable();
    let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else { return Err(ClipError::Empty) };
    let span = last.saturating_sub(first);
    if span > LONGEST_90K {
        return Err(ClipError::TimestampsJumped { seconds: span / i64::from(CLOCK_RATE) });
    }
    let mut decode = Vec::with_capacity(units.len());
    for pts in sorted {
        let after_previous = decode.last().map_or(0, |previous| previous + 1);
        decode.push(after_previous.max(pts - first));
    }
    let last_delta = match decode.as_slice() {
        [.., before, last] => last - before,
        _ => 0,
    };
    let samples = units.iter().map(|unit| unit.pts_90k - first).zip(decode).collect();
    Ok(Times { samples, duration_90k: span + last_delta, first_pts_90k: first, last_pts_90k: last })
}

#[expect(clippy::cast_precision_loss, reason = "at most 600 s: exact to the tick")]
fn seconds(ticks: i64) -> f64 {
    ticks as f64 / f64::from(CLOCK_RATE)
}

/// The unit without the parameter sets that the sample entry holds, and without delimiters; `None` for nothing to cut.
/// The first unit keeps its sets: the muxer reads them.
fn slices_only(unit: &AccessUnit, info: &StreamInfo, index: usize) -> Result<Option<Vec<u8>>, ClipError> {
    let is_set = |nal: &&[u8]| matches!(h264::nal_type(nal), h264::SPS | h264::PPS | h264::DELIMITER);
    if h264::nal_units(&unit.data).any(|nal| h264::nal_type(nal) == h264::SPS && nal != info.sps) {
        return Err(ClipError::ParametersChanged { index });
    }
    if index == 0 || !h264::nal_units(&unit.data).any(|nal| is_set(&nal)) {
        return Ok(None);
    }
    let mut data = Vec::with_capacity(unit.data.len());
    h264::nal_units(&unit.data).filter(|nal| !is_set(nal)).for_each(|nal| h264::push_annex_b(&mut data, nal));
    Ok((!data.is_empty()).then_some(data))
}
