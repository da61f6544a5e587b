//! H.264 access units in decode order in, frames in order of presentation out.
//! Skips to the next keyframe after damage; copies only the frames that are wanted.

use kitchen_core::time::Mono;
use openh264::OpenH264API;
use openh264::decoder::{DecodeOptions, DecodedYUV, DecoderConfig, Flush};
use openh264::formats::YUVSource as _;

use crate::access_unit::AccessUnit;
use crate::frame::{Frame, Plane};
use crate::h264;

/// No H.264 stream holds back more pictures than this.
const MAX_REORDERED: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("could not start the H.264 decoder: {0}")]
    Start(String),
    /// The rest of the group of pictures is skipped.
    #[error("damaged picture, waiting for the next keyframe: {0}")]
    Damaged(String),
}

/// One stream's decoder. Counts are since it was made.
pub struct Decoder {
    inner: openh264::decoder::Decoder,
    pending: Vec<Pending>,
    waits_for_keyframe: bool,
    sps: Vec<u8>,
    full_range: bool,
    decoded: u64,
    errors: u64,
}

#[derive(Clone, Copy)]
struct Pending {
    pts_90k: i64,
    received: Mono,
}

impl Decoder {
    /// # Errors
    /// [`DecodeError::Start`].
    pub fn new() -> Result<Self, DecodeError> {
        Ok(Self {
            inner: open()?,
            pending: Vec::new(),
            waits_for_keyframe: true,
            sps: Vec::new(),
            full_range: false,
            decoded: 0,
            errors: 0,
        })
    }

    /// Decodes one unit. With B-frames a picture comes out one unit later; a keyframe brings out all that was held
    /// back, so there may be several. `wanted` is asked for each picture with its presentation time (90 kHz) and
    /// arrival; only wanted ones are copied and returned.
    ///
    /// # Errors
    /// [`DecodeError::Damaged`]; units up to the next keyframe then return nothing.
    pub fn decode(
        &mut self,
        unit: &AccessUnit,
        mut wanted: impl FnMut(i64, Mono) -> bool,
    ) -> Result<Vec<Frame>, DecodeError> {
        if self.waits_for_keyframe && !unit.keyframe {
            return Ok(Vec::new());
        }
        let mut frames = Vec::new();
        if unit.keyframe {
            self.begin_group(unit, &mut frames, &mut wanted)?;
        }
        let options = DecodeOptions::new().flush_after_decode(Flush::NoFlush);
        self.pending.push(Pending { pts_90k: unit.pts_90k, received: unit.received });
        if self.pending.len() > MAX_REORDERED {
            take_earliest(&mut self.pending);
        }
        match self.inner.decode_with_options(&unit.data, options) {
            Ok(Some(picture)) => {
                self.decoded += 1;
                frames.extend(emit(&picture, &mut self.pending, self.full_range, &mut wanted));
                Ok(frames)
            }
            Ok(None) => Ok(frames),
            Err(error) => {
                self.errors += 1;
                self.restart()?;
                Err(DecodeError::Damaged(error.to_string()))
            }
        }
    }

    /// The pictures that are still held back; call at the end of a stream.
    pub fn drain(&mut self, mut wanted: impl FnMut(i64, Mono) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        // An error here means that nothing was held back.
        if let Ok(pictures) = self.inner.flush_remaining() {
            for picture in pictures {
                self.decoded += 1;
                frames.extend(emit(&picture, &mut self.pending, self.full_range, &mut wanted));
            }
        }
        self.pending.clear();
        frames
    }

    /// Pictures decoded, wanted or not.
    #[must_use]
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Damaged units.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Nothing after an IDR picture is shown before what precedes it, so timestamps start afresh here.
    fn begin_group(
        &mut self,
        unit: &AccessUnit,
        frames: &mut Vec<Frame>,
        wanted: &mut impl FnMut(i64, Mono) -> bool,
    ) -> Result<(), DecodeError> {
        if !self.pending.is_empty() {
            frames.extend(self.drain(wanted));
            // A drained decoder that goes on runs out of picture buffers two groups later.
            self.restart()?;
        }
        self.waits_for_keyframe = false;
        if let Some(sps) = h264::nal_units(&unit.data).find(|nal| h264::nal_type(nal) == h264::SPS)
            && sps != self.sps
        {
            self.full_range = h264::is_full_range(sps);
            self.sps = sps.to_vec();
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), DecodeError> {
        self.waits_for_keyframe = true;
        self.pending.clear();
        self.inner = open()?;
        Ok(())
    }
}

fn open() -> Result<openh264::decoder::Decoder, DecodeError> {
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    openh264::decoder::Decoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| DecodeError::Start(error.to_string()))
}

fn emit(
    picture: &DecodedYUV<'_>,
    pending: &mut Vec<Pending>,
    full_range: bool,
    wanted: &mut impl FnMut(i64, Mono) -> bool,
) -> Option<Frame> {
    let Pending { pts_90k, received } = take_earliest(pending)?;
    if !wanted(pts_90k, received) {
        return None;
    }
    let (width, height) = picture.dimensions();
    let strides = picture.strides();
    let planes = [
        Plane { data: picture.y(), stride: strides.0 },
        Plane { data: picture.u(), stride: strides.1 },
        Plane { data: picture.v(), stride: strides.2 },
    ];
    let frame = Frame::from_planes(u32::try_from(width).ok()?, u32::try_from(height).ok()?, planes)?;
    Some(Frame { full_range, pts_90k, captured: received, ..frame })
}

fn take_earliest(pending: &mut Vec<Pending>) -> Option<Pending> {
    let (earliest, _) = pending.iter().enumerate().min_by_key(|(_, pending)| pending.pts_90k)?;
    Some(pending.swap_remove(earliest))
}
