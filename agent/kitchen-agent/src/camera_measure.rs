//! One camera looked at for some seconds: what its stream is, how regular, how heavy, and one picture of it.
//! Opens a stream of its own, beside a running agent's; never retries.

use std::sync::Arc;
use std::time::Duration;

use kitchen_core::time::Clock;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo, ticks_to_ms};
use kitchen_vision::camera::{CameraError, CameraEvent, CameraSource};
use kitchen_vision::decode::Decoder;
use kitchen_vision::frame::Frame;
use kitchen_vision::privacy_mask::PrivacyMask;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::SystemClock;

const UNITS: usize = 64;

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub least: Duration,
    /// Until so many keyframe intervals have been seen, but no longer than `most`.
    pub intervals: usize,
    pub most: Duration,
}

impl Patience {
    /// One picture is enough.
    pub const ONE_PICTURE: Self = Self { least: Duration::ZERO, intervals: 0, most: Duration::from_secs(15) };
}

/// What was seen of a stream.
#[derive(Clone, Debug)]
pub struct Measured {
    pub info: StreamInfo,
    pub span: Duration,
    pub pictures: u64,
    pub bytes: u64,
    pub keyframe_intervals: Vec<Duration>,
    /// The longest time without a keyframe, also one whose end was not seen.
    pub longest_without_keyframe: Duration,
    pub has_b_frames: bool,
    pub lost_packets: u64,
    pub damaged: u64,
    /// The latest picture that could be decoded, with the privacy masks.
    pub picture: Option<Frame>,
}

impl Measured {
    fn new(info: StreamInfo) -> Self {
        Self {
            info,
            span: Duration::ZERO,
            pictures: 0,
            bytes: 0,
            keyframe_intervals: Vec::new(),
            longest_without_keyframe: Duration::ZERO,
            has_b_frames: false,
            lost_packets: 0,
            damaged: 0,
            picture: None,
        }
    }

    /// Pictures a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = self.span.as_secs_f64();
        if seconds > 0.0 { self.pictures.saturating_sub(1) as f64 / seconds } else { 0.0 }
    }

    #[must_use]
    pub fn kilobits_a_second(&self) -> f64 {
        let seconds = self.span.as_secs_f64();
        if seconds > 0.0 { self.bytes as f64 * 8.0 / 1000.0 / seconds } else { 0.0 }
    }

    /// A keyframe comes when the camera likes: `Smart H.264` and its like.
    #[must_use]
    pub fn is_irregular(&self) -> bool {
        let (least, most) = (self.keyframe_intervals.iter().min(), self.keyframe_intervals.iter().max());
        least.zip(most).is_some_and(|(least, most)| most.as_secs_f64() > 1.5 * least.as_secs_f64())
    }

    fn take(&mut self, unit: &AccessUnit, mask: &PrivacyMask, decoder: &mut Decoder, times: &mut Times) {
        self.pictures += 1;
        self.bytes += unit.data.len() as u64;
        self.lost_packets += u64::from(unit.lost_packets);
        let first = *times.first.get_or_insert(unit.pts_90k);
        self.has_b_frames |= unit.pts_90k < times.latest;
        times.latest = times.latest.max(unit.pts_90k);
        self.span = between(first, times.latest);
        let since = between(times.keyframe.unwrap_or(first), unit.pts_90k);
        self.longest_without_keyframe = self.longest_without_keyframe.max(since);
        if unit.keyframe {
            if times.keyframe.is_some() {
                self.keyframe_intervals.push(since);
            }
            times.keyframe = Some(unit.pts_90k);
        }
        match decoder.decode(unit, |_, _| true) {
            Ok(frames) => {
                let newest = frames.into_iter().next_back().map(|frame| mask.burn(frame));
                self.picture = newest.or(self.picture.take());
            }
            Err(_) => self.damaged += 1,
        }
    }
}

struct Times {
    first: Option<i64>,
    latest: i64,
    keyframe: Option<i64>,
}

fn between(from: i64, to: i64) -> Duration {
    Duration::from_millis(u64::try_from(ticks_to_ms(to - from)).unwrap_or(0))
}

/// Opens the stream and looks at it; `mask` is burnt into the picture.
///
/// # Errors
/// Why there is no picture.
pub async fn measure(source: &CameraSource, mask: &PrivacyMask, patience: Patience) -> Result<Measured, CameraError> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    let (sender, mut events) = mpsc::channel(UNITS);
    let mut playing = std::pin::pin!(source.run_once(&clock, &sender));
    let began = Instant::now();
    let mut measured: Option<Measured> = None;
    let mut decoder = Decoder::new().map_err(|error| CameraError::Damaged { reason: error.to_string() })?;
    let mut times = Times { first: None, latest: i64::MIN, keyframe: None };
    let ended = loop {
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(CameraEvent::Opened(info)) if measured.is_none() => measured = Some(Measured::new(info)),
                Some(CameraEvent::Unit(unit)) => {
                    if let Some(measured) = &mut measured {
                        measured.take(&unit, mask, &mut decoder, &mut times);
                        let is_enough = measured.keyframe_intervals.len() >= patience.intervals;
                        if is_enough && measured.picture.is_some() && measured.span >= patience.least {
                            break None;
                        }
                    }
                }
                _ => {}
            },
            error = &mut playing => break Some(error),
            () = tokio::time::sleep_until(began + patience.most) => break None,
        }
    };
    match measured {
        Some(measured) if measured.pictures > 0 => Ok(measured),
        _ => Err(ended.unwrap_or(CameraError::Hung { seconds: patience.most.as_secs() })),
    }
}
