//! A clip too heavy for the link, or of a camera with privacy masks: its access units in, a clip of at most so many bytes
//! out. Pictures stream through, decoded, masked, scaled, encoded; the whole clip is never held decoded.

use kitchen_core::time::Mono;

use crate::access_unit::{AccessUnit, CLOCK_RATE, StreamInfo};
use crate::clip::{self, Clip, ClipError};
use crate::decode::{DecodeError, Decoder};
use crate::encode::{Colours, EncodeError, Encoder, EncoderSettings};
use crate::frame::Frame;
use crate::privacy_mask::PrivacyMask;
use crate::reencode::search::{Attempt, Material, Search};
use crate::scale::{ScaleError, Scaler};

mod search;

/// What is wanted of a clip.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub mask: &'a PrivacyMask,
    /// Pictures that arrived earlier only lead up to it.
    pub from: Mono,
    pub max_bytes: u64,
}

/// What was done to make it fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Reencoded {
    pub clip: Clip,
    /// When its first picture arrived.
    pub start: Mono,
    pub report: Report,
}

/// Of a clip encoded anew, for the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    pub source_bytes: u64,
    pub source_size: (u32, u32),
    pub source_frame_rate: f32,
    pub frame_rate: f32,
    /// How often all was decoded and encoded until it fitted.
    pub tries: u32,
    /// Damaged pictures that were left out, with what depends on them.
    pub damaged: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReencodeError {
    #[error("no picture of this stream could be decoded")]
    NoPicture,
    #[error("even its coarsest pictures take more than {max_bytes} bytes: raise clip.max_bytes")]
    TooLarge { max_bytes: u64 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Scale(#[from] ScaleError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Clip(#[from] ClipError),
}

/// Encodes `units`, in decode order and of one session, beginning with a keyframe, anew.
///
/// # Errors
/// [`ReencodeError`].
pub fn reencode(units: &[AccessUnit], info: &StreamInfo, wanted: &Wanted<'_>) -> Result<Reencoded, ReencodeError> {
    let source = Source::new(units, info, wanted)?;
    let mut search = Search::new(&source.material, wanted.max_bytes);
    let mut best = None;
    while let Some(attempt) = search.attempt() {
        let pass = source.encode(attempt, wanted.mask)?;
        if search.handle_bytes(pass.clip.bytes.len() as u64) {
            best = Some((attempt, pass));
        }
    }
    let (attempt, Pass { clip, start, damaged }) =
        best.ok_or(ReencodeError::TooLarge { max_bytes: wanted.max_bytes })?;
    let source_frame_rate = source.material.frame_rate;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let frame_rate = source_frame_rate / attempt.shape.every as f32;
    let report = Report {
        source_bytes: units.iter().map(|unit| unit.data.len() as u64).sum(),
        source_size: (info.width, info.height),
        source_frame_rate,
        frame_rate,
        tries: search.tries(),
        damaged,
    };
    Ok(Reencoded { clip, start, report })
}

/// Seconds between the keyframes of a clip: a player can jump to each.
const KEYFRAME_S: f32 = 5.0;
/// The same where the quantiser changes, which takes a keyframe too: another one would cost what the change saves.
const LONGEST_KEYFRAME_S: f32 = 8.0;

/// With one quantiser the bits have no say; the level in the stream goes by them.
const ANY_RATE: u32 = 2_000_000;

struct Pass {
    clip: Clip,
    start: Mono,
    damaged: u64,
}

/// What is encoded.
struct Source<'a> {
    units: &'a [AccessUnit],
    info: &'a StreamInfo,
    from: Mono,
    material: Material,
}

impl<'a> Source<'a> {
    fn new(units: &'a [AccessUnit], info: &'a StreamInfo, wanted: &Wanted<'_>) -> Result<Self, ReencodeError> {
        let shown: Vec<i64> =
            units.iter().filter(|unit| unit.received >= wanted.from).map(|unit| unit.pts_90k).collect();
        let (first, last) = shown.iter().min().zip(shown.iter().max()).ok_or(ReencodeError::NoPicture)?;
        #[expect(clippy::cast_precision_loss, reason = "a few minutes")]
        let (ticks, count) = ((last - first) as f32, shown.len() as f32);
        // The last picture is shown as long as the others.
        let seconds = (ticks / CLOCK_RATE as f32 * count / (count - 1.0).max(1.0)).max(0.1);
        let frame_rate = (count / seconds).clamp(1.0, 60.0);
        let material = Material { width: info.width, height: info.height, frame_rate, seconds };
        Ok(Self { units, info, from: wanted.from, material })
    }

    /// One pass over all units.
    fn encode(&self, attempt: Attempt, mask: &PrivacyMask) -> Result<Pass, ReencodeError> {
        let Attempt { shape, quantisers: (first, second), beginning } = attempt;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let frame_rate = (self.material.frame_rate / shape.every as f32).max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred pictures")]
        let count = |share_of: f32, seconds: f32| (share_of * seconds * frame_rate).round().max(1.0) as u32;
        let settings = EncoderSettings {
            keyframe_interval: count(1.0, if first == second { KEYFRAME_S } else { LONGEST_KEYFRAME_S }),
            colours: Colours::of(self.info),
            quantisers: (first, first),
            ..EncoderSettings::new(ANY_RATE, frame_rate)
        };
        let mut writing = Writing {
            scaler: Scaler::new(shape.width, shape.height),
            encoder: Encoder::new(shape.width, shape.height, settings)?,
            mask,
            coded: Vec::new(),
            taken: 0,
            rest: (first != second).then(|| {
                let rest = EncoderSettings { quantisers: (second, second), ..settings };
                (count(beginning, self.material.seconds), rest)
            }),
        };
        let mut decoder = Decoder::new()?;
        let (mut shown, mut damaged) = (0_u32, 0);
        let mut keep = |_, received| {
            let is_shown = received >= self.from;
            let is_kept = is_shown && shown.is_multiple_of(shape.every);
            shown += u32::from(is_shown);
            is_kept
        };
        for unit in self.units {
            match decoder.decode(unit, &mut keep) {
                Ok(frames) => writing.take(frames)?,
                Err(DecodeError::Damaged(_)) => damaged += 1,
                Err(error) => return Err(error.into()),
            }
        }
        writing.take(decoder.drain(&mut keep))?;
        let info = writing.encoder.info().ok_or(ReencodeError::NoPicture)?;
        let start = writing.coded.first().map(|unit| unit.received).ok_or(ReencodeError::NoPicture)?;
        Ok(Pass { clip: clip::mux(&writing.coded, &info)?, start, damaged })
    }
}

/// The far end of a pass.
struct Writing<'a> {
    scaler: Scaler,
    encoder: Encoder,
    mask: &'a PrivacyMask,
    coded: Vec<AccessUnit>,
    taken: u32,
    /// From which picture on what is coded otherwise; it begins with a keyframe.
    rest: Option<(u32, EncoderSettings)>,
}

impl Writing<'_> {
    fn take(&mut self, frames: Vec<Frame>) -> Result<(), ReencodeError> {
        for frame in frames {
            let scaled = self.scaler.scale(self.mask.burn(frame))?;
            if let Some((_, settings)) = self.rest.take_if(|(from, _)| self.taken >= *from) {
                self.encoder = Encoder::new(scaled.width, scaled.height, settings)?;
            }
            self.taken += 1;
            self.coded.extend(self.encoder.encode(&scaled, false)?);
        }
        Ok(())
    }
}
