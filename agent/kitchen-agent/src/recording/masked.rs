//! What a camera with privacy masks becomes before it is recorded: decoded, masked, encoded anew. Nothing that the
//! camera sent goes on from here.

use kitchen_core::time::Mono;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::decode::{DecodeError, Decoder};
use kitchen_vision::encode::{Colours, EncodeError, Encoder, EncoderSettings};
use kitchen_vision::frame::Frame;
use kitchen_vision::privacy_mask::PrivacyMask;

/// 640×360 with ten to fifteen pictures a second look well at it.
const BITS_A_PIXEL_A_SECOND: f32 = 2.5;
const USUAL_RATE: f32 = 15.0;
const KEYFRAME_EVERY_90K: i64 = 2 * 90_000;

#[derive(Debug, thiserror::Error)]
pub enum MaskedError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// One camera's stream on its way through the masks.
pub struct Masked {
    mask: PrivacyMask,
    stream: Option<Stream>,
}

struct Stream {
    info: StreamInfo,
    opened: Mono,
    decoder: Decoder,
    encoder: Option<Encoder>,
    size: (u32, u32),
    keyframe_90k: Option<i64>,
}

/// A coded picture; with the stream's description where one begins.
pub struct MaskedUnit {
    pub unit: AccessUnit,
    pub begins: Option<(StreamInfo, Mono)>,
}

impl Masked {
    #[must_use]
    pub fn new(mask: PrivacyMask) -> Self {
        Self { mask, stream: None }
    }

    /// # Errors
    /// When there can be no decoder.
    pub fn handle_opened(&mut self, info: StreamInfo, opened: Mono) -> Result<(), MaskedError> {
        self.stream = None;
        let decoder = Decoder::new()?;
        self.stream = Some(Stream { info, opened, decoder, encoder: None, size: (0, 0), keyframe_90k: None });
        Ok(())
    }

    /// What follows does not go on where the last unit ended: it begins with a keyframe.
    ///
    /// # Errors
    /// When there can be no decoder.
    pub fn handle_broken(&mut self) -> Result<(), MaskedError> {
        if let Some(stream) = &mut self.stream {
            stream.decoder = Decoder::new()?;
            stream.keyframe_90k = None;
        }
        Ok(())
    }

    /// The coded pictures that this unit brings out.
    ///
    /// # Errors
    /// [`MaskedError`]; up to the next keyframe nothing comes out then.
    pub fn handle_unit(&mut self, unit: &AccessUnit) -> Result<Vec<MaskedUnit>, MaskedError> {
        let Some(stream) = &mut self.stream else { return Ok(Vec::new()) };
        let frames = stream.decoder.decode(unit, |_, _| true)?;
        let mut coded = Vec::new();
        for frame in frames {
            coded.extend(stream.encode(&self.mask.burn(frame))?);
        }
        Ok(coded)
    }
}

impl Stream {
    fn encode(&mut self, frame: &Frame) -> Result<Option<MaskedUnit>, MaskedError> {
        let is_due = self.keyframe_90k.is_none_or(|at| frame.pts_90k.saturating_sub(at) >= KEYFRAME_EVERY_90K);
        let size = (frame.width, frame.height);
        let encoder = match &mut self.encoder {
            Some(encoder) if self.size == size => encoder,
            other => {
                self.size = size;
                other.insert(encoder(frame, &self.info)?)
            }
        };
        let is_first = encoder.info().is_none();
        let Some(unit) = encoder.encode(frame, is_due)? else { return Ok(None) };
        if unit.keyframe {
            self.keyframe_90k = Some(unit.pts_90k);
        }
        let begins = if is_first { encoder.info().map(|info| (info, self.opened)) } else { None };
        Ok(Some(MaskedUnit { unit, begins }))
    }
}

fn encoder(frame: &Frame, info: &StreamInfo) -> Result<Encoder, EncodeError> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rate")]
    let bits_per_second = ((frame.width * frame.height) as f32 * BITS_A_PIXEL_A_SECOND) as u32;
    let frame_rate = info.frame_rate.unwrap_or(USUAL_RATE);
    let settings = EncoderSettings::new(bits_per_second, frame_rate);
    Encoder::new(frame.width, frame.height, EncoderSettings { colours: Colours::of(info), ..settings })
}
