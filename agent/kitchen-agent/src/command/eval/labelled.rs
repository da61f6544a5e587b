//! Labelled pictures as they lie in a folder: `images/`, `labels/` in YOLO's format and `classes.txt` for a detector, one
//! folder a class for a classifier. Reads names and labels; never a picture.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use kitchen_core::detection::{Label, Rect};

use crate::notice::{Notice, notice};

const PICTURES: [&str; 3] = ["jpg", "jpeg", "png"];

/// A picture and the boxes in it.
#[derive(Debug, PartialEq)]
pub struct Boxed {
    pub path: PathBuf,
    pub truths: Vec<(Label, Rect)>,
}

/// The pictures of a detector's folder in the order of their names. Classes that no model of this agent knows are left
/// out; a picture without a file of labels shows nothing.
///
/// # Errors
/// Which file or line is missing or wrong.
pub fn boxed(folder: &Path) -> Result<Vec<Boxed>> {
    let classes = classes(&folder.join("classes.txt"))?;
    let labels = folder.join("labels");
    if !labels.is_dir() {
        bail!(layout(folder));
    }
    pictures(&folder.join("images"))
        .with_context(|| layout(folder))?
        .into_iter()
        .map(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let file = labels.join(format!("{stem}.txt"));
            let text = match std::fs::read_to_string(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                read => read.with_context(|| notice!("file-unreadable", None, path = file.display()))?,
            };
            let truths = truths(&text, &classes).map_err(|line| {
                notice!("eval-label-wrong", None, path = file.display(), line = line, classes = classes.len())
            })?;
            Ok(Boxed { path, truths })
        })
        .collect()
}

/// Pictures by the label that their folder is called after, in the order of the names.
///
/// # Errors
/// When no folder is called after one of `labels`.
pub fn sorted(folder: &Path, labels: &[Label]) -> Result<Vec<(PathBuf, Label)>> {
    let mut all = Vec::new();
    for &label in labels {
        let class = folder.join(label.as_str());
        if class.is_dir() {
            let paths = pictures(&class).with_context(|| notice!("file-unreadable", None, path = class.display()))?;
            all.extend(paths.into_iter().map(|path| (path, label)));
        }
    }
    if all.is_empty() {
        let known: Vec<&str> = labels.iter().map(|label| label.as_str()).collect();
        bail!(notice!("eval-no-classes", None, path = folder.display(), labels = known.join(", ")));
    }
    Ok(all)
}

fn layout(folder: &Path) -> Notice {
    notice!("eval-layout", None, path = folder.display())
}

/// Every line a class; `None` for one that no model of this agent knows.
fn classes(path: &Path) -> Result<Vec<Option<Label>>> {
    let text = std::fs::read_to_string(path).with_context(|| layout(path.parent().unwrap_or(path)))?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty()).map(|line| Label::from_str(line).ok()).collect())
}

fn pictures(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if PICTURES.contains(&extension.as_str()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// `class cx cy w h`, fractions of the picture; the error is the number of the line that is wrong.
fn truths(text: &str, classes: &[Option<Label>]) -> Result<Vec<(Label, Rect)>, usize> {
    let mut truths = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (class, rect) = truth(line).ok_or(index + 1)?;
        if let Some(label) = classes.get(class).ok_or(index + 1)? {
            truths.push((*label, rect));
        }
    }
    Ok(truths)
}

fn truth(line: &str) -> Option<(usize, Rect)> {
    let mut words = line.split_whitespace();
    let class = words.next()?.parse().ok()?;
    let numbers: Vec<f32> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [x, y, w, h] = numbers[..] else { return None };
    let is_box = [x, y, w, h].iter().all(|side| (-0.01..=1.01).contains(side)) && w > 0.0 && h > 0.0;
    is_box.then(|| (class, Rect::new(x - w / 2.0, y - h / 2.0, w, h)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_read_from_their_centre_and_unknown_classes_left_out() {
        let classes = [Some(Label::Rat), None];
        let read = truths("0 0.5 0.5 0.2 0.4\n\n1 0.1 0.1 0.1 0.1\n", &classes).expect("valid");
        let [(Label::Rat, rect)] = read[..] else { panic!("{read:?}") };
        assert!((rect.x - 0.4).abs() < 1e-6 && (rect.y - 0.3).abs() < 1e-6 && rect.w == 0.2 && rect.h == 0.4);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for wrong in [
            "0 0.5 0.5 0.2",
            "0 0.5 0.5 0.2 0.4 1",
            "2 0.5 0.5 0.2 0.4",
            "rat 0.5 0.5 0.2 0.4",
            "0 50 50 20 40",
            "0 0.5 0.5 0 0.4",
        ] {
            let text = format!("0 0.5 0.5 0.2 0.4\n{wrong}");
            assert_eq!(truths(&text, &[Some(Label::Rat), None]), Err(2), "{wrong}");
        }
    }
}
