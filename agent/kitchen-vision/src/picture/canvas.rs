//! A copy of a frame's planes to draw on. Edges of what is drawn are even, so that luma and chroma of it cover the
//! same pixels.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeOptions, Resizer};
use kitchen_core::detection::{Detection, Rect};

use super::{PictureError, colour};
use crate::frame::Frame;

/// Full range YCbCr.
pub const WHITE: [u8; 3] = [255, 128, 128];
/// Share of light that a dimmed place keeps, of 256.
const DIMMED: i32 = 70;

pub struct Canvas {
    pub width: u32,
    pub height: u32,
    pub full_range: bool,
    pub planes: [Vec<u8>; 3],
}

/// Pixels from `left` and `top` up to before `right` and `bottom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Area {
    /// The part of `rect` (fractions) inside of a picture of this size.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0..1 of a side"
    )]
    #[must_use]
    pub fn of(rect: Rect, (width, height): (u32, u32)) -> Self {
        let rect = rect.clamped();
        let pixel = |fraction: f32, side: u32| ((fraction * side as f32).round() as usize).min(side as usize);
        Self {
            left: pixel(rect.x, width),
            top: pixel(rect.y, height),
            right: pixel(rect.x + rect.w, width),
            bottom: pixel(rect.y + rect.h, height),
        }
    }

    #[must_use]
    pub fn width(&self) -> usize {
        self.right.saturating_sub(self.left)
    }

    #[must_use]
    pub fn height(&self) -> usize {
        self.bottom.saturating_sub(self.top)
    }

    /// Pixels shared with `other`.
    #[must_use]
    pub fn shared(&self, other: &Self) -> usize {
        let across = self.right.min(other.right).saturating_sub(self.left.max(other.left));
        across * self.bottom.min(other.bottom).saturating_sub(self.top.max(other.top))
    }

    /// The same in a plane with one value for `step`×`step` pixels.
    #[must_use]
    pub fn in_plane(&self, step: usize) -> Self {
        Self {
            left: self.left / step,
            top: self.top / step,
            right: self.right.div_ceil(step),
            bottom: self.bottom.div_ceil(step),
        }
    }
}

impl Canvas {
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        let planes = [frame.y(), frame.u(), frame.v()].map(<[u8]>::to_vec);
        Self { width: frame.width, height: frame.height, full_range: frame.full_range, planes }
    }

    /// # Errors
    /// [`PictureError::Scale`].
    pub fn scaled(&self, size: (u32, u32)) -> Result<Self, PictureError> {
        if size == (self.width, self.height) {
            return Ok(Self { planes: self.planes.clone(), ..*self });
        }
        let whole = Area { left: 0, top: 0, right: self.width as usize, bottom: self.height as usize };
        self.cut(whole, size)
    }

    /// A part of the picture, scaled to `size`.
    ///
    /// # Errors
    /// [`PictureError::Scale`].
    pub fn cut(&self, area: Area, (width, height): (u32, u32)) -> Result<Self, PictureError> {
        let error = |reason: String| PictureError::Scale { width, height, reason };
        let mut resizer = Resizer::new();
        let mut planes: [Vec<u8>; 3] = Default::default();
        for ((plane, target), step) in self.planes.iter().zip(&mut planes).zip([1, 2, 2]) {
            let step_side = u32::try_from(step).unwrap_or(1);
            let (columns, rows) = (self.width.div_ceil(step_side), self.height.div_ceil(step_side));
            let source = ImageRef::new(columns, rows, plane, PixelType::U8).map_err(|e| error(e.to_string()))?;
            let mut scaled = Image::new(width.div_ceil(step_side), height.div_ceil(step_side), PixelType::U8);
            let part = area.in_plane(step);
            let part = part.within(columns as usize, rows as usize);
            #[expect(clippy::cast_precision_loss, reason = "sides of a few thousand pixels")]
            let crop =
                ResizeOptions::new().crop(part.left as f64, part.top as f64, part.width() as f64, part.height() as f64);
            resizer.resize(&source, &mut scaled, Some(&crop)).map_err(|e| error(e.to_string()))?;
            *target = scaled.into_vec();
        }
        Ok(Self { width, height, full_range: self.full_range, planes })
    }

    /// Columns and rows of a plane.
    #[must_use]
    pub fn plane_size(&self, step: usize) -> (usize, usize) {
        ((self.width as usize).div_ceil(step), (self.height as usize).div_ceil(step))
    }

    pub fn outline_detection(&mut self, detection: &Detection) {
        let line = if self.width.max(self.height) >= 960 { 4 } else { 2 };
        let mut area = Area::of(detection.rect, (self.width, self.height));
        // The lines of a small box would cover what is in it: they go around it.
        if area.width().min(area.height()) < 8 * line {
            let (right, bottom) = (self.width as usize, self.height as usize);
            area.left = area.left.saturating_sub(2 * line);
            area.top = area.top.saturating_sub(2 * line);
            area.right = (area.right + 2 * line).min(right);
            area.bottom = (area.bottom + 2 * line).min(bottom);
        }
        self.outline(area, line, colour(detection.label));
    }

    /// A frame of `line` pixels inside of `area`.
    pub fn outline(&mut self, area: Area, line: usize, colour: [u8; 3]) {
        let Area { right, bottom, .. } = area;
        let (left, top) = (area.left & !1, area.top & !1);
        self.fill(Area { left, top, right, bottom: (top + line).min(bottom) }, colour);
        self.fill(Area { left, top: bottom.saturating_sub(line).max(top) & !1, right, bottom }, colour);
        self.fill(Area { left, top, right: (left + line).min(right), bottom }, colour);
        self.fill(Area { left: right.saturating_sub(line).max(left) & !1, top, right, bottom }, colour);
    }

    /// `colour` in full range YCbCr.
    pub fn fill(&mut self, area: Area, colour: [u8; 3]) {
        let colour = self.in_range(colour);
        self.change(area, |_, plane| colour[plane]);
    }

    /// Darkens what lies there, so that white text stands out and the scene can still be seen.
    pub fn dim(&mut self, area: Area) {
        let black = if self.full_range { 0 } else { 16 };
        self.change(area, |value, plane| {
            let zero = if plane == 0 { black } else { 128 };
            let dimmed = (i32::from(value) - zero) * DIMMED / 256 + zero;
            u8::try_from(dimmed.clamp(0, 255)).unwrap_or(0)
        });
    }

    /// Lays `other` over this picture with its corner at `left`, `top` (both even).
    pub fn put(&mut self, other: &Self, left: usize, top: usize) {
        for (plane, step) in [1, 2, 2].into_iter().enumerate() {
            let (columns, rows) = self.plane_size(step);
            let (width, height) = other.plane_size(step);
            let (left, top) = (left / step, top / step);
            let width = width.min(columns.saturating_sub(left));
            for row in 0..height.min(rows.saturating_sub(top)) {
                let from = &other.planes[plane][row * other.plane_size(step).0..][..width];
                self.planes[plane][(top + row) * columns + left..][..width].copy_from_slice(from);
            }
        }
    }

    /// Mixes white into one pixel; `share` 0..1.
    pub fn lighten(&mut self, x: usize, y: usize, share: f32) {
        let white = self.in_range(WHITE);
        for ((plane, white), step) in [0, 1, 2].into_iter().zip(white).zip([1, 2, 2]) {
            let (columns, rows) = self.plane_size(step);
            let (column, row) = (x / step, y / step);
            if column < columns && row < rows {
                // Four pixels share one value of colour.
                let share = if step == 1 { share } else { share / 2.0 };
                let value = &mut self.planes[plane][row * columns + column];
                let mixed = f32::from(*value) + (f32::from(white) - f32::from(*value)) * share.clamp(0.0, 1.0);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
                {
                    *value = mixed.round() as u8;
                }
            }
        }
    }

    fn change(&mut self, area: Area, change: impl Fn(u8, usize) -> u8) {
        for (plane, step) in [1, 2, 2].into_iter().enumerate() {
            let (columns, rows) = self.plane_size(step);
            let part = area.in_plane(step).within(columns, rows);
            for row in part.top..part.bottom {
                for value in &mut self.planes[plane][row * columns..][part.left..part.right] {
                    *value = change(*value, plane);
                }
            }
        }
    }

    /// Full range YCbCr as the frame's own.
    fn in_range(&self, [y, u, v]: [u8; 3]) -> [u8; 3] {
        if self.full_range {
            return [y, u, v];
        }
        let squeeze =
            |value: u8, to: u16, offset: u16| u8::try_from(u16::from(value) * to / 255 + offset).unwrap_or(255);
        [squeeze(y, 219, 16), squeeze(u, 224, 16), squeeze(v, 224, 16)]
    }
}

impl Area {
    /// The part inside of a plane; empty where there is none.
    #[must_use]
    pub fn within(&self, columns: usize, rows: usize) -> Self {
        let (right, bottom) = (self.right.min(columns), self.bottom.min(rows));
        Self { left: self.left.min(right), top: self.top.min(bottom), right, bottom }
    }
}
