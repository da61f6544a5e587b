//! An MP4 file as the file camera reads it, whatever its boxes claim. Nothing is read outside the file, nothing loops,
//! and little memory is spent on what a few bytes promise.

use kitchen_vision::access_unit::AccessUnit;
use kitchen_vision::camera::FileVideo;
use kitchen_vision::h264;

use crate::scratch;

/// So many pictures are read of one file.
const PICTURES: usize = 64;

pub fn check(input: &[u8]) {
    let folder = scratch::folder();
    let path = folder.path().join("video.mp4");
    std::fs::write(&path, input).expect("a temporary file");
    let video = match FileVideo::open(&path) {
        Ok(video) => video,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(!video.is_empty() && video.len() <= input.len() + 65_536, "{} pictures", video.len());
    let info = video.info();
    assert!(info.width > 0 && info.height > 0 && info.frame_rate.is_some_and(|rate| rate > 0.0), "{info:?}");
    let _ = video.duration_ms();
    let mut units = video.units().expect("it was opened before");
    for unit in units.by_ref().take(PICTURES) {
        match unit {
            Ok(unit) => is_of_the_file(&unit, input.len()),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
}

fn is_of_the_file(unit: &AccessUnit, file_bytes: usize) {
    // Each NAL unit of the file costs at least one byte of prefix there, and four here.
    assert!(unit.data.len() <= 5 * file_bytes + 1024, "{} bytes of a file of {file_bytes}", unit.data.len());
    let has_idr = h264::nal_units(&unit.data).any(|nal| h264::nal_type(nal) == h264::IDR_SLICE);
    assert!(!unit.keyframe || has_idr || unit.data.is_empty() || unit.data.len() > 8);
}
