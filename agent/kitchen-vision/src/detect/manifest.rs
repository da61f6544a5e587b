//! `manifest.toml` of a model folder as validated types, and everything that can be wrong with a model's files.
//! Reads files; never runs a network.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use kitchen_core::detection::Label;
use kitchen_core::wire::sha256_hex;
use serde::Deserialize;

use super::engine::EngineError;

/// The manifest's format that this agent reads.
const SCHEMA: u32 = 1;

/// What stands in a model's folder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema: u32,
    pub name: String,
    pub version: String,
    pub task: String,
    /// The network's file beside the manifest, and its SHA-256 in hexadecimal.
    pub file: String,
    pub sha256: String,
    pub licence: String,
    pub data_rights: String,
    #[serde(default)]
    pub provenance: toml::Table,
    pub input: Input,
    pub decoder: DecoderKind,
    pub nms: Nms,
    #[serde(rename = "class")]
    pub classes: Vec<Class>,
    pub golden: Golden,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub width: u32,
    pub height: u32,
    pub layout: Layout,
    pub colour: Colour,
    /// Network value = (pixel 0..255 - mean) * scale, in the order of `colour`.
    pub mean: [f32; 3],
    pub scale: [f32; 3],
    pub fit: Fit,
    /// What surrounds the picture, 0..255.
    pub padding: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    Nchw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    Rgb,
    Bgr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    LetterboxTopLeft,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DecoderKind {
    Yolox { strides: Vec<u32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nms {
    pub iou: f32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    #[serde(deserialize_with = "label")]
    pub label: Label,
    /// Raw scores below it are dropped.
    pub floor: f32,
    /// Calibrated score from which the model's card advises to act.
    pub threshold: f32,
    pub calibration: Calibration,
    /// Whether the card vouches for this class: without it no rule runs on it.
    #[serde(default = "vouched")]
    pub good_enough: bool,
}

const fn vouched() -> bool {
    true
}

/// calibrated = sigmoid(a · logit(raw) + b).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    pub a: f32,
    pub b: f32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// PNG of the network's size.
    pub input: String,
    /// The network's raw output, little-endian f32.
    pub output: String,
    pub shape: [usize; 3],
    pub tolerance: f32,
}

fn label<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Label, D::Error> {
    Label::from_str(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Why a model can't be used. A technician reinstalls the model pack.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("model file {} is missing or unreadable: {source}; reinstall the model pack", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no valid manifest: {reason}; reinstall the model pack", path.display())]
    Manifest { path: PathBuf, reason: String },
    #[error(
        "SHA-256 of {} is {found}, the manifest says {expected}: the file is damaged or foreign; reinstall the model pack",
        path.display()
    )]
    Checksum { path: PathBuf, found: String, expected: String },
    #[error("golden files of model {name} are damaged: {reason}; reinstall the model pack")]
    Golden { name: String, reason: String },
    #[error("model {name}: {source}; reinstall the model pack or set another engine")]
    Engine { name: String, source: EngineError },
}

impl Manifest {
    /// Reads and validates `folder/manifest.toml`.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::Manifest`].
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("manifest.toml");
        let bytes = read(&path)?;
        let wrong = |reason: String| ModelError::Manifest { path: path.clone(), reason };
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        Self::parse(text).map_err(wrong)
    }

    /// # Errors
    /// What is wrong, with the key and the value found.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Reads the network's file and compares its SHA-256.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::Checksum`].
    pub fn read_network(&self, folder: &Path) -> Result<Vec<u8>, ModelError> {
        let path = folder.join(&self.file);
        let bytes = read(&path)?;
        let found = sha256_hex(&bytes);
        if found != self.sha256 {
            return Err(ModelError::Checksum { path, found, expected: self.sha256.clone() });
        }
        Ok(bytes)
    }

    /// Boxes that the network proposes.
    #[must_use]
    pub fn anchors(&self) -> usize {
        let DecoderKind::Yolox { strides } = &self.decoder;
        strides.iter().map(|stride| (self.input.width / stride) as usize * (self.input.height / stride) as usize).sum()
    }

    /// Numbers in the network's output: for each anchor 4 of the box, 1 objectness, and one a class.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.anchors() * (5 + self.classes.len())
    }

    fn validate(&self) -> Result<(), String> {
        require(self.schema == SCHEMA, || format!("schema is {}, this agent reads {SCHEMA}", self.schema))?;
        require(self.task == "detector", || format!("task is {:?}, this agent reads \"detector\"", self.task))?;
        let is_hex = self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        require(is_hex, || format!("sha256 is {:?}, expected 64 lower-case hexadecimal digits", self.sha256))?;
        for file in [&self.file, &self.golden.input, &self.golden.output] {
            let inside = Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            require(inside && !file.is_empty(), || format!("{file:?} is no file within the model's folder"))?;
        }
        self.validate_input()?;
        require(within_one(self.nms.iou), || format!("nms.iou is {}, expected 0..1", self.nms.iou))?;
        self.validate_classes()?;
        let expected = [1, self.anchors(), 5 + self.classes.len()];
        require(self.golden.shape == expected, || {
            format!("golden.shape is {:?}, input, strides and classes give {expected:?}", self.golden.shape)
        })?;
        let tolerance = self.golden.tolerance;
        require(tolerance.is_finite() && tolerance > 0.0, || {
            format!("golden.tolerance is {tolerance}, expected above 0")
        })
    }

    fn validate_input(&self) -> Result<(), String> {
        let DecoderKind::Yolox { strides } = &self.decoder;
        let Input { width, height, mean, scale, .. } = &self.input;
        require(!strides.is_empty() && strides.iter().all(|stride| (1..=256).contains(stride)), || {
            format!("decoder.strides is {strides:?}, expected some of 1..256")
        })?;
        let fits = |side: u32| (32..=4096).contains(&side) && strides.iter().all(|stride| side.is_multiple_of(*stride));
        require(fits(*width) && fits(*height), || {
            format!("input is {width}×{height}, expected multiples of the strides {strides:?} in 32..4096")
        })?;
        let finite = mean.iter().chain(scale).all(|value| value.is_finite()) && scale.iter().all(|value| *value != 0.0);
        require(finite, || format!("input.mean {mean:?} or input.scale {scale:?} is not usable"))
    }

    fn validate_classes(&self) -> Result<(), String> {
        require(!self.classes.is_empty(), || "there is no class".to_owned())?;
        for (index, class) in self.classes.iter().enumerate() {
            let Class { label, floor, threshold, calibration, .. } = class;
            let twice = self.classes[..index].iter().any(|other| other.label == *label);
            require(!twice, || format!("class {label} stands twice"))?;
            require(within_one(*floor), || format!("floor of class {label} is {floor}, expected 0..1"))?;
            require(within_one(*threshold), || format!("threshold of class {label} is {threshold}, expected 0..1"))?;
            let usable = calibration.a > 0.0 && calibration.a.is_finite() && calibration.b.is_finite();
            require(usable, || format!("calibration of class {label} is {calibration:?}, expected a above 0"))?;
        }
        Ok(())
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn within_one(value: f32) -> bool {
    (0.0..=1.0).contains(&value)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const EXAMPLE: &str = r#"
schema = 1
name = "objects"
version = "0.1.0"
task = "detector"
file = "objects.onnx"
sha256 = "334096ee495a5f30a06fd9c02e04fc08ddadc8fe95537f337141f51c3061f10c"
licence = "Apache-2.0"
data_rights = "unclear"
[provenance]
base = "a"
seed = 1
[input]
width = 416
height = 256
layout = "nchw"
colour = "bgr"
mean = [0.0, 0.0, 0.0]
scale = [1.0, 1.0, 1.0]
fit = "letterbox_top_left"
padding = 114
[decoder]
kind = "yolox"
strides = [8, 16, 32]
[nms]
iou = 0.55
[[class]]
label = "person"
floor = 0.1
threshold = 0.65
calibration = { a = 1.0, b = 0.0 }
[golden]
input = "golden/input.png"
output = "golden/output.f32"
shape = [1, 2184, 6]
tolerance = 0.01
"#;

    #[test]
    fn the_format_of_the_model_pack_is_read() {
        let manifest = Manifest::parse(EXAMPLE).expect("valid");
        assert_eq!((manifest.anchors(), manifest.output_len()), (2184, 2184 * 6));
        assert_eq!(manifest.classes[0].label, Label::Person);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, expected) in [
            ("schema = 1", "schema = 2", "schema is 2"),
            ("\"detector\"", "\"oracle\"", "oracle"),
            ("334096ee", "33409", "64 lower-case"),
            ("width = 416", "width = 420", "420"),
            ("\"person\"", "\"unicorn\"", "unicorn"),
            ("floor = 0.1", "floor = 1.5", "1.5"),
            ("threshold = 0.65", "threshold = -1.0", "-1"),
            ("a = 1.0", "a = 0.0", "a above 0"),
            ("iou = 0.55", "iou = nan", "NaN"),
            ("2184, 6", "2184, 9", "2184, 9"),
            ("\"objects.onnx\"", "\"../objects.onnx\"", "../objects.onnx"),
            ("padding = 114", "padding = 114\nsurprise = 1", "surprise"),
            ("strides = [8, 16, 32]", "strides = [8, 0]", "strides"),
            ("strides = [8, 16, 32]", "strides = [8, 16, 32]\nextra = 1", "extra"),
            ("0, 0.0, 0.0]\nscale", "0]\nscale", "mean"),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = Manifest::parse(&EXAMPLE.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn a_damaged_network_is_told_by_its_checksum() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let manifest = Manifest::parse(EXAMPLE).expect("valid");
        let missing = manifest.read_network(folder.path()).expect_err("no file").to_string();
        assert!(missing.contains("objects.onnx") && missing.contains("reinstall"), "{missing}");
        std::fs::write(folder.path().join("objects.onnx"), b"foreign").expect("writes");
        let foreign = manifest.read_network(folder.path()).expect_err("foreign").to_string();
        assert!(foreign.contains("334096ee") && foreign.contains("damaged or foreign"), "{foreign}");
    }
}
