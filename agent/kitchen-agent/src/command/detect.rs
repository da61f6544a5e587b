//! `detect`: the pack on still images, a line a picture.

use std::path::Path;

use anyhow::{Error, Result, bail};
use image::ImageError;
use kitchen_core::alert::AlertBox;
use kitchen_vision::detect::Detector;
use serde_json::json;

use super::{print_json, print_line};
use crate::cli::{Cli, DetectArguments, Exit};
use crate::engine_choice::Choice;
use crate::notice::notice;
use crate::pipeline::MODEL;
use crate::text::text;
use crate::{config_file, engine_choice, explain};

pub fn run(cli: &Cli, arguments: &DetectArguments) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    if let Some(name) = arguments.model.as_deref().filter(|name| *name != MODEL) {
        bail!(notice!("model-unknown", None, name = format!("{name:?}")));
    }
    let models_dir = config_file::models_dir(&config);
    let Choice { engine, threads } = engine_choice::in_force(&config, MODEL);
    let mut detector = Detector::load(&models_dir, MODEL, engine, threads)?;
    let mut exit = Exit::Done;
    for path in &arguments.images {
        let detected = image::open(path).map_err(unreadable(path)).and_then(|image| {
            let image = image.to_rgb8();
            Ok((image.dimensions(), detector.detect_rgb(&image)?))
        });
        let ((width, height), detections) = match detected {
            Ok(detected) => detected,
            Err(error) => {
                explain::print(&error);
                exit = Exit::ProblemFound;
                continue;
            }
        };
        let boxes: Vec<AlertBox> = detections.into_iter().map(AlertBox::from).collect();
        if cli.json {
            print_json(&json!({ "image": path, "width": width, "height": height, "detections": boxes }))?;
            continue;
        }
        let size = format!("{width}×{height}");
        print_line(&text!("detect-found", path = path.display(), size = size, count = boxes.len()));
        for AlertBox { label, score, x, y, w, h } in boxes {
            let (label, score) = (format!("{label:<10}"), format!("{score:.2}"));
            let (at, size) = (format!("{x:.3} {y:.3}"), format!("{w:.3} {h:.3}"));
            print_line(&format!("  {}", text!("detect-box", label = label, score = score, at = at, size = size)));
        }
    }
    Ok(exit)
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
