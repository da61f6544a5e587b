//! The captions' font, built into the program (`assets/caption-font`): widths of texts, and their pixels.

use std::sync::LazyLock;

use ab_glyph::{Font as _, FontRef, GlyphId, PxScale, ScaleFont as _, point};

use super::canvas::Canvas;

const FILE: &[u8] = include_bytes!("../../assets/caption-font/NotoSansCJKsc-Regular-GB2312.otf");
static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(FILE).expect("the built-in font is a font"));

/// Stands for a character that the font lacks.
const WITHOUT: char = '□';
/// Of the height of a line, in ems.
pub const LINE: f32 = 1.3;
/// From a line's top to its base, in ems.
const BASE: f32 = 1.0;

/// The characters of `text` that the font lacks; they are shown as boxes.
#[must_use]
pub fn without_glyph(text: &str) -> Vec<char> {
    text.chars().filter(|character| FONT.glyph_id(*character) == GlyphId(0)).collect()
}

/// Pixels from the beginning of `text` to its end, at `em` pixels an em.
#[must_use]
pub fn width(text: &str, em: f32) -> f32 {
    let font = FONT.as_scaled(scale(em));
    glyphs(text).map(|id| font.h_advance(id)).sum()
}

/// Writes one line in white; `top` is the line's.
pub fn write(canvas: &mut Canvas, text: &str, em: f32, left: usize, top: usize) {
    let font = FONT.as_scaled(scale(em));
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let (mut x, base) = (left as f32, (top as f32 + em * BASE).round());
    for id in glyphs(text) {
        let glyph = id.with_scale_and_position(font.scale(), point(x, base));
        x += font.h_advance(id);
        let Some(outline) = FONT.outline_glyph(glyph) else { continue };
        let bounds = outline.px_bounds();
        outline.draw(|column, row, share| {
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "pixels")]
            let (x, y) = ((bounds.min.x + column as f32) as i64, (bounds.min.y + row as f32) as i64);
            if let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) {
                canvas.lighten(x, y, share);
            }
        });
    }
}

fn glyphs(text: &str) -> impl Iterator<Item = GlyphId> {
    text.chars().map(|character| match FONT.glyph_id(character) {
        GlyphId(0) => FONT.glyph_id(WITHOUT),
        id => id,
    })
}

/// A font's scale counts from its lowest to its highest point.
fn scale(em: f32) -> PxScale {
    let units = FONT.units_per_em().unwrap_or(1000.0);
    PxScale::from(em * FONT.height_unscaled() / units)
}
