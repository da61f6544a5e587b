//! What is small in the picture, enlarged into a corner of it, from the pixels that the camera sent.

use kitchen_core::detection::{Detection, Rect};

use super::canvas::{Area, Canvas, WHITE};
use super::{PictureError, colour, font};

/// A subject whose longer side is a smaller share of the picture's shorter one is enlarged.
const SMALL: f32 = 0.25;
/// How much around the subject is shown, as a multiple of its longer side.
const AROUND: f32 = 2.2;
/// The least that is shown, as a share of the picture's shorter side: a box of few pixels says nothing by itself.
const LEAST: f32 = 0.11;
/// Sides of the inset that are tried, as shares of the picture's shorter side.
const SIDES: [f32; 2] = [0.42, 0.3];
/// An inset that enlarges by less shows nothing new.
const LEAST_FACTOR: f32 = 1.5;
/// Pictures smaller than this have no room for one.
const LEAST_PICTURE: u32 = 120;

/// An inset that has found its corner.
pub struct Inset {
    /// In the whole frame.
    from: Area,
    /// In the picture.
    pub to: Area,
    factor: f32,
    colour: [u8; 3],
}

/// Nothing where the subject is large enough, or no corner is free. Of free corners the one that hides fewest of
/// `others`: who else is there is a part of what happened.
#[must_use]
pub fn place(
    whole: &Canvas,
    size: (u32, u32),
    boxes: &[Detection],
    bar: Option<Area>,
    others: &[Rect],
) -> Option<Inset> {
    let subject = subject(boxes)?;
    let short = size.0.min(size.1);
    if short < LEAST_PICTURE {
        return None;
    }
    let shown = Area::of(subject.rect, size);
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let (longest, short) = (shown.width().max(shown.height()) as f32, short as f32);
    if longest > SMALL * short || longest == 0.0 {
        return None;
    }
    let around = (longest * AROUND).max(LEAST * short);
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let side = around * whole.width as f32 / size.0 as f32;
    let from = square(subject.rect.centre(), side, (whole.width, whole.height))?;
    let taken: Vec<Area> = boxes.iter().map(|one| Area::of(one.rect, size)).chain(bar).collect();
    SIDES.into_iter().find_map(|share| {
        let (side, factor) = (share * short, share * short / around);
        let is_free = |to: &Area| !taken.iter().any(|area| area.shared(to) > 0);
        let hides = |to: &Area| others.iter().filter(|rect| Area::of(**rect, size).shared(to) > 0).count();
        let free = corners(side, size, bar).into_iter().filter(is_free);
        let to = free.min_by_key(hides).filter(|_| factor >= LEAST_FACTOR)?;
        Some(Inset { from, to, factor, colour: colour(subject.label) })
    })
}

impl Inset {
    /// # Errors
    /// [`PictureError::Scale`].
    pub fn draw(&self, canvas: &mut Canvas, whole: &Canvas) -> Result<(), PictureError> {
        let side = u32::try_from(self.to.width()).unwrap_or(0);
        let mut enlarged = whole.cut(self.from, (side, side))?;
        let line = if canvas.width.max(canvas.height) >= 960 { 4 } else { 2 };
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let em = (side as f32 * 0.11).clamp(9.0, 24.0);
        let sign = format!("放大 {:.1}× zoom", self.factor);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
        let (width, tall) = (font::width(&sign, em).ceil() as usize + 2 * line + 4, (em * font::LINE).ceil() as usize);
        let side = side as usize;
        let strip = Area { left: 0, top: 0, right: side.min(width + 4), bottom: (tall + line).min(side) };
        enlarged.dim(strip);
        font::write(&mut enlarged, &sign, em, line + 4, line);
        let edge = Area { left: 0, top: 0, right: side, bottom: side };
        enlarged.outline(edge, line, self.colour);
        canvas.put(&enlarged, self.to.left, self.to.top);
        let around = Area {
            left: self.to.left.saturating_sub(2),
            top: self.to.top.saturating_sub(2),
            right: self.to.right + 2,
            bottom: self.to.bottom + 2,
        };
        canvas.outline(around, 2, WHITE);
        Ok(())
    }
}

/// What decided: of several, the one that shows it largest and surest.
fn subject(boxes: &[Detection]) -> Option<&Detection> {
    let decisive = boxes.first()?.label;
    let weight = |one: &Detection| one.score * one.rect.area();
    boxes.iter().filter(|one| one.label == decisive).max_by(|a, b| weight(a).total_cmp(&weight(b)))
}

/// A square of `side` pixels about `centre` (fractions), moved into the picture.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "pixels, clamped to the picture"
)]
fn square(centre: [f32; 2], side: f32, (width, height): (u32, u32)) -> Option<Area> {
    let side = (side.round() as u32).min(width).min(height) & !1;
    let first = |centre: f32, whole: u32| {
        let first = (centre * whole as f32 - side as f32 / 2.0).clamp(0.0, (whole - side) as f32);
        first as usize & !1
    };
    let (left, top) = (first(centre[0], width), first(centre[1], height));
    let side = side as usize;
    (side > 0).then_some(Area { left, top, right: left + side, bottom: top + side })
}

/// The four corners beside the caption. Cameras write their own time into the upper left: it comes last.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
fn corners(side: f32, (width, height): (u32, u32), bar: Option<Area>) -> Vec<Area> {
    let side = side as usize & !1;
    let (mut first, mut last) = (0, height as usize);
    match bar {
        Some(bar) if bar.top == 0 => first = bar.bottom,
        Some(bar) => last = bar.top,
        None => {}
    }
    let gap = (side / 16).max(4) & !1;
    let (low, right) = (last.saturating_sub(side + gap) & !1, (width as usize).saturating_sub(side + gap) & !1);
    let high = (first + gap + 1) & !1;
    if high + side + gap > last || side + 2 * gap > width as usize {
        return Vec::new();
    }
    let corner = |left: usize, top: usize| Area { left, top, right: left + side, bottom: top + side };
    vec![corner(right, high), corner(right, low), corner(gap, low), corner(gap, high)]
}
