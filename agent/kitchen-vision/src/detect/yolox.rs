//! The raw output of a YOLOX head as detections: grid arithmetic, floor, calibration, suppression. Pure.

use kitchen_core::detection::{Detection, Rect, suppress};

use super::letterbox::Placement;
use super::manifest::{DetectorTask, Input};

/// Turns the output, rows of `x y w h objectness class…` an anchor (scores already 0..1), into detections
/// with rectangles as fractions of the picture. Every class above its floor gives one, so that rivals can be weighed.
/// `output` has [`super::Manifest::output_len`] numbers.
#[must_use]
pub fn detections(output: &[f32], input: &Input, task: &DetectorTask, placement: Placement) -> Vec<Detection> {
    let row_len = 5 + task.classes.len();
    let lowest_floor = task.classes.iter().map(|class| class.floor).fold(1.0, f32::min);
    let mut found = Vec::new();
    for (row, anchor) in output.chunks_exact(row_len).zip(anchors(input, task)) {
        let [x, y, w, h, objectness, scores @ ..] = row else { continue };
        if *objectness < lowest_floor {
            continue;
        }
        for (class, score) in task.classes.iter().zip(scores) {
            let raw = objectness * score;
            let rect = anchor.rect([*x, *y, *w, *h], placement);
            // Not "below the floor": a network that gives NaN gives no detection.
            if raw >= class.floor && rect.area() > 0.0 {
                found.push(Detection { label: class.label, score: class.calibration.of_score(raw), rect });
            }
        }
    }
    suppress(found, task.iou)
}

struct Anchor {
    column: f32,
    row: f32,
    stride: f32,
}

impl Anchor {
    fn rect(&self, [x, y, w, h]: [f32; 4], placement: Placement) -> Rect {
        #[expect(clippy::cast_precision_loss, reason = "sides of a few hundred pixels")]
        let (width, height) = (placement.width as f32, placement.height as f32);
        let (centre_x, centre_y) = ((x + self.column) * self.stride, (y + self.row) * self.stride);
        let (w, h) = (w.exp() * self.stride, h.exp() * self.stride);
        Rect::new((centre_x - w / 2.0) / width, (centre_y - h / 2.0) / height, w / width, h / height).clamped()
    }
}

#[expect(clippy::cast_precision_loss, reason = "grids of a few hundred cells")]
fn anchors(input: &Input, task: &DetectorTask) -> impl Iterator<Item = Anchor> {
    let (width, height) = (input.width, input.height);
    task.strides.iter().flat_map(move |stride| {
        let columns = width / stride;
        (0..height / stride).flat_map(move |row| {
            (0..columns).map(move |column| Anchor { column: column as f32, row: row as f32, stride: *stride as f32 })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{Manifest, Task, tests::EXAMPLE};
    use super::*;

    fn example() -> (Manifest, DetectorTask) {
        let manifest = Manifest::parse(EXAMPLE).expect("valid");
        let Task::Detector(task) = manifest.task.clone() else { panic!("{manifest:?}") };
        (manifest, task)
    }

    #[test]
    fn an_anchor_becomes_a_box_in_the_picture() {
        let (manifest, task) = example();
        let mut output = vec![0.0; manifest.output_len()];
        // Stride 16, its grid is 26×16: cell (10, 4) after the 52×32 cells of stride 8.
        let at = (52 * 32 + 4 * 26 + 10) * 6;
        output[at..at + 6].copy_from_slice(&[0.5, 0.25, 3_f32.ln(), 2_f32.ln(), 0.9, 0.8]);
        let found = detections(&output, &manifest.input, &task, Placement { left: 0, top: 0, width: 416, height: 234 });
        assert_eq!(found.len(), 1);
        let Rect { x, y, w, h } = found[0].rect;
        let expected = [(168.0 - 24.0) / 416.0, (68.0 - 16.0) / 234.0, 48.0 / 416.0, 32.0 / 234.0];
        for (value, expected) in [x, y, w, h].into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{found:?}");
        }
        assert!((found[0].score - 0.72).abs() < 1e-4);
    }

    #[test]
    fn floor_and_nonsense_drop_a_box() {
        let (manifest, task) = example();
        for row in [
            [0.0, 0.0, 1.0, 1.0, 0.3, 0.3],
            [0.0, 0.0, 1.0, 1.0, f32::NAN, 0.9],
            [0.0, 0.0, 1.0, 1.0, 0.9, f32::NAN],
            [f32::NAN, 0.0, 1.0, 1.0, 0.9, 0.9],
            [0.0, 0.0, -200.0, 1.0, 0.9, 0.9],
            [900.0, 0.0, 1.0, 1.0, 0.9, 0.9],
        ] {
            let mut output = vec![0.0; manifest.output_len()];
            output[..6].copy_from_slice(&row);
            let whole = Placement { left: 0, top: 0, width: 416, height: 256 };
            assert_eq!(detections(&output, &manifest.input, &task, whole), [], "{row:?}");
        }
    }
}
