//! What proves a violation: pictures from the frame that shows it best, and a clip of encoded access units.
//! The encoded stream is kept in memory only, in a ring that begins at a keyframe.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use kitchen_core::config::ClipConfig;
use kitchen_core::time::Mono;
use kitchen_store::NewSnapshot;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::clip::{self, Clip};
use kitchen_vision::gop_ring::GopRing;
use kitchen_vision::picture;

use crate::analysis::Sight;

/// Most that the ring of one camera takes in memory; two minutes at 1.5 Mbit/s.
const RING_BYTES: usize = 24 * 1024 * 1024;
/// What a ring holds beyond the time asked for: it begins at a keyframe.
const RING_MARGIN: Duration = Duration::from_secs(5);

/// The picture for the district with boxes, and the clean original that stays on the box.
///
/// # Errors
/// When a picture can't be encoded.
pub fn snapshot(sight: &Sight) -> Result<NewSnapshot> {
    let sent = picture::annotate(&sight.frame, &sight.boxes, picture::ALERT_BYTES)?;
    let original = picture::clean(&sight.frame)?;
    Ok(NewSnapshot { sent: sent.bytes, original: original.bytes, width: sent.width, height: sent.height })
}

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
        units.retain(|unit| unit.received <= to);
        shorten(&mut units, max_bytes)?;
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

fn shorten(units: &mut Vec<AccessUnit>, max_bytes: u64) -> Result<(), String> {
    let limit = max_bytes - max_bytes / CONTAINER;
    let whole: u64 = units.iter().map(|unit| unit.data.len() as u64).sum();
    let mut bytes = whole;
    while bytes > limit {
        let Some(unit) = units.pop() else { break };
        bytes -= unit.data.len() as u64;
    }
    let span =
        units.first().zip(units.last()).map_or(Duration::ZERO, |(first, last)| last.received.since(first.received));
    if bytes < whole && span < LEAST {
        return Err(format!(
            "{} s of this stream have more than {max_bytes} bytes: lower the sub-stream's bit rate",
            LEAST.as_secs()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn unit(ms: u64, bytes: usize) -> AccessUnit {
        let data = Bytes::from(vec![0; bytes]);
        let (keyframe, received) = (ms.is_multiple_of(2000), Mono::from_millis(ms));
        AccessUnit { data, pts_90k: ms as i64 * 90, keyframe, received, lost_packets: 0 }
    }

    #[test]
    fn a_clip_too_large_loses_its_end_and_is_refused_when_nothing_useful_is_left() {
        let units: Vec<AccessUnit> = (0..100).map(|n| unit(n * 100, 10_000)).collect();
        let mut kept = units.clone();
        shorten(&mut kept, 700_000).expect("long enough");
        assert_eq!(kept.len(), 68);
        let why = shorten(&mut units.clone(), 200_000).expect_err("2 s are too short");
        assert!(why.contains("bit rate"), "{why}");
        let mut whole = units;
        shorten(&mut whole, 2_000_000).expect("fits");
        assert_eq!(whole.len(), 100);
    }
}
