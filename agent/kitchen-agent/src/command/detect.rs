//! `detect`: the pack on still images, a line a picture.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Error, Result, bail};
use image::{ImageError, RgbImage};
use kitchen_core::alert::{AlertBox, round4};
use kitchen_core::config::Config;
use kitchen_core::detection::{Attributes, Detection, Label};
use kitchen_vision::detect::{Classifier, Detector, Manifest};
use serde_json::{Value, json};

use super::{print_json, print_line};
use crate::cli::{Cli, DetectArguments, Exit};
use crate::engine_choice::Choice;
use crate::notice::notice;
use crate::pack::{self, Pack};
use crate::text::text;
use crate::{config_file, engine_choice, explain};

pub fn run(cli: &Cli, arguments: &DetectArguments) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    let mut model = match &arguments.model {
        None => Model::Pack(Pack::load(&config)?),
        Some(name) => Model::load(&config, name)?,
    };
    let mut exit = Exit::Done;
    for path in &arguments.images {
        let seen = image::open(path).map_err(unreadable(path)).and_then(|image| {
            let image = image.to_rgb8();
            Ok((image.dimensions(), model.look(&image)?))
        });
        match seen {
            Ok((size, seen)) if cli.json => print_json(&seen.described(path, size))?,
            Ok((size, seen)) => seen.print(path, size),
            Err(error) => {
                explain::print(&error);
                exit = Exit::ProblemFound;
            }
        }
    }
    Ok(exit)
}

/// What looks at the pictures.
enum Model {
    Pack(Pack),
    Detector(Detector),
    Classifier(Classifier),
}

impl Model {
    fn load(config: &Config, name: &str) -> Result<Self> {
        let models_dir = config_file::models_dir(config);
        if !pack::names(&models_dir)?.iter().any(|known| known == name) {
            bail!(notice!("model-unknown", None, name = format!("{name:?}")));
        }
        let Choice { engine, threads } = engine_choice::in_force(config, name);
        Ok(if Manifest::read(&models_dir.join(name))?.is_classifier() {
            Self::Classifier(Classifier::load(&models_dir, name, engine, threads)?)
        } else {
            Self::Detector(Detector::load(&models_dir, name, engine, threads)?)
        })
    }

    fn look(&mut self, image: &RgbImage) -> Result<Seen> {
        let plain = |detection| (detection, Attributes::new());
        Ok(match self {
            Self::Pack(pack) => Seen::Boxes(pack.look_at(image)?),
            Self::Detector(detector) => Seen::Boxes(detector.detect_rgb(image)?.into_iter().map(plain).collect()),
            Self::Classifier(classifier) => Seen::Labels(classifier.judge_rgb(image)?),
        })
    }
}

/// What one picture showed.
enum Seen {
    Boxes(Vec<(Detection, Attributes)>),
    /// A classifier takes the whole picture as its crop.
    Labels(Attributes),
}

impl Seen {
    fn described(&self, path: &Path, (width, height): (u32, u32)) -> Value {
        match self {
            Self::Boxes(boxes) => {
                let boxes: Vec<Value> = boxes.iter().map(described).collect();
                json!({ "image": path, "width": width, "height": height, "detections": boxes })
            }
            Self::Labels(labels) => json!({ "image": path, "labels": scores(labels) }),
        }
    }

    fn print(&self, path: &Path, (width, height): (u32, u32)) {
        let size = format!("{width}×{height}");
        match self {
            Self::Boxes(boxes) => {
                print_line(&text!("detect-found", path = path.display(), size = size, count = boxes.len()));
                for (detection, attributes) in boxes {
                    let AlertBox { label, score, x, y, w, h } = AlertBox::from(*detection);
                    let (label, score) = (format!("{label:<10}"), format!("{score:.2}"));
                    let (at, size) = (format!("{x:.3} {y:.3}"), format!("{w:.3} {h:.3}"));
                    let line = text!("detect-box", label = label, score = score, at = at, size = size);
                    print_line(&format!("  {line}{}", listed(attributes)));
                }
            }
            Self::Labels(labels) => print_line(&format!("{} {size} {}", path.display(), listed(labels))),
        }
    }
}

/// A box as the pictures' commands write it.
pub(super) fn described((detection, attributes): &(Detection, Attributes)) -> Value {
    let mut described = json!(AlertBox::from(*detection));
    if !attributes.is_empty() {
        described["attributes"] = json!(scores(attributes));
    }
    described
}

/// A box in a line of many.
pub(super) fn in_short((detection, attributes): &(Detection, Attributes)) -> String {
    format!("{} {:.2}{}", detection.label, detection.score, listed(attributes))
}

fn scores(attributes: &Attributes) -> BTreeMap<Label, f64> {
    attributes.iter().map(|(label, score)| (*label, round4(*score))).collect()
}

fn listed(attributes: &Attributes) -> String {
    attributes.iter().map(|(label, score)| format!("  {label} {score:.2}")).collect()
}

/// What the decoder says of a damaged picture helps nobody; what the system says does.
fn unreadable(path: &Path) -> impl Fn(ImageError) -> Error + '_ {
    move |error| {
        let notice = notice!("picture-unreadable", None, path = path.display());
        match error {
            ImageError::IoError(error) => Error::new(error).context(notice),
            _ => Error::new(notice),
        }
    }
}
