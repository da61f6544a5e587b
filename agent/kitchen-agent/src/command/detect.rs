//! `detect`: the pack on still images, a line a picture.

use anyhow::{Context as _, Result, bail};
use kitchen_core::alert::AlertBox;
use kitchen_vision::detect::Detector;
use serde_json::json;

use super::{print_json, print_line};
use crate::cli::{Cli, DetectArguments, Exit};
use crate::config_file;
use crate::pipeline::MODEL;

pub fn run(cli: &Cli, arguments: &DetectArguments) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    if let Some(name) = arguments.model.as_deref().filter(|name| *name != MODEL) {
        bail!("no model {name:?} in the pack: see kitchen-agent model list");
    }
    let models_dir = config_file::models_dir(&config);
    let mut detector = Detector::load(&models_dir, MODEL, config.detector.engine, config.detector.threads)?;
    let mut exit = Exit::Done;
    for path in &arguments.images {
        let detected = image::open(path)
            .with_context(|| format!("{} is no picture that can be read (JPEG or PNG)", path.display()))
            .and_then(|image| {
                let image = image.to_rgb8();
                Ok((image.dimensions(), detector.detect_rgb(&image)?))
            });
        let ((width, height), detections) = match detected {
            Ok(detected) => detected,
            Err(error) => {
                eprintln!("kitchen-agent: {error:#}");
                exit = Exit::ProblemFound;
                continue;
            }
        };
        let boxes: Vec<AlertBox> = detections.into_iter().map(AlertBox::from).collect();
        if cli.json {
            print_json(&json!({ "image": path, "width": width, "height": height, "detections": boxes }))?;
            continue;
        }
        print_line(&format!("{} {width}×{height}: {} found", path.display(), boxes.len()));
        for AlertBox { label, score, x, y, w, h } in boxes {
            print_line(&format!("  {label:<10} {score:.2}  at {x:.3} {y:.3}, size {w:.3} {h:.3}"));
        }
    }
    Ok(exit)
}
