//! Frames as JPEG: the small one that goes with an alert (bystanders blurred, boxes, caption, inset), one with boxes
//! only, and the clean original. Works on the planes; never goes through RGB.

mod blur;
mod canvas;
mod caption;
mod font;
mod inset;
mod jpeg;
pub mod quality;

use jpeg_encoder::EncodingError;
use kitchen_core::bystander::Bystanders;
use kitchen_core::detection::{Detection, Label, Rect};

use self::canvas::Canvas;
pub use self::font::without_glyph;
use crate::frame::Frame;

/// What a picture of an alert may weigh.
pub const ALERT_BYTES: usize = 40_000;
const CLEAN_QUALITY: u8 = 90;
const PLAIN_QUALITY: u8 = 80;
/// A picture with a longer side is scaled down first.
const LONGEST_SIDE: u32 = 1280;

/// A picture of `width`×`height` pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jpeg {
    pub bytes: Vec<u8>,
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("could not encode a picture of {width}×{height}: {source}")]
    Encode { width: u32, height: u32, source: EncodingError },
    #[error("could not scale a picture to {width}×{height}: {reason}")]
    Scale { width: u32, height: u32, reason: String },
    #[error("no picture of {width}×{height} has less than {max_bytes} bytes")]
    Limit { width: u32, height: u32, max_bytes: usize },
}

/// What the officer sees of a violation. All of it lies in the frame's own geometry.
pub struct AlertPicture<'a> {
    pub frame: &'a Frame,
    /// The first is the one that decided.
    pub boxes: &'a [Detection],
    pub bystanders: &'a Bystanders,
    /// Each stays on one line where there is room.
    pub caption: &'a [String],
}

impl AlertPicture<'_> {
    /// As JPEG of at most `max_bytes`: the best quality that fits, and a smaller picture where none does.
    ///
    /// # Errors
    /// [`PictureError`].
    pub fn encode(&self, max_bytes: usize) -> Result<Jpeg, PictureError> {
        let mut whole = Canvas::of(self.frame);
        blur::hide(&mut whole, self.bystanders);
        let mut size = within(LONGEST_SIDE, (whole.width, whole.height));
        loop {
            let picture = self.drawn(&whole, size)?;
            let excess = match jpeg::fitted(&picture, max_bytes)? {
                Ok(jpeg) => return Ok(jpeg),
                Err(bytes) => bytes as f64 / max_bytes.max(1) as f64,
            };
            let smaller = scaled_by((0.95 / excess.sqrt()).min(0.85), size);
            if smaller == size {
                return Err(PictureError::Limit { width: size.0, height: size.1, max_bytes });
            }
            size = smaller;
        }
    }

    fn drawn(&self, whole: &Canvas, size: (u32, u32)) -> Result<Canvas, PictureError> {
        let mut canvas = whole.scaled(size)?;
        let bar = caption::lay_out(self.caption, size, self.boxes);
        let others: Vec<Rect> = self.bystanders.hidden.iter().map(|hidden| hidden.face).collect();
        let inset = inset::place(whole, size, self.boxes, bar.as_ref().map(|bar| bar.area), &others);
        if let Some(bar) = &bar {
            canvas.dim(bar.area);
        }
        for detection in self.boxes {
            canvas.outline_detection(detection);
        }
        if let Some(inset) = inset {
            inset.draw(&mut canvas, whole)?;
        }
        if let Some(bar) = &bar {
            bar.draw(&mut canvas);
        }
        Ok(canvas)
    }
}

/// The picture with a box around each detection, for an engineer: nobody is blurred, and it weighs what it weighs.
///
/// # Errors
/// [`PictureError`].
pub fn annotate(frame: &Frame, detections: &[Detection]) -> Result<Jpeg, PictureError> {
    let mut canvas = Canvas::of(frame);
    for detection in detections {
        canvas.outline_detection(detection);
    }
    jpeg::encode(&canvas, PLAIN_QUALITY)
}

/// The original at quality 90.
///
/// # Errors
/// [`PictureError`].
pub fn clean(frame: &Frame) -> Result<Jpeg, PictureError> {
    jpeg::encode(&Canvas::of(frame), CLEAN_QUALITY)
}

/// `size`, or one in its proportions whose longer side is `longest`.
fn within(longest: u32, size: (u32, u32)) -> (u32, u32) {
    let side = size.0.max(size.1);
    if side <= longest { size } else { scaled_by(f64::from(longest) / f64::from(side), size) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "factors below 1")]
fn scaled_by(factor: f64, (width, height): (u32, u32)) -> (u32, u32) {
    let scaled = |side: u32| ((f64::from(side) * factor).round() as u32).max(1);
    (scaled(width), scaled(height))
}

/// Full range YCbCr: strong colours for what must not be there, calmer ones for people.
const fn colour(label: Label) -> [u8; 3] {
    match label {
        Label::Rat | Label::Fire | Label::Cigarette => [76, 85, 255],
        Label::Cat | Label::Dog => [173, 30, 186],
        Label::Phone => [105, 212, 234],
        Label::BinOpen | Label::Waste => [226, 1, 149],
        _ => [150, 44, 21],
    }
}

#[cfg(test)]
mod tests;
