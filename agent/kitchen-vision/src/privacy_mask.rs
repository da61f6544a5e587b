//! Privacy masks: polygons in, frames with those areas filled out. Burnt into every frame of a camera before anything
//! looks at it; what lies below a mask is never seen, stored or sent.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use kitchen_core::config::{self, Polygon};

use crate::frame::Frame;

/// Dark grey in either range.
const LUMA: u8 = 48;
const NO_COLOUR: u8 = 128;

/// The masks of one camera.
#[derive(Debug, Default)]
pub struct PrivacyMask {
    polygons: Vec<Polygon>,
    /// Of the size seen last: a camera changes it rarely.
    drawn: Mutex<Option<Arc<Drawn>>>,
}

/// What is filled in a picture of one size: ranges of the packed planes.
#[derive(Debug)]
struct Drawn {
    size: (u32, u32),
    luma: Vec<Range<usize>>,
    chroma: Vec<Range<usize>>,
}

impl PrivacyMask {
    #[must_use]
    pub fn new(masks: &[config::PrivacyMask]) -> Self {
        Self { polygons: masks.iter().map(|mask| mask.polygon.clone()).collect(), drawn: Mutex::default() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.polygons.is_empty()
    }

    /// The frame with the masks filled, flat and dark. Every pixel that a mask touches is filled whole.
    #[must_use]
    pub fn burn(&self, mut frame: Frame) -> Frame {
        if self.is_empty() {
            return frame;
        }
        let drawn = self.drawn_for(frame.width, frame.height);
        let planes = Arc::make_mut(&mut frame.planes);
        for (ranges, value) in [(&drawn.luma, LUMA), (&drawn.chroma, NO_COLOUR)] {
            ranges.iter().for_each(|range| planes[range.clone()].fill(value));
        }
        frame
    }

    fn drawn_for(&self, width: u32, height: u32) -> Arc<Drawn> {
        let mut cached = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = cached.as_ref().filter(|drawn| drawn.size == (width, height));
        let drawn = fitting.map_or_else(|| Arc::new(draw(&self.polygons, width, height)), Arc::clone);
        *cached = Some(Arc::clone(&drawn));
        drawn
    }
}

fn draw(polygons: &[Polygon], width: u32, height: u32) -> Drawn {
    let (columns, rows) = (width as usize, height as usize);
    let (chroma_columns, chroma_rows) = (columns.div_ceil(2), rows.div_ceil(2));
    let planes = [columns * rows, columns * rows + chroma_columns * chroma_rows];
    let mut drawn = Drawn { size: (width, height), luma: Vec::new(), chroma: Vec::new() };
    for polygon in polygons {
        #[expect(clippy::cast_precision_loss, reason = "pixels of a picture")]
        let corners: Vec<[f32; 2]> = polygon.iter().map(|[x, y]| [x * columns as f32, y * rows as f32]).collect();
        for row in 0..rows {
            for Range { start, end } in touched(&corners, row, columns) {
                drawn.luma.push(row * columns + start..row * columns + end);
                let first = row / 2 * chroma_columns;
                drawn.chroma.extend(planes.map(|plane| plane + first + start / 2..plane + first + end.div_ceil(2)));
            }
        }
    }
    drawn
}

/// Columns of the pixels of one row that the polygon touches: those inside by the even-odd rule, as zones are, and those
/// that an edge passes through. A pixel that neither holds lies outside whole.
fn touched(corners: &[[f32; 2]], row: usize, columns: usize) -> Vec<Range<usize>> {
    #[expect(clippy::cast_precision_loss, reason = "pixels of a picture")]
    let (top, bottom) = (row as f32, row as f32 + 1.0);
    let middle = f32::midpoint(top, bottom);
    let mut ranges = Vec::new();
    let mut crossings = Vec::new();
    for (index, &from) in corners.iter().enumerate() {
        let to = corners[(index + 1) % corners.len()];
        let (upper, lower) = if from[1] <= to[1] { (from, to) } else { (to, from) };
        if lower[1] < top || upper[1] > bottom {
            continue;
        }
        let at = |y: f32| {
            let share = (y - upper[1]) / (lower[1] - upper[1]);
            if share.is_finite() { upper[0] + share.clamp(0.0, 1.0) * (lower[0] - upper[0]) } else { upper[0] }
        };
        // A level edge has no slope: all of it lies in this row.
        let is_level = lower[1] - upper[1] <= f32::EPSILON;
        let (one, other) = if is_level { (upper[0], lower[0]) } else { (at(top), at(bottom)) };
        ranges.extend(pixels(one.min(other), one.max(other), columns));
        if (upper[1] > middle) != (lower[1] > middle) {
            crossings.push(at(middle));
        }
    }
    crossings.sort_by(f32::total_cmp);
    ranges.extend(crossings.chunks_exact(2).filter_map(|pair| pixels(pair[0], pair[1], columns)));
    ranges
}

/// Whole pixels that `from..=to` touches.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is cut to the picture")]
fn pixels(from: f32, to: f32, columns: usize) -> Option<Range<usize>> {
    let (start, end) = (from.max(0.0).floor() as usize, (to.max(-1.0).floor() + 1.0) as usize);
    let range = start..end.min(columns);
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use kitchen_core::zone::Area;

    use super::*;
    use crate::frame::tests::painted;

    fn mask(polygons: &[&[[f32; 2]]]) -> PrivacyMask {
        let masks: Vec<_> = polygons.iter().map(|polygon| config::PrivacyMask { polygon: polygon.to_vec() }).collect();
        PrivacyMask::new(&masks)
    }

    /// A dented and a self-crossing polygon, one that leaves the picture, and one narrower than a pixel.
    const SHAPES: [&[[f32; 2]]; 4] = [
        &[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.5, 0.4], [0.1, 0.9]],
        &[[0.2, 0.2], [0.8, 0.8], [0.8, 0.2], [0.2, 0.8]],
        &[[0.7, 0.6], [1.0, 0.3], [1.0, 1.0]],
        &[[0.303, 0.1], [0.304, 0.1], [0.304, 0.9], [0.303, 0.9]],
    ];

    #[test]
    fn no_point_of_a_mask_is_left_to_see_and_little_beside_it_is_lost() {
        for (shape, (width, height)) in SHAPES.iter().flat_map(|shape| [(shape, (64, 36)), (shape, (63, 35))]) {
            let frame = mask(&[shape]).burn(painted(width, height, |_, _| 200));
            let area = Area::zone("private", shape.to_vec());
            let is_filled = |x: u32, y: u32| frame.y()[(y * width + x) as usize] == LUMA;
            let inside = |x: f32, y: f32| area.contains([x / width as f32, y / height as f32]);
            for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                let points = (0..36).map(|n| ((n % 6) as f32 / 5.0, (n / 6) as f32 / 5.0));
                let touches = |reach: f32| {
                    let at = |(dx, dy): (f32, f32)| {
                        let near = |d: f32| 0.5 + (d - 0.5) * reach;
                        inside(x as f32 + near(dx), y as f32 + near(dy))
                    };
                    points.clone().any(at)
                };
                assert!(is_filled(x, y) || !touches(0.998), "{x},{y} of {width}×{height} shows through {shape:?}");
                let is_thin = shape == &SHAPES[3];
                assert!(
                    !is_filled(x, y) || is_thin || touches(3.0),
                    "{x},{y} of {width}×{height} is lost to {shape:?}"
                );
            }
        }
    }

    #[test]
    fn colour_goes_with_the_luma() {
        let colourful = |frame: Frame| {
            let planes = frame.planes.iter().enumerate();
            let luma = frame.y().len();
            let planes = planes.map(|(at, value)| if at < luma { *value } else { 200 }).collect();
            Frame { planes: Arc::new(planes), ..frame }
        };
        let frame = mask(&SHAPES).burn(colourful(painted(63, 35, |_, _| 200)));
        for (x, y) in (0..35).flat_map(|y| (0..63).map(move |x| (x, y))) {
            let chroma = y / 2 * frame.chroma_size().0 + x / 2;
            if frame.y()[y * 63 + x] == LUMA {
                assert_eq!((frame.u()[chroma], frame.v()[chroma]), (NO_COLOUR, NO_COLOUR), "{x},{y}");
            }
        }
        assert_eq!((frame.u()[0], frame.v()[0]), (200, 200));
    }

    #[test]
    fn the_frame_that_was_shared_stays_as_it_was_and_each_size_gets_its_own_mask() {
        let mask = mask(&[&[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]]);
        for (width, height) in [(64, 36), (32, 18), (64, 36)] {
            let frame = painted(width, height, |_, _| 200);
            let burnt = mask.burn(frame.clone());
            assert!(frame.y().iter().all(|luma| *luma == 200));
            let filled = burnt.y().iter().filter(|luma| **luma == LUMA).count();
            assert_eq!(filled, ((width / 2 + 1) * height) as usize, "half, rounded outwards");
        }
        assert!(PrivacyMask::new(&[]).is_empty());
    }
}
