//! `model eval`: a model of the pack against labelled pictures.

mod labelled;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kitchen_core::config::Config;
use kitchen_core::detection::Label;
use kitchen_core::evaluation::{self, Counts, Seen};
use kitchen_vision::detect::manifest::Attribute;
use kitchen_vision::detect::{Classifier, Detector, Manifest};
use serde_json::{Map, Value, json};

use super::{padded, print_json, print_line};
use crate::cli::{Cli, EvalArguments, Exit};
use crate::engine_choice::Choice;
use crate::notice::notice;
use crate::text::text;
use crate::{config_file, engine_choice};

/// A box counts as found from this overlap on; the strict one is reported beside it.
const IOU: f32 = 0.3;
const STRICT_IOU: f32 = 0.5;
const COLUMN: usize = 22;

pub fn run(cli: &Cli, arguments: &EvalArguments) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    let manifest = Manifest::read(&config_file::models_dir(&config).join(&arguments.model))?;
    let evaluate = if manifest.is_classifier() { classifier } else { detector };
    let evaluation = evaluate(&config, &arguments.model, &arguments.folder)?;
    if cli.json {
        print_json(&evaluation.described())?;
    } else {
        evaluation.print();
    }
    Ok(Exit::Done)
}

/// One class at the model's own threshold.
struct Figures {
    label: Label,
    /// Absent where no rule acts on the label.
    threshold: Option<f32>,
    counts: Counts,
    /// Of a detector: at the strict overlap, and the average precision at both.
    strict: Option<Counts>,
    ap: Option<[Option<f64>; 2]>,
}

struct Evaluation {
    model: String,
    pictures: usize,
    classes: Vec<Figures>,
}

fn detector(config: &Config, name: &str, folder: &Path) -> Result<Evaluation> {
    let Choice { engine, threads } = engine_choice::in_force(config, name);
    let mut detector = Detector::load(&config_file::models_dir(config), name, engine, threads)?;
    let pictures = labelled::boxed(folder)?;
    let mut seen: BTreeMap<Label, Vec<Seen>> = BTreeMap::new();
    for picture in progress(&pictures) {
        let detections = detector.detect_rgb(&read(&picture.path)?)?;
        for class in &detector.task().classes {
            let found = detections.iter().filter(|detection| detection.label == class.label);
            let truths = picture.truths.iter().filter(|(label, _)| *label == class.label);
            seen.entry(class.label).or_default().push(Seen {
                found: found.map(|detection| (detection.score, detection.rect)).collect(),
                truths: truths.map(|(_, rect)| *rect).collect(),
            });
        }
    }
    let classes = detector.task().classes.iter().map(|class| {
        let (label, threshold) = (class.label, class.threshold);
        let seen = seen.get(&label).map_or(&[][..], Vec::as_slice);
        Figures {
            label,
            threshold: Some(threshold),
            counts: evaluation::counts(seen, threshold, IOU),
            strict: Some(evaluation::counts(seen, threshold, STRICT_IOU)),
            ap: Some([IOU, STRICT_IOU].map(|iou| evaluation::average_precision(seen, iou))),
        }
    });
    Ok(Evaluation { model: name.to_owned(), pictures: pictures.len(), classes: classes.collect() })
}

/// Each attribute by itself: a picture counts as the label that scores highest among present, absent and unknown.
/// Pictures of another attribute's classes are no evidence for this one.
fn classifier(config: &Config, name: &str, folder: &Path) -> Result<Evaluation> {
    let Choice { engine, threads } = engine_choice::in_force(config, name);
    let mut classifier = Classifier::load(&config_file::models_dir(config), name, engine, threads)?;
    let pictures = labelled::sorted(folder, &classifier.manifest().labels())?;
    let attributes = classifier.task().attributes.clone();
    let mut counts: BTreeMap<Label, Counts> = BTreeMap::new();
    for (path, truth) in progress(&pictures) {
        let scores = classifier.judge_rgb(&read(path)?)?;
        let highest = |labels: [Label; 3]| {
            let score = |label: Label| scores.get(&label).copied().unwrap_or(0.0);
            labels.into_iter().max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap_or(Label::Unknown)
        };
        // What can't be judged must not be called anything, whatever the attribute.
        let asked = |one: &&Attribute| [one.present, one.absent, Label::Unknown].contains(truth);
        let said: BTreeSet<Label> =
            attributes.iter().filter(asked).map(|one| highest([one.present, one.absent, Label::Unknown])).collect();
        let counted = counts.entry(*truth).or_default();
        if said.iter().all(|label| label == truth) {
            counted.right += 1;
        } else {
            counted.missed += 1;
        }
        for wrong in said.into_iter().filter(|label| label != truth) {
            counts.entry(wrong).or_default().false_positives += 1;
        }
    }
    let classes = classifier.manifest().labels().into_iter().map(|label| {
        let counts = counts.get(&label).copied().unwrap_or_default();
        let threshold = attributes.iter().find(|one| one.absent == label).map(|one| one.threshold);
        Figures { label, threshold, counts, strict: None, ap: None }
    });
    Ok(Evaluation { model: name.to_owned(), pictures: pictures.len(), classes: classes.collect() })
}

fn read(path: &Path) -> Result<image::RgbImage> {
    let image = image::open(path).with_context(|| notice!("picture-unreadable", None, path = path.display()))?;
    Ok(image.to_rgb8())
}

impl Evaluation {
    #[expect(clippy::cast_precision_loss, reason = "counts of pictures")]
    fn described(&self) -> Value {
        let (mut classes, mut false_positives) = (Map::new(), Map::new());
        for figures in &self.classes {
            let name = figures.label.as_str();
            let rate = figures.counts.false_positives as f64 * 1000.0 / self.pictures.max(1) as f64;
            false_positives.insert(name.to_owned(), json!(rounded(rate)));
            classes.insert(name.to_owned(), figures.described());
        }
        json!({
            "model": self.model, "pictures": self.pictures, "classes": classes,
            "false_positives_per_1000": false_positives,
        })
    }

    fn print(&self) {
        print_line(&text!("eval-head", model = self.model, pictures = self.pictures));
        for figures in &self.classes {
            figures.print();
        }
        let boxes = self.classes.iter().any(|figures| figures.ap.is_some());
        print_line(&if boxes {
            text!("eval-foot", iou = IOU, strict = STRICT_IOU)
        } else {
            text!("eval-foot-classes")
        });
    }
}

impl Figures {
    fn described(&self) -> Value {
        let Counts { right, false_positives, missed } = self.counts;
        let share = |share: Option<f64>| share.map(rounded);
        let mut described = json!({
            "count": right + missed, "threshold": self.threshold.map(|threshold| rounded(f64::from(threshold))),
            "precision": share(self.counts.precision()), "recall": share(self.counts.recall()),
            "f1": share(self.counts.f1()), "right": right, "false_positives": false_positives, "missed": missed,
        });
        if let (Some(strict), Some([ap30, ap50])) = (self.strict, self.ap) {
            described["ap30"] = json!(share(ap30));
            described["ap50"] = json!(share(ap50));
            described["precision50"] = json!(share(strict.precision()));
            described["recall50"] = json!(share(strict.recall()));
        }
        described
    }

    fn print(&self) {
        let Counts { right, false_positives, missed } = self.counts;
        let precision = with_interval(right, right + false_positives);
        let recall = with_interval(right, right + missed);
        let line = text!(
            "eval-class",
            count = right + missed,
            threshold = self.threshold.map_or_else(|| "–".to_owned(), |threshold| format!("{threshold:.2}")),
            wrong = false_positives
        );
        let rates = text!("eval-rates", precision = padded(&precision, COLUMN), recall = padded(&recall, COLUMN));
        print_line(&format!("{:<14}{line}", self.label.as_str()));
        print_line(&format!("{:<14}{rates}", ""));
        if let Some([Some(ap30), Some(ap50)]) = self.ap {
            let line = text!("eval-ap", ap30 = format!("{ap30:.3}"), ap50 = format!("{ap50:.3}"));
            print_line(&format!("{:<14}{line}", ""));
        }
    }
}

/// A share with its 95 % interval.
fn with_interval(part: u64, whole: u64) -> String {
    let share = evaluation::interval(part, whole).map(|(low, high)| {
        #[expect(clippy::cast_precision_loss, reason = "counts of pictures")]
        let share = part as f64 / whole as f64;
        format!("{share:.3} ({low:.3}–{high:.3})")
    });
    share.unwrap_or_else(|| "–".to_owned())
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// With a bar on standard error where somebody watches.
fn progress<T>(items: &[T]) -> impl Iterator<Item = &T> {
    let watched = std::io::stderr().is_terminal();
    let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta}").expect("a valid template");
    let bar = ProgressBar::with_draw_target(Some(items.len() as u64), target).with_style(style);
    bar.wrap_iter(items.iter())
}
