//! From a frame to labelled boxes and to attributes of what is in one: letterbox, network, decoding.
//! A model is a folder with a manifest, the network and a golden picture; it is checked before it is used.

mod classifier;
mod detector;
mod engine;
pub mod letterbox;
pub mod manifest;
mod network;
mod rten;
mod tract;
pub mod yolox;

pub use self::classifier::Classifier;
pub use self::detector::{Detector, DetectorTimes};
pub use self::engine::{Engine, EngineError};
pub use self::manifest::{Manifest, ModelError};
pub use self::network::{GoldenReport, Network};
