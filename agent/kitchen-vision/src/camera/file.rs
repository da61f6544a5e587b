//! An MP4 file with H.264 as a source of access units: read at once for a replay, or in real time and looped as a camera.
//! Follows composition offsets and the edit list; reads a file that was cut off up to the cut.

mod layout;

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kitchen_core::time::{Clock, Mono};
use re_mp4::{Mp4, StsdBoxContent, TrackKind};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::access_unit::{AccessUnit, CLOCK_RATE, StreamInfo, ticks_to_ms};
use crate::camera::{CameraError, CameraEvent};
use crate::h264;

use self::layout::Layout;

/// No coded picture of a camera is larger; a damaged index may say so.
const MAX_SAMPLE_BYTES: u64 = 16 * 1024 * 1024;

/// Times farther from the start are a damaged table's: so that sums of a few of them still are numbers.
const FARTHEST_90K: i128 = 1 << 60;

/// The index of an MP4's first H.264 track.
#[derive(Clone, Debug)]
pub struct FileVideo {
    path: PathBuf,
    info: StreamInfo,
    length_bytes: usize,
    samples: Vec<Sample>,
    /// Samples that lie whole in the file.
    complete: usize,
    end_90k: i64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    offset: u64,
    size: u64,
    dts_90k: i64,
    pts_90k: i64,
}

impl FileVideo {
    /// Reads the index.
    ///
    /// # Errors
    /// [`CameraError::File`], [`CameraError::NotMp4`], [`CameraError::CutOff`], [`CameraError::Encoding`],
    /// [`CameraError::NoVideo`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CameraError> {
        let path = path.as_ref();
        let unreadable = |source| CameraError::File { path: path.to_owned(), source };
        let not_mp4 = |reason: String| CameraError::NotMp4 { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let layout = Layout::scan(&mut BufReader::new(&file), length).map_err(unreadable)?;
        if !layout.is_mp4 {
            return Err(not_mp4("it does not begin like one".to_owned()));
        }
        if !layout.has_index {
            return Err(CameraError::CutOff { path: path.to_owned() });
        }
        if layout.is_damaged {
            return Err(not_mp4("its index is damaged".to_owned()));
        }
        file.rewind().map_err(unreadable)?;
        let end = layout.readable_end;
        let reader = layout.reader(BufReader::new(file));
        // The reader indexes tables of a damaged file unchecked.
        let parsed = catch_unwind(AssertUnwindSafe(|| Mp4::read(reader, end)));
        let mp4 = parsed
            .map_err(|_| not_mp4("its index is damaged".to_owned()))?
            .map_err(|error| not_mp4(error.to_string()))?;
        Self::from_index(path, &mp4, length)
    }

    fn from_index(path: &Path, mp4: &Mp4, length: u64) -> Result<Self, CameraError> {
        let not_mp4 = |reason: &str| CameraError::NotMp4 { path: path.to_owned(), reason: reason.to_owned() };
        let track = mp4.tracks().values().find(|track| track.kind == Some(TrackKind::Video));
        let track = track.ok_or(CameraError::NoVideo)?;
        let trak = track.trak(mp4);
        let avc = match &trak.mdia.minf.stbl.stsd.contents {
            StsdBoxContent::Avc1(avc) => &avc.avcc,
            StsdBoxContent::Hev1(_) | StsdBoxContent::Hvc1(_) => {
                return Err(CameraError::Encoding { encoding: "H.265".to_owned() });
            }
            _ => return Err(not_mp4("its video is not H.264")),
        };
        let sets = (avc.sequence_parameter_sets.first(), avc.picture_parameter_sets.first());
        let (Some(sps), Some(pps)) = sets else { return Err(not_mp4("it has no parameter sets")) };
        let mut info = h264::stream_info(&sps.bytes, &pps.bytes).ok_or_else(|| not_mp4("its SPS is damaged"))?;
        let timescale = i128::from(track.timescale);
        if timescale == 0 || track.samples.is_empty() {
            return Err(not_mp4("its video track is empty"));
        }
        let start = edit_start(trak, track);
        let ticks = |time: i64| {
            let ticks = (i128::from(time) - i128::from(start)) * i128::from(CLOCK_RATE) / timescale;
            i64::try_from(ticks.clamp(-FARTHEST_90K, FARTHEST_90K)).unwrap_or(0)
        };
        let samples: Vec<Sample> = track
            .samples
            .iter()
            .map(|sample| Sample {
                offset: sample.offset,
                size: sample.size,
                dts_90k: ticks(sample.decode_timestamp),
                pts_90k: ticks(sample.composition_timestamp),
            })
            .collect();
        let fits = |sample: &Sample| {
            sample.size <= MAX_SAMPLE_BYTES && sample.offset.checked_add(sample.size).is_some_and(|end| end <= length)
        };
        let complete = samples.iter().position(|sample| !fits(sample)).unwrap_or(samples.len());
        let end_90k = end_of(&samples);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = samples.len() as f32 * CLOCK_RATE as f32 / (end_90k - first_pts(&samples)).max(1) as f32;
        info.frame_rate = Some(rate);
        let length_bytes = usize::from(avc.length_size_minus_one & 3) + 1;
        Ok(Self { path: path.to_owned(), info, length_bytes, samples, complete, end_90k })
    }

    #[must_use]
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// From the first picture that is shown to the end of the last one, as the index says.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        u64::try_from(ticks_to_ms(self.end_90k)).unwrap_or(0)
    }

    /// Pictures in the index.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Whether all pictures of the index lie in the file.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete == self.samples.len()
    }

    /// The units in decode order. `pts_90k` is relative to the start of the video (negative before the start of an
    /// edited file), `received` is the decode time. A cut off file ends with [`CameraError::EndsEarly`].
    ///
    /// # Errors
    /// [`CameraError::File`].
    pub fn units(&self) -> Result<Units, CameraError> {
        let file = File::open(&self.path).map_err(|source| CameraError::File { path: self.path.clone(), source })?;
        Ok(Units { video: self.clone(), file, next: 0, failed: false })
    }

    fn received(&self, sample: &Sample) -> Mono {
        let first = self.samples.first().map_or(0, |first| first.dts_90k);
        Mono::from_millis(u64::try_from(ticks_to_ms(sample.dts_90k - first)).unwrap_or(0))
    }
}

/// Access units of a file; see [`FileVideo::units`].
#[derive(Debug)]
pub struct Units {
    video: FileVideo,
    file: File,
    next: usize,
    failed: bool,
}

impl Iterator for Units {
    type Item = Result<AccessUnit, CameraError>;

    fn next(&mut self) -> Option<Self::Item> {
        let sample = *self.video.samples.get(self.next)?;
        if self.failed {
            return None;
        }
        let result = if self.next < self.video.complete { self.read(&sample) } else { Err(self.ends_early()) };
        self.failed = result.is_err();
        self.next += 1;
        Some(result)
    }
}

impl Units {
    fn read(&mut self, sample: &Sample) -> Result<AccessUnit, CameraError> {
        let unreadable = |source| CameraError::File { path: self.video.path.clone(), source };
        let mut data = vec![0; usize::try_from(sample.size).unwrap_or(0)];
        self.file.seek(SeekFrom::Start(sample.offset)).map_err(unreadable)?;
        self.file.read_exact(&mut data).map_err(unreadable)?;
        let units: Option<Vec<&[u8]>> = h264::length_prefixed(&data, self.video.length_bytes).collect();
        let Some(units) = units else { return Err(self.damaged()) };
        let has = |kind| units.iter().any(|unit| h264::nal_type(unit) == kind);
        let keyframe = has(h264::IDR_SLICE);
        let mut annex_b = Vec::with_capacity(data.len() + 128);
        if keyframe && !has(h264::SPS) {
            h264::push_annex_b(&mut annex_b, &self.video.info.sps);
            h264::push_annex_b(&mut annex_b, &self.video.info.pps);
        }
        units.iter().for_each(|unit| h264::push_annex_b(&mut annex_b, unit));
        let received = self.video.received(sample);
        Ok(AccessUnit { data: Bytes::from(annex_b), pts_90k: sample.pts_90k, keyframe, received, lost_packets: 0 })
    }

    fn damaged(&self) -> CameraError {
        let reason = format!("picture {} is damaged", self.next + 1);
        CameraError::NotMp4 { path: self.video.path.clone(), reason }
    }

    fn ends_early(&self) -> CameraError {
        let at_ms = u64::try_from(ticks_to_ms(end_of(&self.video.samples[..self.video.complete]))).unwrap_or(0);
        CameraError::EndsEarly { path: self.video.path.clone(), at_ms, duration_ms: self.video.duration_ms() }
    }
}

/// Plays `path` in real time, again and again with growing timestamps, until it fails or the receiver is gone (`Ok`).
pub(super) async fn play(
    path: &Path,
    clock: &Arc<dyn Clock>,
    sender: &mpsc::Sender<CameraEvent>,
) -> Result<(), CameraError> {
    let owned = path.to_owned();
    let (units_sender, mut units) = mpsc::channel(8);
    let reader = tokio::task::spawn_blocking(move || {
        let result = read_laps(&owned, &units_sender);
        if let Err(error) = result {
            // The receiver is gone: nobody wants to know.
            let _ = units_sender.blocking_send(Err(error));
        }
    });
    let began = Instant::now();
    while let Some(item) = units.recv().await {
        let event = match item? {
            Read::Opened(info) => CameraEvent::Opened(info),
            Read::Unit { due, mut unit } => {
                tokio::time::sleep_until(began + due).await;
                unit.received = clock.mono();
                CameraEvent::Unit(unit)
            }
        };
        if sender.send(event).await.is_err() {
            break;
        }
    }
    drop(units);
    // It ends by itself once its channel is closed.
    drop(reader);
    Ok(())
}

enum Read {
    Opened(StreamInfo),
    Unit { due: Duration, unit: AccessUnit },
}

fn read_laps(path: &Path, sender: &mpsc::Sender<Result<Read, CameraError>>) -> Result<(), CameraError> {
    let video = FileVideo::open(path)?;
    if sender.blocking_send(Ok(Read::Opened(video.info.clone()))).is_err() {
        return Ok(());
    }
    let lap_90k = (video.end_90k - first_pts(&video.samples)).max(1);
    for lap in 0.. {
        let offset_90k = lap_90k.saturating_mul(lap);
        for unit in video.units()? {
            let mut unit = unit?;
            let due =
                Duration::from_millis(unit.received.as_millis() + u64::try_from(ticks_to_ms(offset_90k)).unwrap_or(0));
            unit.pts_90k = unit.pts_90k.saturating_add(offset_90k);
            if sender.blocking_send(Ok(Read::Unit { due, unit })).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn first_pts(samples: &[Sample]) -> i64 {
    samples.iter().map(|sample| sample.pts_90k).min().unwrap_or(0)
}

/// The last picture is taken to last as long as the one before it.
fn end_of(samples: &[Sample]) -> i64 {
    let mut shown: Vec<i64> = samples.iter().map(|sample| sample.pts_90k).collect();
    shown.sort_unstable();
    match *shown.as_slice() {
        [] => 0,
        [only] => only,
        [.., before, last] => last + (last - before),
    }
}

/// Where the edit list lets the video begin, in the track's time as re_mp4 normalises it: its first picture is 0.
fn edit_start(trak: &re_mp4::TrakBox, track: &re_mp4::Track) -> i64 {
    let entries = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref()).map_or(&[][..], |elst| &elst.entries);
    let is_media = |time: u64| time != u64::from(u32::MAX) && time != u64::MAX;
    let Some(edit) = entries.iter().find(|entry| is_media(entry.media_time)) else { return 0 };
    let first_offset = trak.mdia.minf.stbl.ctts.as_ref().and_then(|ctts| ctts.entries.first());
    let first_composed = first_offset.map_or(0, |entry| i64::from(entry.sample_offset));
    let normalised = track.samples.first().map_or(0, |sample| sample.composition_timestamp);
    let shift = first_composed.saturating_sub(normalised);
    i64::try_from(edit.media_time).unwrap_or(0).saturating_sub(shift).max(0)
}
