//! Why a camera or a video file can't be used.

use kitchen_vision::camera::CameraError;

use super::io;
use crate::fault::Fault;
use crate::notice::{Notice, notice};

#[must_use]
pub fn camera(error: &CameraError) -> Notice {
    match error {
        CameraError::Url { url, .. } => notice!("camera-url", Fault::ConfigWrong, url = url),
        CameraError::Credentials { user: Some(user) } => {
            notice!("camera-credentials", Fault::CameraCredentials, user = user)
        }
        CameraError::Credentials { user: None } => notice!("camera-no-credentials", Fault::CameraCredentials),
        CameraError::Unreachable { address, reason } => {
            let reason = io::reason_of_text(reason);
            notice!("camera-unreachable", Fault::CameraUnreachable, address = address, reason = reason)
        }
        CameraError::TimedOut { seconds, .. } => notice!("camera-timed-out", Fault::CameraHung, seconds = seconds),
        CameraError::Status { status, path } => {
            notice!("camera-status", Fault::CameraPath, status = status, path = path)
        }
        CameraError::NoVideo => notice!("camera-no-video", Fault::CameraPath),
        CameraError::Encoding { encoding } => notice!("camera-encoding", Fault::CameraCodec, encoding = encoding),
        CameraError::Damaged { .. } => notice!("camera-damaged", Fault::CameraDamaged),
        CameraError::Hung { seconds } => notice!("camera-hung", Fault::CameraHung, seconds = seconds),
        CameraError::Ended => notice!("camera-ended", None),
        CameraError::File { path, source } => {
            notice!("video-unreadable", Fault::CameraFile, path = path.display(), reason = io::reason(source))
        }
        CameraError::NotMp4 { path, .. } => notice!("video-no-mp4", Fault::CameraFile, path = path.display()),
        CameraError::CutOff { path } => notice!("video-cut-off", Fault::CameraFile, path = path.display()),
        CameraError::EndsEarly { path, at_ms, duration_ms } => {
            let seconds = |ms: &u64| format!("{:.1}", *ms as f64 / 1000.0);
            let (at, whole) = (seconds(at_ms), seconds(duration_ms));
            notice!("video-ends-early", Fault::CameraFile, path = path.display(), at = at, whole = whole)
        }
    }
}
