//! What proves a violation beside its pictures: a clip of encoded access units.
//! The encoded stream is kept in memory only, in a ring that begins at a keyframe.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kitchen_core::config::ClipConfig;
use kitchen_core::time::Mono;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::clip::{self, Clip};
use kitchen_vision::gop_ring::GopRing;

/// Most that the ring of one camera takes in memory; two minutes at 1.5 Mbit/s.
const RING_BYTES: usize = 24 * 1024 * 1024;
/// What a ring holds beyond the time asked for: it begins at a keyframe.
const RING_MARGIN: Duration = Duration::from_secs(5);

/// The encoded stream of one camera in memory.
pub struct Recorder {
    stream: Mutex<Stream>,
}

struct Stream {
    ring: GopRing,
    info: Option<StreamInfo>,
    /// Counts the times the stream was opened: units of two of them never stand in one clip.
    opened: u64,
}

/// Units taken out of the ring for a clip whose end is still to come.
#[derive(Clone)]
pub struct Held {
    units: Vec<AccessUnit>,
    info: StreamInfo,
    opened: u64,
}

/// A finished clip and when its first picture arrived.
pub struct CutClip {
    pub clip: Clip,
    pub start: Mono,
}

impl Recorder {
    /// Keeps the stream for `span` and what a clip begins before it.
    #[must_use]
    pub fn new(span: Duration, clip: ClipConfig) -> Self {
        let whole = span + Duration::from_secs(u64::from(clip.pre_s)) + RING_MARGIN;
        Self { stream: Mutex::new(Stream { ring: GopRing::new(whole, RING_BYTES), info: None, opened: 0 }) }
    }

    pub fn handle_opened(&self, info: StreamInfo) {
        let mut stream = self.lock();
        stream.ring.clear();
        stream.info = Some(info);
        stream.opened += 1;
    }

    pub fn handle_unit(&self, unit: AccessUnit) {
        self.lock().ring.push(unit);
    }

    /// Takes what there is from `from` on; the data is shared with the ring.
    #[must_use]
    pub fn hold(&self, from: Mono) -> Option<Held> {
        let stream = self.lock();
        Some(Held { units: stream.ring.since(from)?, info: stream.info.clone()?, opened: stream.opened })
    }

    /// The clip up to `to`, from what was held and what has come since; shortened from its end to `max_bytes`.
    ///
    /// # Errors
    /// Why there is none, for the alert's `clip_status`.
    pub fn cut(&self, held: Held, to: Mono, max_bytes: u64) -> Result<CutClip, String> {
        let Held { mut units, info, opened } = held;
        let last = units.last().map(|unit| unit.received).ok_or("no picture was kept")?;
        let stream = self.lock();
        if stream.opened == opened && last < to {
            let newer = stream.ring.since(last).unwrap_or_default();
            // Units that arrived in the same millisecond as the last one held are told apart by their place.
            let known = newer.iter().rposition(|unit| unit.received == last).map_or(0, |place| place + 1);
            units.extend(newer.into_iter().skip(known).filter(|unit| unit.received > last));
        }
        drop(stream);
        let wanted = units.partition_point(|unit| unit.received <= to);
        let affordable = affordable(&units[..wanted], max_bytes)?;
        units.truncate(without_holes(&units, affordable));
        let start = units.first().map(|unit| unit.received).ok_or("no picture was kept")?;
        let clip = clip::mux(&units, &info).map_err(|error| error.to_string())?;
        Ok(CutClip { clip, start })
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Share of the limit that the container may take.
const CONTAINER: u64 = 50;
/// A clip shorter than this shows too little.
const LEAST: Duration = Duration::from_secs(3);

/// How many of the units, from the first, `max_bytes` hold.
fn affordable(units: &[AccessUnit], max_bytes: u64) -> Result<usize, String> {
    let limit = max_bytes - max_bytes / CONTAINER;
    let mut bytes = 0;
    let fits = |unit: &&AccessUnit| {
        bytes += unit.data.len() as u64;
        bytes <= limit
    };
    let count = units.iter().take_while(fits).count();
    let span = match &units[..count] {
        [first, .., last] => last.received.since(first.received),
        _ => Duration::ZERO,
    };
    if count < units.len() && span < LEAST {
        return Err(format!(
            "{} s of this stream have more than {max_bytes} bytes: lower the sub-stream's bit rate",
            LEAST.as_secs()
        ));
    }
    Ok(count)
}

/// How many of the first `wanted` units can be shown without a gap. With B-frames a picture is decoded before some
/// that are shown earlier: a clip that ended between them would lack those.
fn without_holes(units: &[AccessUnit], wanted: usize) -> usize {
    let (mut complete, mut latest, mut reordered) = (0, i64::MIN, false);
    for (index, unit) in units[..wanted].iter().enumerate() {
        reordered |= unit.pts_90k < latest;
        latest = latest.max(unit.pts_90k);
        let is_complete = units.get(index + 1).map_or(!reordered, |next| next.pts_90k > latest);
        if is_complete {
            complete = index + 1;
        }
    }
    if complete == 0 { wanted } else { complete }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_clip_never_ends_between_a_picture_and_those_shown_before_it() {
        let shown = |times: &[u64]| -> Vec<AccessUnit> { times.iter().map(|&ms| unit(ms, 1)).collect() };
        let with_b_frames = shown(&[0, 300, 100, 200, 600, 400, 500, 900]);
        for (wanted, complete) in [(1, 1), (2, 1), (3, 1), (4, 4), (5, 4), (6, 4), (7, 7), (8, 7)] {
            assert_eq!(without_holes(&with_b_frames, wanted), complete, "of {wanted}");
        }
        assert_eq!(without_holes(&shown(&[0, 100, 200]), 3), 3);
    }

    fn unit(ms: u64, bytes: usize) -> AccessUnit {
        let data = Bytes::from(vec![0; bytes]);
        let (keyframe, received) = (ms.is_multiple_of(2000), Mono::from_millis(ms));
        AccessUnit { data, pts_90k: ms as i64 * 90, keyframe, received, lost_packets: 0 }
    }

    #[test]
    fn a_clip_too_large_loses_its_end_and_is_refused_when_nothing_useful_is_left() {
        let units: Vec<AccessUnit> = (0..100).map(|n| unit(n * 100, 10_000)).collect();
        assert_eq!(affordable(&units, 700_000), Ok(68));
        let why = affordable(&units, 200_000).expect_err("2 s are too short");
        assert!(why.contains("bit rate"), "{why}");
        assert_eq!(affordable(&units, 2_000_000), Ok(100));
    }
}
