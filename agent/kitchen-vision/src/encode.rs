//! Frames in, H.264 access units out: what a masked or too heavy stream becomes.
//! One slice of constrained baseline a picture, no B-frames; keeps the range and the colours of what comes in.

use kitchen_core::time::Mono;
use openh264::encoder::{
    BitRate, ColorPrimaries, Complexity, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, MatrixCoefficients,
    QpRange, RateControlMode, TransferCharacteristics, UsageType, VuiConfig,
};
use openh264::formats::YUVSource;
use openh264::{OpenH264API, Timestamp};

use crate::access_unit::{AccessUnit, StreamInfo, ticks_to_ms};
use crate::frame::Frame;
use crate::h264;

/// How a stream is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderSettings {
    pub bits_per_second: u32,
    /// Pictures a second that will come; the rate control shares the bits out by it.
    pub frame_rate: f32,
    /// Pictures from one keyframe to the next; 0 for none but the first and those asked for.
    pub keyframe_interval: u32,
    pub colours: Colours,
    /// The finest and the coarsest quantiser, 0 to 51. Between two that are alike the bits have no say.
    pub quantisers: (u8, u8),
}

impl EncoderSettings {
    #[must_use]
    pub const fn new(bits_per_second: u32, frame_rate: f32) -> Self {
        Self { bits_per_second, frame_rate, keyframe_interval: 0, colours: Colours::Unknown, quantisers: (0, 51) }
    }
}

/// How the planes become red, green and blue. A player guesses it by the size where a stream doesn't say, and would
/// guess wrongly once the size has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    #[default]
    Unknown,
    Bt601,
    Bt709,
}

impl Colours {
    /// What the stream says, else what players take it for.
    #[must_use]
    pub fn of(info: &StreamInfo) -> Self {
        match h264::matrix_coefficients(&info.sps) {
            Some(1) => Self::Bt709,
            Some(5 | 6) => Self::Bt601,
            Some(_) => Self::Unknown,
            None if info.height >= 720 => Self::Bt709,
            None => Self::Bt601,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("could not start the H.264 encoder for {width}×{height}: {reason}")]
    Start { width: u32, height: u32, reason: String },
    #[error("could not encode a picture: {0}")]
    Picture(String),
    #[error("a picture of {got_width}×{got_height} in a stream of {width}×{height}")]
    Size { width: u32, height: u32, got_width: u32, got_height: u32 },
}

/// One stream's encoder.
pub struct Encoder {
    width: u32,
    height: u32,
    settings: EncoderSettings,
    /// Made with the first frame, which says the range.
    inner: Option<openh264::encoder::Encoder>,
    first_pts_90k: i64,
    info: Option<StreamInfo>,
}

impl Encoder {
    /// For frames of this size. Of an odd one the last column or row is left out.
    ///
    /// # Errors
    /// [`EncodeError::Start`] for sizes that can't be encoded.
    pub fn new(width: u32, height: u32, settings: EncoderSettings) -> Result<Self, EncodeError> {
        let (longer, shorter) = (width.max(height), width.min(height));
        if shorter < LEAST_SIDE || longer > LONGEST_SIDE || shorter > LONGEST_SHORTER_SIDE {
            let reason = format!("sides of {LEAST_SIDE} to {LONGEST_SIDE} pixels are possible");
            return Err(EncodeError::Start { width, height, reason });
        }
        Ok(Self { width, height, settings, inner: None, first_pts_90k: 0, info: None })
    }

    /// Encodes the next frame; as a keyframe where one is asked for or due, with SPS and PPS before it.
    /// `None`: the encoder left this picture out.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn encode(&mut self, frame: &Frame, keyframe: bool) -> Result<Option<AccessUnit>, EncodeError> {
        let (width, height) = (self.width, self.height);
        if (frame.width, frame.height) != (width, height) {
            return Err(EncodeError::Size { width, height, got_width: frame.width, got_height: frame.height });
        }
        let inner = match &mut self.inner {
            Some(inner) => {
                if keyframe {
                    inner.force_intra_frame();
                }
                inner
            }
            None => {
                self.first_pts_90k = frame.pts_90k;
                self.inner.insert(open(width, height, &self.settings, frame.full_range)?)
            }
        };
        let ms = u64::try_from(ticks_to_ms(frame.pts_90k - self.first_pts_90k)).unwrap_or(0);
        let coded = inner.encode_at(&EvenPart(frame), Timestamp::from_millis(ms));
        let coded = coded.map_err(|error| EncodeError::Picture(error.to_string()))?;
        let data = coded.to_vec();
        if data.is_empty() {
            return Ok(None);
        }
        let keyframe = coded.frame_type() == FrameType::IDR;
        if self.info.is_none() {
            self.info = describe(&data, self.settings.frame_rate);
        }
        let (pts_90k, received) = (frame.pts_90k, frame.captured);
        Ok(Some(unit(data, pts_90k, received, keyframe)))
    }

    /// The stream's description; absent before the first picture.
    #[must_use]
    pub fn info(&self) -> Option<StreamInfo> {
        self.info.clone()
    }
}

const LEAST_SIDE: u32 = 16;
/// The encoder's own limits.
const LONGEST_SIDE: u32 = 3840;
const LONGEST_SHORTER_SIDE: u32 = 2160;

fn open(
    width: u32,
    height: u32,
    settings: &EncoderSettings,
    full_range: bool,
) -> Result<openh264::encoder::Encoder, EncodeError> {
    let (finest, coarsest) = (settings.quantisers.0.min(51), settings.quantisers.1.min(51));
    // The only mode that neither leaves pictures out nor complains that it may not.
    let mode = if finest == coarsest { RateControlMode::Bufferbased } else { RateControlMode::Bitrate };
    let config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(settings.bits_per_second))
        .max_frame_rate(FrameRate::from_hz(settings.frame_rate))
        .intra_frame_period(IntraFramePeriod::from_num_frames(settings.keyframe_interval))
        .rate_control_mode(mode)
        .usage_type(UsageType::CameraVideoRealTime)
        .complexity(Complexity::Medium)
        .qp(QpRange::new(finest.min(coarsest), coarsest))
        // Leaves the still parts of a picture as coarse as they first were.
        .background_detection(false)
        // A picture left out is a moment of the evidence; a scene that changes needs no keyframe of its own.
        .skip_frames(false)
        .scene_change_detect(false)
        .num_threads(1)
        .vui(vui(settings.colours).full_range(full_range));
    openh264::encoder::Encoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| EncodeError::Start { width, height, reason: error.to_string() })
}

fn vui(colours: Colours) -> VuiConfig {
    match colours {
        Colours::Unknown => VuiConfig::new()
            .color_primaries(ColorPrimaries::Unspecified)
            .transfer_characteristics(TransferCharacteristics::Unspecified)
            .matrix_coefficients(MatrixCoefficients::Unspecified),
        Colours::Bt601 => VuiConfig::bt601(),
        Colours::Bt709 => VuiConfig::bt709(),
    }
}

fn describe(data: &[u8], frame_rate: f32) -> Option<StreamInfo> {
    let set = |kind| h264::nal_units(data).find(|nal| h264::nal_type(nal) == kind);
    let info = h264::stream_info(set(h264::SPS)?, set(h264::PPS)?)?;
    Some(StreamInfo { frame_rate: Some(frame_rate), ..info })
}

fn unit(data: Vec<u8>, pts_90k: i64, received: Mono, keyframe: bool) -> AccessUnit {
    AccessUnit { data: data.into(), pts_90k, keyframe, received, lost_packets: 0 }
}

/// The frame without its last column or row where there is an odd number of them.
struct EvenPart<'a>(&'a Frame);

impl YUVSource for EvenPart<'_> {
    fn dimensions(&self) -> (usize, usize) {
        ((self.0.width & !1) as usize, (self.0.height & !1) as usize)
    }

    fn strides(&self) -> (usize, usize, usize) {
        let (chroma, _) = self.0.chroma_size();
        (self.0.width as usize, chroma, chroma)
    }

    fn y(&self) -> &[u8] {
        self.0.y()
    }

    fn u(&self) -> &[u8] {
        self.0.u()
    }

    fn v(&self) -> &[u8] {
        self.0.v()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Decoder;
    use crate::frame::tests::painted;

    /// A bright square that wanders over a gradient.
    fn frame(width: u32, height: u32, n: u32, full_range: bool) -> Frame {
        let left = 5 + n * 3 % (width / 2);
        let paint = |x: u32, y: u32| match (left..left + 20).contains(&x) && (10..30).contains(&y) {
            true => 255,
            false => u8::try_from((x + y) % 200).expect("a byte"),
        };
        let ms = u64::from(n) * 100;
        let frame = painted(width, height, paint);
        Frame { full_range, pts_90k: 7 + i64::from(n) * 9000, captured: Mono::from_millis(ms), ..frame }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_pictures_times_and_range() {
        for (width, height, full_range) in [(320, 180, false), (321, 181, true)] {
            let settings = EncoderSettings { keyframe_interval: 10, ..EncoderSettings::new(2_000_000, 10.0) };
            let mut encoder = Encoder::new(width, height, settings).expect("a usual size");
            assert_eq!(encoder.info(), None);
            let mut decoder = Decoder::new().expect("starts");
            for n in 0..25 {
                let original = frame(width, height, n, full_range);
                let unit = encoder.encode(&original, n == 5).expect("encodes").expect("no picture is left out");
                assert_eq!(unit.keyframe, [0, 5, 15].contains(&n), "picture {n}");
                assert_eq!((unit.pts_90k, unit.received), (original.pts_90k, original.captured));
                let mut decoded = decoder.decode(&unit, |_, _| true).expect("sound");
                decoded.extend(decoder.drain(|_, _| true));
                if let Some(decoded) = decoded.pop() {
                    assert_eq!((decoded.width, decoded.height), (width & !1, height & !1));
                    assert_eq!((decoded.full_range, decoded.pts_90k), (full_range, original.pts_90k));
                    let difference = |(x, y): (u32, u32)| {
                        let ours = decoded.y()[(y * decoded.width + x) as usize];
                        f32::from(ours.abs_diff(original.y()[(y * width + x) as usize]))
                    };
                    let places = (0..height & !1).flat_map(|y| (0..width & !1).map(move |x| (x, y)));
                    let mean = places.map(difference).sum::<f32>() / (decoded.y().len() as f32);
                    assert!(mean < 6.0, "picture {n} differs by {mean}");
                }
            }
            let info = encoder.info().expect("known now");
            assert_eq!((info.width, info.height, info.full_range), (width & !1, height & !1, full_range));
        }
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        let mut encoder = Encoder::new(320, 180, EncoderSettings::new(500_000, 10.0)).expect("a usual size");
        assert!(encoder.encode(&frame(160, 90, 0, false), false).is_err());
        assert!(Encoder::new(8, 8, EncoderSettings::new(500_000, 10.0)).is_err());
        assert!(Encoder::new(7680, 4320, EncoderSettings::new(500_000, 10.0)).is_err());
    }
}
