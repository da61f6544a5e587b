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
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    /// The network's file beside the manifest, and its SHA-256 in hexadecimal.
    pub file: String,
    pub sha256: String,
    pub licence: String,
    pub data_rights: String,
    pub input: Input,
    pub task: Task,
    pub golden: Golden,
}

/// What the network's output means.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    Detector(DetectorTask),
    Classifier(ClassifierTask),
}

/// Labelled boxes, by a YOLOX head.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorTask {
    pub strides: Vec<u32>,
    /// Of boxes of one class that overlap by so much one stays.
    pub iou: f32,
    pub classes: Vec<Class>,
}

/// Attributes of one subject: logits, first whether it can be judged, then one an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierTask {
    pub crop: Crop,
    pub known: Calibration,
    pub attributes: Vec<Attribute>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    name: String,
    version: String,
    task: String,
    file: String,
    sha256: String,
    licence: String,
    data_rights: String,
    #[serde(default, rename = "provenance")]
    _provenance: toml::Table,
    input: Input,
    decoder: DecoderKind,
    nms: Option<Nms>,
    #[serde(default, rename = "class")]
    classes: Vec<Class>,
    crop: Option<Crop>,
    known: Option<Known>,
    #[serde(default, rename = "attribute")]
    attributes: Vec<Attribute>,
    golden: Golden,
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
    /// Aspect kept, in the top left corner.
    LetterboxTopLeft,
    /// To exactly the input's size.
    Stretch,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum DecoderKind {
    Yolox { strides: Vec<u32> },
    Attributes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nms {
    iou: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    calibration: Calibration,
}

/// What of a picture a classifier is shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Whose box it is cut from.
    #[serde(deserialize_with = "label")]
    pub of: Label,
    /// Left, top, right, bottom in the box's own width and height.
    pub region: [f32; 4],
    /// Widened about its centre to a square of pixels.
    pub square: bool,
}

/// Something that a subject has (`present`) or visibly lacks (`absent`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    #[serde(deserialize_with = "label")]
    pub present: Label,
    #[serde(deserialize_with = "label")]
    pub absent: Label,
    /// Shorter side of the subject's box in pixels; of a smaller one it is not known.
    pub min_px: u32,
    /// Calibrated score of `absent` from which the model's card advises to act.
    pub threshold: f32,
    pub calibration: Calibration,
    /// Whether the card vouches for it: without it no rule runs on it.
    #[serde(default = "vouched")]
    pub good_enough: bool,
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
    pub shape: Vec<usize>,
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
    #[error("model {name} is no {expected}; reinstall the model pack")]
    Task { name: String, expected: &'static str },
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
        let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        require(file.schema == SCHEMA, || format!("schema is {}, this agent reads {SCHEMA}", file.schema))?;
        let task = match (file.task.as_str(), file.decoder) {
            ("detector", DecoderKind::Yolox { strides }) => {
                let iou = file.nms.ok_or("nms is missing")?.iou;
                Task::Detector(DetectorTask { strides, iou, classes: file.classes })
            }
            ("classifier", DecoderKind::Attributes) => Task::Classifier(ClassifierTask {
                crop: file.crop.ok_or("crop is missing")?,
                known: file.known.ok_or("known is missing")?.calibration,
                attributes: file.attributes,
            }),
            ("detector" | "classifier", _) => {
                return Err(format!("decoder.kind does not fit the task {:?}", file.task));
            }
            (other, _) => return Err(format!("task is {other:?}, this agent reads \"detector\" and \"classifier\"")),
        };
        let File { name, version, file, sha256, licence, data_rights, input, golden, .. } = file;
        let manifest = Self { name, version, file, sha256, licence, data_rights, input, task, golden };
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

    /// Numbers in the network's output.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.output_shape().iter().product()
    }

    #[must_use]
    pub fn is_classifier(&self) -> bool {
        matches!(self.task, Task::Classifier(_))
    }

    /// What it can say, in the order of the outputs.
    #[must_use]
    pub fn labels(&self) -> Vec<Label> {
        match &self.task {
            Task::Detector(task) => task.classes.iter().map(|class| class.label).collect(),
            Task::Classifier(task) => {
                let attributes = task.attributes.iter().flat_map(|attribute| [attribute.present, attribute.absent]);
                attributes.chain([Label::Unknown]).collect()
            }
        }
    }

    /// Of these, what its card vouches for.
    #[must_use]
    pub fn good_labels(&self) -> Vec<Label> {
        match &self.task {
            Task::Detector(task) => {
                task.classes.iter().filter(|class| class.good_enough).map(|class| class.label).collect()
            }
            Task::Classifier(task) => {
                let good = task.attributes.iter().filter(|attribute| attribute.good_enough);
                good.flat_map(|attribute| [attribute.present, attribute.absent]).collect()
            }
        }
    }

    fn output_shape(&self) -> Vec<usize> {
        match &self.task {
            // An anchor: 4 numbers of the box, its objectness, and one a class.
            Task::Detector(task) => vec![1, task.anchors(&self.input), 5 + task.classes.len()],
            Task::Classifier(task) => vec![1, 1 + task.attributes.len()],
        }
    }

    fn validate(&self) -> Result<(), String> {
        let is_hex = self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        require(is_hex, || format!("sha256 is {:?}, expected 64 lower-case hexadecimal digits", self.sha256))?;
        for file in [&self.file, &self.golden.input, &self.golden.output] {
            let inside = Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            require(inside && !file.is_empty() && !file.contains('\0'), || {
                format!("{file:?} is no file within the model's folder")
            })?;
        }
        self.input.validate()?;
        match &self.task {
            Task::Detector(task) => task.validate(&self.input)?,
            Task::Classifier(task) => task.validate()?,
        }
        let expected = self.output_shape();
        require(self.golden.shape == expected, || {
            format!("golden.shape is {:?}, input, strides and classes give {expected:?}", self.golden.shape)
        })?;
        let tolerance = self.golden.tolerance;
        require(tolerance.is_finite() && tolerance > 0.0, || {
            format!("golden.tolerance is {tolerance}, expected above 0")
        })
    }
}

impl Input {
    fn validate(&self) -> Result<(), String> {
        let Self { width, height, mean, scale, .. } = self;
        let fits = |side: u32| (32..=4096).contains(&side);
        require(fits(*width) && fits(*height), || format!("input is {width}×{height}, expected 32..4096"))?;
        let finite = mean.iter().chain(scale).all(|value| value.is_finite()) && scale.iter().all(|value| *value != 0.0);
        require(finite, || format!("input.mean {mean:?} or input.scale {scale:?} is not usable"))
    }
}

impl DetectorTask {
    /// Boxes that the network proposes.
    #[must_use]
    pub fn anchors(&self, input: &Input) -> usize {
        self.strides.iter().map(|stride| (input.width / stride) as usize * (input.height / stride) as usize).sum()
    }

    fn validate(&self, input: &Input) -> Result<(), String> {
        let Self { strides, iou, classes } = self;
        require(!strides.is_empty() && strides.iter().all(|stride| (1..=256).contains(stride)), || {
            format!("decoder.strides is {strides:?}, expected some of 1..256")
        })?;
        let fits = |side: u32| strides.iter().all(|stride| side.is_multiple_of(*stride));
        require(fits(input.width) && fits(input.height), || {
            format!("input is {}×{}, expected multiples of the strides {strides:?}", input.width, input.height)
        })?;
        require(within_one(*iou), || format!("nms.iou is {iou}, expected 0..1"))?;
        require(!classes.is_empty(), || "there is no class".to_owned())?;
        require_once(classes.iter().map(|class| class.label))?;
        for Class { label, floor, threshold, calibration, .. } in classes {
            require(within_one(*floor), || format!("floor of class {label} is {floor}, expected 0..1"))?;
            require(within_one(*threshold), || format!("threshold of class {label} is {threshold}, expected 0..1"))?;
            calibration.validate(&format!("class {label}"))?;
        }
        Ok(())
    }
}

impl ClassifierTask {
    fn validate(&self) -> Result<(), String> {
        let Crop { of, region, .. } = &self.crop;
        require(matches!(of, Label::Head | Label::Person), || {
            format!("crop.of is \"{of}\", expected \"head\" or \"person\"")
        })?;
        let [left, top, right, bottom] = *region;
        let within = region.iter().all(|edge| (-2.0..=3.0).contains(edge)) && left < right && top < bottom;
        require(within, || format!("crop.region is {region:?}, expected left, top, right, bottom in -2..3"))?;
        self.known.validate("known")?;
        require(!self.attributes.is_empty(), || "there is no attribute".to_owned())?;
        require_once(self.attributes.iter().flat_map(|attribute| [attribute.present, attribute.absent]))?;
        for Attribute { present, min_px, threshold, calibration, .. } in &self.attributes {
            require((1..=4096).contains(min_px), || format!("min_px of {present} is {min_px}, expected 1..4096"))?;
            require(within_one(*threshold), || format!("threshold of {present} is {threshold}, expected 0..1"))?;
            calibration.validate(present.as_str())?;
        }
        Ok(())
    }
}

impl Calibration {
    /// sigmoid(a · logit + b).
    #[must_use]
    pub fn of_logit(self, logit: f32) -> f32 {
        1.0 / (1.0 + (-(self.a * logit + self.b)).exp())
    }

    /// The same of a score, kept off 0 and 1.
    #[must_use]
    pub fn of_score(self, raw: f32) -> f32 {
        let raw = raw.clamp(1e-6, 1.0 - 1e-6);
        self.of_logit((raw / (1.0 - raw)).ln())
    }

    fn validate(self, whose: &str) -> Result<(), String> {
        let usable = self.a > 0.0 && self.a.is_finite() && self.b.is_finite();
        require(usable, || format!("calibration of {whose} is {self:?}, expected a above 0"))
    }
}

fn require_once(labels: impl Iterator<Item = Label>) -> Result<(), String> {
    let mut seen = Vec::new();
    for label in labels {
        require(!seen.contains(&label), || format!("class {label} stands twice"))?;
        seen.push(label);
    }
    Ok(())
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

    pub(in super::super) const CLASSIFIER: &str = r#"
schema = 1
name = "head_attributes"
version = "0.1.0"
task = "classifier"
file = "head_attributes.onnx"
sha256 = "334096ee495a5f30a06fd9c02e04fc08ddadc8fe95537f337141f51c3061f10c"
licence = "Apache-2.0"
data_rights = "unclear"
[crop]
of = "head"
region = [-0.1, -0.1, 1.1, 1.1]
square = true
[input]
width = 96
height = 96
layout = "nchw"
colour = "rgb"
mean = [127.0, 127.0, 127.0]
scale = [0.0078125, 0.0078125, 0.0078125]
fit = "stretch"
padding = 114
[decoder]
kind = "attributes"
[known]
calibration = { a = 1.0, b = 0.0 }
[[attribute]]
present = "mask"
absent = "no_mask"
min_px = 32
threshold = 0.65
calibration = { a = 1.0, b = 0.0 }
good_enough = false
[[attribute]]
present = "hat"
absent = "no_hat"
min_px = 24
threshold = 0.65
calibration = { a = 1.0, b = 0.0 }
[golden]
input = "golden/input.png"
output = "golden/output.f32"
shape = [1, 3]
tolerance = 0.01
"#;

    #[test]
    fn the_format_of_the_model_pack_is_read() {
        let manifest = Manifest::parse(EXAMPLE).expect("valid");
        assert_eq!((manifest.output_len(), manifest.labels()), (2184 * 6, vec![Label::Person]));
        let classifier = Manifest::parse(CLASSIFIER).expect("valid");
        assert_eq!(classifier.output_len(), 3);
        assert_eq!(classifier.good_labels(), [Label::Hat, Label::NoHat]);
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
        for (from, to, expected) in [
            ("of = \"head\"", "of = \"rat\"", "rat"),
            ("1.1, 1.1", "-0.2, 1.1", "region"),
            ("kind = \"attributes\"", "kind = \"yolox\"\nstrides = [8]", "does not fit"),
            ("[known]\ncalibration = { a = 1.0, b = 0.0 }", "", "known is missing"),
            ("absent = \"no_hat\"", "absent = \"mask\"", "mask stands twice"),
            ("min_px = 24", "min_px = 0", "min_px of hat"),
            ("shape = [1, 3]", "shape = [1, 2]", "[1, 2]"),
        ] {
            assert!(CLASSIFIER.contains(from), "{from}");
            let error = Manifest::parse(&CLASSIFIER.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn calibration_keeps_the_order_and_the_bounds() {
        let identity = Calibration { a: 1.0, b: 0.0 };
        assert!((identity.of_score(0.3) - 0.3).abs() < 1e-5);
        assert!((Calibration { a: 2.0, b: 1.0 }.of_score(0.5) - 0.731_06).abs() < 1e-4);
        for (lower, higher) in [(0.0, 0.1), (0.1, 0.9), (0.9, 1.0)] {
            let shifted = Calibration { a: 0.7, b: -1.0 };
            let (lower, higher) = (shifted.of_score(lower), shifted.of_score(higher));
            assert!(lower < higher && (0.0..=1.0).contains(&lower) && (0.0..=1.0).contains(&higher));
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
