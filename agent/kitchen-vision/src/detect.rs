//! From a frame to labelled boxes: letterbox, network, decoding.
//! A model is a folder with a manifest, the network and a golden picture; it is checked before it is used.

mod detector;
mod engine;
pub mod letterbox;
pub mod manifest;
mod rten;
mod tract;
pub mod yolox;

pub use self::detector::{Detector, DetectorTimes, GoldenReport};
pub use self::engine::{Engine, EngineError};
pub use self::manifest::{Manifest, ModelError};
