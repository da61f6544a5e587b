//! What proves a violation beside its pictures: a clip of encoded access units.
//! The encoded streams are kept in memory only, in rings that begin at a keyframe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kitchen_core::config::ClipConfig;
use kitchen_core::time::Mono;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::camera::CameraEvent;
use kitchen_vision::clip::{self, Clip};
use kitchen_vision::gop_ring::GopRing;
use kitchen_vision::privacy_mask::PrivacyMask;
use kitchen_vision::reencode::{Reencoded, Report, Wanted, reencode};

/// Most that the sub-stream's ring of one camera takes in memory; two minutes at 1.5 Mbit/s.
const RING_BYTES: usize = 24 * 1024 * 1024;
/// The same of the main stream: half a minute at 4 Mbit/s. Where it reaches back less far, the sub-stream serves.
const MAIN_RING_BYTES: usize = 16 * 1024 * 1024;
/// What a ring holds beyond the time asked for: it begins at a keyframe.
const RING_MARGIN: Duration = Duration::from_secs(5);
/// A masked clip may have so many bytes however few the camera's own has.
const ENOUGH_BYTES: u64 = 100_000;
/// A stream that ends so much before a clip does was lost on the way.
const LATE: Duration = Duration::from_secs(1);

/// The encoded streams of one camera in memory.
pub struct Recorder {
    /// The main stream first, where there is one.
    streams: Vec<Mutex<Stream>>,
    mask: Arc<PrivacyMask>,
}

struct Stream {
    ring: GopRing,
    info: Option<StreamInfo>,
    /// Counts the times the stream was opened: units of two of them never stand in one clip.
    opened: u64,
    has_keyframe: bool,
    is_lost: bool,
}

/// Units taken out of the rings for a clip whose end is still to come.
pub struct Held {
    from: Mono,
    parts: Vec<Part>,
}

/// The units of one stream, of one time it was open.
struct Part {
    stream: usize,
    opened: u64,
    info: StreamInfo,
    units: Vec<AccessUnit>,
}

/// All that a clip is made of.
pub struct ClipMaterial {
    units: Vec<AccessUnit>,
    info: StreamInfo,
    from: Mono,
    mask: Arc<PrivacyMask>,
}

/// A finished clip and when its first picture arrived.
pub struct CutClip {
    pub clip: Clip,
    pub start: Mono,
    pub reencoded: Option<Report>,
}

impl Recorder {
    /// Keeps the streams for `span` and what a clip begins before it, and for what comes of it after it was held.
    #[must_use]
    pub fn new(span: Duration, clip: ClipConfig, mask: Arc<PrivacyMask>, has_main_stream: bool) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let whole = (span + seconds(clip.pre_s)).max(seconds(clip.post_s)) + RING_MARGIN;
        let sizes = [MAIN_RING_BYTES, RING_BYTES].into_iter().skip(usize::from(!has_main_stream));
        Self { streams: sizes.map(|bytes| Mutex::new(Stream::new(whole, bytes))).collect(), mask }
    }

    /// What the sub-stream brings.
    pub fn handle_opened(&self, info: StreamInfo) {
        self.lock(self.streams.len() - 1).open(info);
    }

    pub fn handle_unit(&self, unit: AccessUnit) {
        self.lock(self.streams.len() - 1).push(unit);
    }

    /// What the main stream brings. One that is lost shows nothing of what comes now: the sub-stream does.
    pub fn handle_main(&self, event: &CameraEvent) {
        let mut stream = self.lock(0);
        match event {
            CameraEvent::Opened(info) => stream.open(info.clone()),
            CameraEvent::Unit(unit) => stream.push(unit.clone()),
            CameraEvent::Lost { .. } => stream.is_lost = true,
        }
    }

    /// Takes what there is from `from` on; the data is shared with the rings.
    ///
    /// # Errors
    /// Why there is nothing, for the alert's `clip_status`.
    pub fn hold(&self, from: Mono) -> Result<Held, String> {
        let sub = self.streams.len() - 1;
        let mut parts = Vec::new();
        for index in 0..self.streams.len() {
            let stream = self.lock(index);
            let Some((units, info)) = stream.ring.since(from).zip(stream.info.clone()) else { continue };
            let reaches_back = units.first().is_some_and(|unit| unit.received <= from);
            if (reaches_back && !stream.is_lost) || index == sub {
                parts.push(Part { stream: index, opened: stream.opened, info, units });
            }
        }
        if parts.is_empty() { Err(self.lock(sub).why_empty()) } else { Ok(Held { from, parts }) }
    }

    /// What was held and what has come since, up to `to`: of the main stream if it came so far, else of the one that
    /// came furthest.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn collect(&self, held: Held, to: Mono) -> Result<ClipMaterial, String> {
        let Held { from, mut parts } = held;
        parts.iter_mut().for_each(|part| self.lock(part.stream).extend(part, to));
        let ends: Vec<Mono> = parts.iter().filter_map(|part| part.units.last()).map(|unit| unit.received).collect();
        let complete = ends.iter().position(|end| *end + LATE >= to);
        let furthest = || (0..ends.len()).rev().max_by_key(|index| ends[*index]);
        let index = complete.or_else(furthest).ok_or("no picture was kept")?;
        let Part { units, info, .. } = parts.swap_remove(index);
        Ok(ClipMaterial { units, info, from, mask: Arc::clone(&self.mask) })
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Stream> {
        self.streams[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn new(span: Duration, bytes: usize) -> Self {
        Self { ring: GopRing::new(span, bytes), info: None, opened: 0, has_keyframe: false, is_lost: false }
    }

    fn open(&mut self, info: StreamInfo) {
        self.ring.clear();
        self.info = Some(info);
        self.opened += 1;
        (self.has_keyframe, self.is_lost) = (false, false);
    }

    fn push(&mut self, unit: AccessUnit) {
        self.has_keyframe |= unit.keyframe;
        self.ring.push(unit);
    }

    /// Adds what has come since, up to `to`. Where the ring no longer holds what follows, a clip with a hole would not
    /// decode: then it ends here.
    fn extend(&self, part: &mut Part, to: Mono) {
        if let Some(last) = part.units.last().filter(|_| self.opened == part.opened) {
            let newer = self.ring.since(last.received).unwrap_or_default();
            let known = newer.iter().rposition(|unit| (unit.received, unit.pts_90k) == (last.received, last.pts_90k));
            part.units.extend(known.map(|place| newer.into_iter().skip(place + 1)).into_iter().flatten());
        }
        let wanted = part.units.partition_point(|unit| unit.received <= to);
        let complete = without_holes(&part.units, wanted);
        part.units.truncate(complete);
    }

    fn why_empty(&self) -> String {
        match (self.opened, self.has_keyframe) {
            (0, _) => "the camera's stream has not been opened yet".to_owned(),
            (_, true) => format!(
                "one group of pictures has more than the {} MB kept in memory: lower the stream's bit rate, or let the \
                 camera send keyframes more often",
                RING_BYTES / (1024 * 1024)
            ),
            (1, false) => "no keyframe has come since the stream was opened".to_owned(),
            (_, false) => "no keyframe has come since the camera was connected again".to_owned(),
        }
    }
}

impl ClipMaterial {
    /// A clip of at most `max_bytes`: as the camera coded it where that fits, else encoded anew. What a mask hides is
    /// never in it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn into_clip(self, max_bytes: u64) -> Result<CutClip, String> {
        let Self { units, info, from, mask } = self;
        let coded: u64 = units.iter().map(|unit| unit.data.len() as u64).sum();
        if mask.is_empty() && coded <= max_bytes {
            let start = units.first().map(|unit| unit.received).ok_or("no picture was kept")?;
            let clip = clip::mux(&units, &info).map_err(|error| error.to_string())?;
            if clip.bytes.len() as u64 <= max_bytes {
                return Ok(CutClip { clip, start, reencoded: None });
            }
        }
        // A camera codes as well as we do: a masked clip has no use for many more bytes than its own has.
        let max_bytes = max_bytes.min((coded + coded / 4).max(ENOUGH_BYTES));
        let Reencoded { clip, start, report } =
            reencode(&units, &info, &Wanted { mask: &mask, from, max_bytes }).map_err(|error| error.to_string())?;
        Ok(CutClip { clip, start, reencoded: Some(report) })
    }
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
    use kitchen_vision::camera::CameraError;

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

    fn info(width: u32) -> StreamInfo {
        let (sps, pps, codec) = (Bytes::new(), Bytes::new(), "avc1.64001e".to_owned());
        StreamInfo { codec, width, height: width, sps, pps, frame_rate: None, full_range: false }
    }

    fn recorder(has_main_stream: bool) -> Recorder {
        let clip = ClipConfig { pre_s: 5, post_s: 5, max_bytes: 700_000 };
        Recorder::new(Duration::from_secs(5), clip, Arc::default(), has_main_stream)
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    /// Ten pictures a second from `from` to `to`, of both streams, a keyframe every 2 s.
    fn feed(recorder: &Recorder, from: u64, to: u64, bytes: usize, main: bool) {
        for ms in (from..to).step_by(100) {
            recorder.handle_unit(unit(ms, bytes));
            if main {
                recorder.handle_main(&CameraEvent::Unit(unit(ms, bytes)));
            }
        }
    }

    #[test]
    fn the_main_stream_shows_it_where_it_reaches_back_and_goes_on() {
        for (since, lost, width) in [(0, None, 1920), (4000, None, 640), (0, Some(9000), 640), (0, Some(11_500), 1920)]
        {
            let recorder = recorder(true);
            recorder.handle_opened(info(640));
            recorder.handle_main(&CameraEvent::Opened(info(1920)));
            feed(&recorder, 0, since, 10, false);
            feed(&recorder, since, 8000, 10, true);
            let held = recorder.hold(at(2500)).expect("filled");
            feed(&recorder, 8000, lost.unwrap_or(13_000), 10, true);
            if let Some(lost) = lost {
                feed(&recorder, lost, 13_000, 10, false);
                recorder.handle_main(&CameraEvent::Lost { error: CameraError::Ended });
            }
            let clip = recorder.collect(held, at(12_000)).expect("filled");
            let times: Vec<u64> = clip.units.iter().map(|unit| unit.received.as_millis()).collect();
            let end = if width == 1920 { lost.map_or(12_000, |lost| lost - 100) } else { 12_000 };
            assert_eq!(
                (clip.info.width, times.first(), times.last()),
                (width, Some(&2000), Some(&end)),
                "{since} {lost:?}"
            );
        }
    }

    #[test]
    fn a_clip_that_can_t_be_says_why() {
        let why = |recorder: &Recorder| recorder.hold(at(0)).err().unwrap_or_default();
        let recorder = recorder(false);
        assert!(why(&recorder).contains("not been opened"));
        for (times, expected) in [(1, "since the stream was opened"), (2, "since the camera was connected again")] {
            recorder.handle_opened(info(640));
            recorder.handle_unit(unit(times * 100, 10));
            assert!(why(&recorder).contains(expected), "{}", why(&recorder));
        }
        recorder.handle_unit(unit(2000, 10));
        assert_eq!(why(&recorder), "");
        recorder.handle_unit(unit(2100, RING_BYTES));
        assert!(why(&recorder).contains("24 MB"), "{}", why(&recorder));
    }

    #[test]
    fn a_clip_ends_where_the_stream_was_opened_anew_or_the_ring_has_lost_what_follows() {
        for overflows in [false, true] {
            let recorder = recorder(false);
            recorder.handle_opened(info(640));
            feed(&recorder, 0, 5000, 10, false);
            let held = recorder.hold(at(1000)).expect("filled");
            if overflows {
                feed(&recorder, 5000, 9000, RING_BYTES / 15, false);
            } else {
                recorder.handle_opened(info(640));
                feed(&recorder, 6000, 9000, 10, false);
            }
            let clip = recorder.collect(held, at(9000)).expect("filled");
            assert_eq!(clip.units.last().map(|unit| unit.received), Some(at(4900)));
        }
    }
}
