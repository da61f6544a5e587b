//! One camera: does it answer, let us in, send H.264, often enough, and is there something to see?
//! A stream of its own is opened, which a camera allows beside the agent's.

use std::sync::Arc;
use std::time::Duration;

use kitchen_core::config::CameraConfig;
use kitchen_vision::camera::{CameraError, CameraSource};
use kitchen_vision::frame::Frame;
use kitchen_vision::privacy_mask::PrivacyMask;

use super::{Context, Finding, Name, Reports, Verdict};
use crate::camera_measure::{Measured, Patience, measure};
use crate::fault::Fault;
use crate::text::text;
use crate::{config_file, explain};

const GREETING: Duration = Duration::from_secs(3);
const LOOK: Patience = Patience { least: Duration::from_secs(3), intervals: 1, most: Duration::from_secs(11) };
/// Below this, clips stutter; the detector may still have what it wants.
const FEW_PICTURES: f64 = 7.5;
const MANY_PICTURES: f64 = 26.0;
const LONG_WITHOUT_KEYFRAME: Duration = Duration::from_millis(4500);
/// Standard deviation of the picture's cells, and mean luma (video black is 16).
const NOTHING_TO_SEE: f32 = 4.0;
const DARK: f32 = 30.0;
/// Variance of the Laplacian: a sharp kitchen has some hundreds.
const BLURRED: f32 = 12.0;

pub(super) async fn check(context: Arc<Context>, index: usize, mut reports: Reports) {
    let camera = &context.config.cameras[index];
    let password = config_file::password(camera);
    let secret = password.as_ref().ok().cloned().flatten();
    let source = match CameraSource::new(camera, secret) {
        Ok(source) => source,
        Err(error) => return reports.tell(Name::CameraReach, failed(&error).1),
    };
    if let Err(error) = source.greet(GREETING).await {
        return reports.tell(Name::CameraReach, failed(&error).1);
    }
    reports.tell(Name::CameraReach, Finding::ok(source.address()));
    if password.is_err() {
        let path = camera.password_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let finding = Finding::fail(Fault::SecretUnreadable, path, text!("check-camera-secret"));
        return reports.tell(Name::CameraAuth, finding);
    }
    match Box::pin(measure(&source, &PrivacyMask::new(&camera.privacy_masks), LOOK)).await {
        Ok(measured) => {
            reports.tell(Name::CameraAuth, let_in(camera, &source));
            reports.tell(Name::CameraCodec, Finding::ok(codec(&measured)));
            reports.tell(Name::CameraRate, rate(&measured, camera));
            reports.tell(Name::CameraView, view(measured.picture.as_ref()));
        }
        Err(error) => {
            let (name, finding) = failed(&error);
            for passed in [Name::CameraAuth, Name::CameraCodec].into_iter().filter(|passed| *passed < name) {
                let found = if passed == Name::CameraAuth { let_in(camera, &source) } else { Finding::ok("H.264") };
                reports.tell(passed, found);
            }
            reports.tell(name, finding);
        }
    }
}

fn let_in(camera: &CameraConfig, source: &CameraSource) -> Finding {
    match &camera.username {
        _ if source.is_file() => Finding::absent(text!("check-camera-file")),
        Some(user) => Finding::ok(user),
        None => Finding::ok(text!("check-camera-no-user")),
    }
}

fn codec(measured: &Measured) -> String {
    let info = &measured.info;
    format!("H.264 {} {}×{}", info.codec, info.width, info.height)
}

fn rate(measured: &Measured, camera: &CameraConfig) -> Finding {
    let longest = measured.longest_without_keyframe;
    let found = text!(
        "check-camera-rate",
        rate = format!("{:.1}", measured.rate()),
        keyframe = format!("{:.1}", longest.as_secs_f64())
    );
    let expected = text!("check-camera-rate-expected");
    if measured.damaged > 0 || measured.lost_packets > 0 {
        let (lost, damaged) = (measured.lost_packets, measured.damaged);
        let found = text!("check-camera-damaged", lost = lost, damaged = damaged);
        return Finding::warn(Fault::CameraDamaged, found, text!("check-camera-undamaged"));
    }
    if measured.rate() < f64::from(camera.analyse_fps) * 0.9 || measured.picture.is_none() {
        return Finding::fail(Fault::CameraRate, found, expected);
    }
    let is_unusual = !(FEW_PICTURES..MANY_PICTURES).contains(&measured.rate()) || longest > LONG_WITHOUT_KEYFRAME;
    if is_unusual { Finding::warn(Fault::CameraRate, found, expected) } else { Finding::ok(found) }
}

fn view(picture: Option<&Frame>) -> Finding {
    let Some(picture) = picture else { return Finding::unchecked(text!("check-unfinished")) };
    let (thumbnail, sharpness) = (picture.thumbnail(), picture.sharpness());
    let (light, detail) = (thumbnail.mean(), thumbnail.detail());
    let found = text!(
        "check-camera-view",
        light = format!("{light:.0}"),
        detail = format!("{detail:.0}"),
        sharpness = format!("{sharpness:.0}")
    );
    let verdict = if detail < NOTHING_TO_SEE {
        Verdict::Fail
    } else if light < DARK || sharpness < BLURRED {
        Verdict::Warn
    } else {
        return Finding::ok(found);
    };
    let expected = text!("check-camera-view-expected", light = DARK, detail = NOTHING_TO_SEE, sharpness = BLURRED);
    Finding { verdict, ..Finding::fail(Fault::CameraView, found, expected) }
}

/// The check that a failure of the camera belongs to.
fn failed(error: &CameraError) -> (Name, Finding) {
    let (name, fault) = fault(error);
    let (found, expected) = match error {
        CameraError::Unreachable { address, reason } => (format!("{address}: {reason}"), text!("check-camera-answer")),
        CameraError::TimedOut { seconds, .. } | CameraError::Hung { seconds } => {
            (text!("check-camera-silent", seconds = seconds), text!("check-camera-answer"))
        }
        CameraError::Credentials { user } => {
            (text!("check-camera-refused", user = user.as_deref().unwrap_or("-")), text!("check-camera-let-in"))
        }
        CameraError::Encoding { encoding } => (encoding.clone(), "H.264".to_owned()),
        CameraError::Status { status, path } => {
            (text!("check-camera-status", status = status, path = path), text!("check-camera-path"))
        }
        CameraError::NoVideo => (text!("check-camera-no-video"), text!("check-camera-path")),
        CameraError::File { path, source } => (format!("{}: {source}", path.display()), text!("check-camera-readable")),
        other => (explain::camera(other).to_string(), text!("check-camera-undamaged")),
    };
    (name, Finding::fail(fault, found, expected))
}

/// The fault that a failure of a camera is, and the check that finds it.
pub(super) fn fault(error: &CameraError) -> (Name, Fault) {
    match error {
        CameraError::Unreachable { .. } => (Name::CameraReach, Fault::CameraUnreachable),
        CameraError::Url { .. } => (Name::CameraReach, Fault::CameraPath),
        CameraError::TimedOut { doing: "connecting", .. } => (Name::CameraReach, Fault::CameraHung),
        CameraError::File { .. } => (Name::CameraReach, Fault::CameraFile),
        CameraError::Credentials { .. } => (Name::CameraAuth, Fault::CameraCredentials),
        CameraError::Encoding { .. } => (Name::CameraCodec, Fault::CameraCodec),
        CameraError::Status { .. } | CameraError::NoVideo => (Name::CameraCodec, Fault::CameraPath),
        CameraError::NotMp4 { .. } | CameraError::CutOff { .. } | CameraError::EndsEarly { .. } => {
            (Name::CameraCodec, Fault::CameraFile)
        }
        CameraError::TimedOut { .. } | CameraError::Hung { .. } => (Name::CameraRate, Fault::CameraHung),
        CameraError::Damaged { .. } | CameraError::Ended => (Name::CameraRate, Fault::CameraDamaged),
    }
}
