//! The rolling recording's segments: their names, from which the index can be made anew, their order, their times by
//! the best clock of their boot, and which of them show a wanted span. Never touches a file.

use std::ops::Range;
use std::time::Duration;

use crate::time::{Mono, Stamp, TimeQuality, Wall};

const EXTENSION: &str = ".mp4";
/// Segments of one session that lie farther apart than this, or overlap more, are not shown as one.
const LARGEST_SEAM_MS: i64 = 1_000;
const TICKS_A_MS: i64 = 90;

/// One file of the recording: pictures of one camera without an interruption, beginning with a keyframe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub camera: String,
    /// The boot's number; grows from boot to boot.
    pub boot: u32,
    /// The first eight digits of the kernel's name for that boot.
    pub boot_id: String,
    /// When the first picture arrived.
    pub start: Stamp,
    pub duration_ms: u64,
    /// When the stream was opened. Together with the boot it names the session in which the timestamps count.
    pub opened: Mono,
    /// The first picture's time in the camera's session, in ticks of 1/90,000 s.
    pub first_pts_90k: i64,
    /// The first eight digits of a hash of the stream's parameter sets.
    pub parameters: String,
    pub bytes: u64,
}

impl Segment {
    /// Names in a camera's folder are in the order of the segments.
    #[must_use]
    pub fn file_name(&self) -> String {
        let label: String = self.start.wall.to_string().chars().filter(|sign| !"-:.".contains(*sign)).collect();
        format!(
            "{:05}_{:012}_{label}_{}_{}_{}_{}_{}_{}{EXTENSION}",
            self.boot,
            self.start.mono.as_millis(),
            self.start.quality.as_str(),
            self.duration_ms,
            self.boot_id,
            self.opened.as_millis(),
            self.first_pts_90k,
            self.parameters,
        )
    }

    /// What a file's name says of it; `None` for a name that is no segment's.
    #[must_use]
    pub fn parse(camera: &str, file_name: &str, bytes: u64) -> Option<Self> {
        let fields: Vec<&str> = file_name.strip_suffix(EXTENSION)?.split('_').collect();
        let [boot, uptime, label, quality, duration, boot_id, opened, first_pts, parameters] = fields.as_slice() else {
            return None;
        };
        let is_short_hash = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_short_hash(boot_id) || !is_short_hash(parameters) {
            return None;
        }
        let start = Stamp {
            mono: Mono::from_millis(uptime.parse().ok()?),
            wall: wall_of_label(label)?,
            quality: TimeQuality::ALL.into_iter().find(|known| known.as_str() == *quality)?,
        };
        let segment = Self {
            camera: camera.to_owned(),
            boot: boot.parse().ok()?,
            boot_id: (*boot_id).to_owned(),
            start,
            duration_ms: duration.parse().ok()?,
            opened: Mono::from_millis(opened.parse().ok()?),
            first_pts_90k: first_pts.parse().ok()?,
            parameters: (*parameters).to_owned(),
            bytes,
        };
        // A number that is written in another way would be another name.
        (segment.file_name() == file_name).then_some(segment)
    }

    /// The order in which segments were made, and in which they go. No clock that is set changes it.
    #[must_use]
    pub fn order(&self) -> (u32, Mono, &str) {
        (self.boot, self.start.mono, &self.camera)
    }

    fn end_pts_ms(&self) -> i64 {
        self.first_pts_90k / TICKS_A_MS + i64::try_from(self.duration_ms).unwrap_or(i64::MAX / 2)
    }

    /// Whether `next` goes on where this one ends, so that both can be shown as one.
    #[must_use]
    pub fn is_followed_by(&self, next: &Self) -> bool {
        let seam_ms = (next.first_pts_90k / TICKS_A_MS).saturating_sub(self.end_pts_ms());
        (&self.camera, self.boot, self.opened, &self.parameters)
            == (&next.camera, next.boot, next.opened, &next.parameters)
            && seam_ms.abs() <= LARGEST_SEAM_MS
    }
}

/// The number of this boot: that of segments which it has made already, else one above all earlier ones and not below
/// what the store counts. A database that was replaced counts anew; the order of the segments shall not suffer.
#[must_use]
pub fn boot_number<'a>(segments: impl IntoIterator<Item = &'a Segment>, boot_id: &str, stored: u32) -> u32 {
    let mut highest = 0;
    for segment in segments {
        if segment.boot_id == boot_id {
            return segment.boot;
        }
        highest = highest.max(segment.boot);
    }
    stored.max(highest + 1)
}

/// The first eight digits of the kernel's name for a boot, as segments carry it.
#[must_use]
pub fn short_boot_id(boot_id: &str) -> String {
    let digits: String = boot_id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{digits:0<8}")
}

/// A segment with the time at which it began, as well as it is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub segment: Segment,
    pub start: Wall,
    pub quality: TimeQuality,
}

impl Placed {
    #[must_use]
    pub fn end(&self) -> Wall {
        self.start.after(Duration::from_millis(self.segment.duration_ms))
    }
}

/// Puts segments in order and gives each its time. A label that was written while the clock was worse than later or
/// earlier in the same boot is mended: uptime tells how far it is from the nearest segment with the best clock.
#[must_use]
pub fn placed(mut segments: Vec<Segment>) -> Vec<Placed> {
    segments.sort_by(|one, other| one.order().cmp(&other.order()));
    let mut all = Vec::with_capacity(segments.len());
    for boot in segments.chunk_by(|one, other| one.boot == other.boot) {
        let best = boot.iter().map(|segment| rank(segment.start.quality)).max().unwrap_or(0);
        let anchors: Vec<Stamp> =
            boot.iter().map(|segment| segment.start).filter(|start| rank(start.quality) == best).collect();
        for segment in boot {
            let own = segment.start;
            let label = if rank(own.quality) < best { nearest(&anchors, own.mono) } else { None };
            let (start, quality) =
                label.map_or((own.wall, own.quality), |anchor| (anchor.wall_at(own.mono), anchor.quality));
            all.push(Placed { segment: segment.clone(), start, quality });
        }
    }
    all
}

/// Anchors are in the order of uptime.
fn nearest(anchors: &[Stamp], at: Mono) -> Option<Stamp> {
    let after = anchors.partition_point(|anchor| anchor.mono < at);
    let (earlier, later) = (after.checked_sub(1).map(|index| anchors[index]), anchors.get(after).copied());
    match (earlier, later) {
        (Some(earlier), Some(later)) if at.since(earlier.mono) <= later.mono.since(at) => Some(earlier),
        (_, Some(later)) => Some(later),
        (earlier, None) => earlier,
    }
}

/// How much a clock is worth beside others.
const fn rank(quality: TimeQuality) -> u8 {
    match quality {
        TimeQuality::Ntp | TimeQuality::Modem => 2,
        TimeQuality::Rtc => 1,
        TimeQuality::Floor | TimeQuality::None => 0,
    }
}

/// The segments, all of one camera and in order, that show the most of a span without an interruption; of equals the
/// first. `None` when none shows anything of it.
#[must_use]
pub fn longest_piece(segments: &[Placed], from: Wall, to: Wall) -> Option<Range<usize>> {
    let mut best: Option<(i64, Range<usize>)> = None;
    let mut start = 0;
    for piece in segments.chunk_by(|one, other| one.segment.is_followed_by(&other.segment)) {
        let range = start..start + piece.len();
        start = range.end;
        let shown =
            |placed: &Placed| (placed.end().min(to).as_unix_millis() - placed.start.max(from).as_unix_millis()).max(0);
        let Some(first) = piece.iter().position(|placed| shown(placed) > 0) else { continue };
        let last = piece.iter().rposition(|placed| shown(placed) > 0).unwrap_or(first);
        let total: i64 = piece[first..=last].iter().map(shown).sum();
        if best.as_ref().is_none_or(|(most, _)| total > *most) {
            best = Some((total, range.start + first..range.start + last + 1));
        }
    }
    best.map(|(_, range)| range)
}

/// `20261124T051231250Z`, a time as it stands in a name.
fn wall_of_label(label: &str) -> Option<Wall> {
    if label.len() != 19 || !label.is_ascii() {
        return None;
    }
    let (day, time) = (&label[..8], &label[9..]);
    let text = format!(
        "{}-{}-{}T{}:{}:{}.{}",
        &day[..4],
        &day[4..6],
        &day[6..],
        &time[..2],
        &time[2..4],
        &time[4..6],
        &time[6..]
    );
    text.parse().ok()
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
