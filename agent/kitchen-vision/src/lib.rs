//! From a camera's stream to detections, pictures and clips:
//! camera → ring of groups of pictures → decoder → frame → motion gate → detector; picture and clip are the evidence.
//! Knows nothing of rules, alerts, disks or the network beyond the camera. Time comes from the caller's clock.

pub mod access_unit;
pub mod camera;
pub mod clip;
pub mod decode;
pub mod detect;
pub mod encode;
pub mod frame;
pub mod gop_ring;
pub mod h264;
pub mod motion;
pub mod picture;
pub mod privacy_mask;
pub mod reencode;
pub mod scale;
pub mod segment;
pub mod stage_timer;
