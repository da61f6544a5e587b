//! What a camera delivers: coded pictures in decode order, and the description of their stream.
//! Shared by the ring, the decoder and the clip writer. Never decoded here.

use bytes::Bytes;
use kitchen_core::time::Mono;

/// Ticks of [`AccessUnit::pts_90k`] in a second.
pub const CLOCK_RATE: u32 = 90_000;

/// One coded picture.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// H.264 in Annex B (start codes), with SPS and PPS before each keyframe.
    pub data: Bytes,
    /// When the picture is shown, in ticks of 1/90,000 s, unwrapped, from about 0 at the start of a session.
    /// Not monotonic with B-frames. Negative: before the start of an edited file; decode, but don't show.
    pub pts_90k: i64,
    /// An IDR picture: decoding can start here.
    pub keyframe: bool,
    /// When it arrived; of a file read at once, its decode time from the file's start.
    pub received: Mono,
    /// Packets that got lost on the way since the unit before.
    pub lost_packets: u16,
}

impl std::fmt::Debug for AccessUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessUnit")
            .field("bytes", &self.data.len())
            .field("pts_90k", &self.pts_90k)
            .field("keyframe", &self.keyframe)
            .field("received", &self.received)
            .field("lost_packets", &self.lost_packets)
            .finish()
    }
}

/// What is known of an H.264 stream before its first picture.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamInfo {
    /// RFC 6381, e.g. `avc1.64001e`.
    pub codec: String,
    /// Pixels that are shown.
    pub width: u32,
    pub height: u32,
    /// Parameter sets as NAL units without start code.
    pub sps: Bytes,
    pub pps: Bytes,
    /// Pictures a second, where the stream says so.
    pub frame_rate: Option<f32>,
    /// Luma 0..255 instead of 16..235.
    pub full_range: bool,
}

/// Ticks of 1/90,000 s as milliseconds, rounded down.
#[must_use]
pub const fn ticks_to_ms(ticks: i64) -> i64 {
    ticks.div_euclid(CLOCK_RATE as i64 / 1000)
}
