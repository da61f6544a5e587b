//! A clip out of the recording: the pictures from the keyframe at or before a wall time up to another, across
//! segments, without encoding them anew. Reads index and files only; works beside a running agent and without one.

use std::path::Path;
use std::time::Duration;

use kitchen_core::recording::{Placed, Segment, longest_piece, placed};
use kitchen_core::time::{TimeQuality, Wall};
use kitchen_store::{RecordingFolder, StoreError};
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};
use kitchen_vision::camera::CameraError;
use kitchen_vision::camera::file::FileVideo;
use kitchen_vision::clip::{self, Clip, ClipError};
use tracing::warn;

/// A longer clip fits no link, and its pictures are in memory at once.
pub const LONGEST: Duration = Duration::from_secs(540);
const TICKS_A_MS: i64 = 90;

#[derive(Debug, thiserror::Error)]
pub enum CutError {
    #[error("the end is not after the start")]
    Backwards,
    #[error("longer than {} minutes; ask for it in parts", LONGEST.as_secs() / 60)]
    TooLong,
    #[error("nothing is recorded of camera {camera}")]
    NothingHeld { camera: String },
    #[error("nothing was recorded of camera {camera} then; there is {oldest} to {newest}")]
    NothingThen { camera: String, oldest: Wall, newest: Wall },
    #[error("could not put the clip together")]
    Mux(#[from] ClipError),
}

/// A clip and what it shows.
#[derive(Clone, Debug)]
pub struct CutClip {
    pub clip: Clip,
    /// When its first picture was taken, by the best clock of that boot.
    pub start: Wall,
    pub quality: TimeQuality,
    /// How much of the wanted span it does not show: nothing was recorded then, or it can't be in the same file.
    pub lacks: Duration,
}

/// All that is recorded, of all cameras, in order and with the best known times.
#[derive(Debug)]
pub struct Footage {
    folder: RecordingFolder,
    segments: Vec<Placed>,
}

impl Footage {
    /// `indexed` as the store names it; segments that have no row yet are found in the folder.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn new(root: &Path, indexed: Vec<Segment>) -> Result<Self, StoreError> {
        let folder = RecordingFolder::new(root);
        let segments = placed(folder.with_unindexed(indexed)?);
        Ok(Self { folder, segments })
    }

    /// Start of the oldest and end of the newest picture of a camera.
    #[must_use]
    pub fn held(&self, camera: &str) -> Option<(Wall, Wall)> {
        let of_camera = || self.segments.iter().filter(|placed| placed.segment.camera == camera);
        let oldest = of_camera().map(|placed| placed.start).min()?;
        Some((oldest, of_camera().map(Placed::end).max()?))
    }

    /// The clip of a camera from `from` to `to`. It begins with the keyframe at or before `from`. Where the recording
    /// was interrupted or the stream's parameters changed in between, it is the piece that shows most of the span.
    ///
    /// # Errors
    /// [`CutError`].
    pub fn clip(&self, camera: &str, from: Wall, to: Wall) -> Result<CutClip, CutError> {
        let wanted_ms = to.as_unix_millis().saturating_sub(from.as_unix_millis());
        let wanted = u64::try_from(wanted_ms).ok().filter(|ms| *ms > 0).ok_or(CutError::Backwards)?;
        if Duration::from_millis(wanted) > LONGEST {
            return Err(CutError::TooLong);
        }
        let mut segments: Vec<Placed> =
            self.segments.iter().filter(|placed| placed.segment.camera == camera).cloned().collect();
        loop {
            let Some(piece) = longest_piece(&segments, from, to) else {
                let (oldest, newest) =
                    self.held(camera).ok_or_else(|| CutError::NothingHeld { camera: camera.to_owned() })?;
                return Err(CutError::NothingThen { camera: camera.to_owned(), oldest, newest });
            };
            match self.join(&segments[piece.clone()], from, to) {
                Ok(cut) => return Ok(cut),
                Err(JoinError::Mux(error)) => return Err(error.into()),
                Err(JoinError::Segment { index, error }) => {
                    // Removed in between, or damaged: the rest may still show something.
                    let bad = segments.remove(piece.start + index);
                    warn!(path = %self.folder.path(&bad.segment).display(), %error, "segment left out");
                }
            }
        }
    }

    fn join(&self, piece: &[Placed], from: Wall, to: Wall) -> Result<CutClip, JoinError> {
        let Some(first) = piece.first() else { return Err(JoinError::Mux(ClipError::Empty)) };
        let origin = first.segment.first_pts_90k;
        let pts_of = |wall: Wall| {
            origin.saturating_add((wall.as_unix_millis() - first.start.as_unix_millis()).saturating_mul(TICKS_A_MS))
        };
        let mut units = Vec::new();
        let mut info: Option<StreamInfo> = None;
        for (index, placed) in piece.iter().enumerate() {
            let read = self.read(&placed.segment);
            let (stream, mut more) = read.map_err(|error| JoinError::Segment { index, error })?;
            info.get_or_insert(stream);
            units.append(&mut more);
        }
        cut(&mut units, pts_of(from), pts_of(to));
        let info = info.ok_or(JoinError::Mux(ClipError::Empty))?;
        let clip = clip::mux(&units, &info).map_err(JoinError::Mux)?;
        let start = first.start.as_unix_millis() + (clip.first_pts_90k - origin) / TICKS_A_MS;
        let end = start.saturating_add_unsigned(clip.duration_ms);
        let shown = end.min(to.as_unix_millis()).saturating_sub(start.max(from.as_unix_millis()));
        let lacks = to.as_unix_millis().saturating_sub(from.as_unix_millis()).saturating_sub(shown);
        Ok(CutClip {
            clip,
            start: Wall::from_unix_millis(start),
            quality: first.quality,
            lacks: Duration::from_millis(u64::try_from(lacks).unwrap_or(0)),
        })
    }

    /// A segment's units with the times of their session.
    fn read(&self, segment: &Segment) -> Result<(StreamInfo, Vec<AccessUnit>), CameraError> {
        let video = FileVideo::open(self.folder.path(segment))?;
        let in_session = |unit: AccessUnit| AccessUnit { pts_90k: unit.pts_90k + segment.first_pts_90k, ..unit };
        let units: Result<Vec<_>, _> = video.units()?.map(|unit| unit.map(in_session)).collect();
        Ok((video.info().clone(), units?))
    }
}

#[derive(Debug)]
enum JoinError {
    Segment { index: usize, error: CameraError },
    Mux(ClipError),
}

/// Leaves the units from the last keyframe that is shown at or before `from` up to the last that is shown before `to`.
/// No picture is missing in between: with B-frames that may be one or two more.
fn cut(units: &mut Vec<AccessUnit>, from: i64, to: i64) {
    let first = units.iter().rposition(|unit| unit.keyframe && unit.pts_90k <= from).unwrap_or(0);
    units.drain(..first);
    let Some(mut end) = units.iter().rposition(|unit| unit.pts_90k < to).map(|last| last + 1) else { return };
    loop {
        let latest = units[..end].iter().map(|unit| unit.pts_90k).max().unwrap_or(to);
        match units[end..].iter().rposition(|unit| unit.pts_90k < latest) {
            Some(earlier) => end += earlier + 1,
            None => break,
        }
    }
    units.truncate(end);
}
