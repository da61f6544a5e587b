//! Makes bystanders' faces unrecognisable: a few means are all that is left of a face, and what is painted in their
//! place is a smooth passage from one to the next. Nothing finer can be won back from it.

use kitchen_core::bystander::Bystanders;

use super::canvas::{Area, Canvas};

/// Means along the longer side of a face.
const CELLS: usize = 4;

pub fn hide(canvas: &mut Canvas, bystanders: &Bystanders) {
    let size = (canvas.width, canvas.height);
    let shown: Vec<Area> = bystanders.shown.iter().map(|rect| Area::of(*rect, size)).collect();
    for hidden in &bystanders.hidden {
        let (face, margin) = (outward(Area::of(hidden.face, size)), outward(Area::of(hidden.margin, size)));
        for (plane, step) in [1, 2, 2].into_iter().enumerate() {
            let (columns, rows) = canvas.plane_size(step);
            let in_plane = |area: &Area| area.in_plane(step).within(columns, rows);
            let shown: Vec<Area> = shown.iter().map(in_plane).collect();
            let face = in_plane(&face);
            let is_blurred = |x, y| face.holds(x, y) || !shown.iter().any(|area| area.holds(x, y));
            smear(&mut canvas.planes[plane], columns, in_plane(&margin), is_blurred);
        }
    }
}

/// To even edges on the outside: a line of colour must not be left of a face.
fn outward(area: Area) -> Area {
    Area { left: area.left & !1, top: area.top & !1, right: (area.right + 1) & !1, bottom: (area.bottom + 1) & !1 }
}

impl Area {
    fn holds(&self, x: usize, y: usize) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }
}

fn smear(plane: &mut [u8], columns: usize, area: Area, is_blurred: impl Fn(usize, usize) -> bool) {
    let (width, height) = (area.width(), area.height());
    if width == 0 || height == 0 {
        return;
    }
    let cell = width.max(height).div_ceil(CELLS).max(2);
    let (across, along) = (width.div_ceil(cell), height.div_ceil(cell));
    let mut means = Vec::with_capacity(across * along);
    for row in 0..along {
        for column in 0..across {
            let part = Area {
                left: area.left + column * width / across,
                right: area.left + (column + 1) * width / across,
                top: area.top + row * height / along,
                bottom: area.top + (row + 1) * height / along,
            };
            means.push(mean(plane, columns, part));
        }
    }
    for y in area.top..area.bottom {
        let (upper, lower, down) = between(y - area.top, height, along);
        for x in (area.left..area.right).filter(|x| is_blurred(*x, y)) {
            let (left, right, over) = between(x - area.left, width, across);
            let at = |row: usize, column: usize| means[row * across + column];
            let (above, below) =
                (mix(at(upper, left), at(upper, right), over), mix(at(lower, left), at(lower, right), over));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between means of bytes")]
            {
                plane[y * columns + x] = mix(above, below, down).round() as u8;
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums of a few thousand bytes")]
fn mean(plane: &[u8], columns: usize, area: Area) -> f32 {
    let rows = (area.top..area.bottom).map(|row| &plane[row * columns..][area.left..area.right]);
    let sum: u64 = rows.flatten().map(|value| u64::from(*value)).sum();
    sum as f32 / (area.width() * area.height()).max(1) as f32
}

fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// The cells on both sides of a pixel, and how far it lies from the first one's centre to the second's.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few cells")]
fn between(pixel: usize, length: usize, cells: usize) -> (usize, usize, f32) {
    let at = ((pixel as f32 + 0.5) / length as f32 * cells as f32 - 0.5).clamp(0.0, (cells - 1) as f32);
    let first = at as usize;
    (first, (first + 1).min(cells - 1), at - first as f32)
}
