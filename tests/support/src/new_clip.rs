//! A clip as the desk would store it, for tests that store and send clips without a camera.

use kitchen_core::time::Wall;
use kitchen_store::NewClip;

/// 10 s of 640×360 that begin at `start`, as the camera coded them.
#[must_use]
pub fn new_clip(bytes: Vec<u8>, start: Wall) -> NewClip {
    NewClip {
        bytes,
        duration_ms: 10_000,
        start,
        width: 640,
        height: 360,
        codec: "avc1.64001f".to_owned(),
        media_type: "video/mp4".to_owned(),
        reencoded: false,
    }
}
