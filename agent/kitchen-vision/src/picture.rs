//! Frames as JPEG: the small one with boxes that goes with an alert, and the clean original.
//! Encodes from the planes; never goes through RGB.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};
use jpeg_encoder::{Encoder, EncodingError, ImageBuffer, JpegColorType, SamplingFactor};
use kitchen_core::detection::{Detection, Label};

use crate::frame::{Frame, Plane};

/// What a picture of an alert may weigh.
pub const ALERT_BYTES: usize = 40_000;
const CLEAN_QUALITY: u8 = 90;
/// Wider pictures are scaled down first.
const ALERT_WIDTH: u32 = 1280;
const QUALITIES: [u8; 5] = [80, 70, 60, 50, 40];

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
}

/// The picture with a box around each detection, in at most `max_bytes`: quality goes down first, then size.
/// The smallest try is returned when even that is larger.
///
/// # Errors
/// [`PictureError`].
pub fn annotate(frame: &Frame, detections: &[Detection], max_bytes: usize) -> Result<Jpeg, PictureError> {
    let mut width = frame.width.min(ALERT_WIDTH);
    loop {
        let canvas = Canvas::new(frame, width, detections)?;
        for quality in QUALITIES {
            let jpeg = canvas.encode(quality)?;
            let is_last = quality == QUALITIES[QUALITIES.len() - 1] && width <= 160;
            if jpeg.bytes.len() <= max_bytes || is_last {
                return Ok(jpeg);
            }
        }
        width = (width * 3 / 4).max(160);
    }
}

/// The original at quality 90.
///
/// # Errors
/// [`PictureError`].
pub fn clean(frame: &Frame) -> Result<Jpeg, PictureError> {
    Canvas::new(frame, frame.width, &[])?.encode(CLEAN_QUALITY)
}

/// A copy of a frame to draw on.
struct Canvas {
    width: u32,
    height: u32,
    full_range: bool,
    planes: [Vec<u8>; 3],
}

impl Canvas {
    fn new(frame: &Frame, width: u32, detections: &[Detection]) -> Result<Self, PictureError> {
        let mut canvas = Self::scaled(frame, width)?;
        for detection in detections {
            canvas.draw(detection);
        }
        Ok(canvas)
    }

    fn scaled(frame: &Frame, width: u32) -> Result<Self, PictureError> {
        let planes = [frame.y(), frame.u(), frame.v()];
        let full_range = frame.full_range;
        if width >= frame.width {
            return Ok(Self {
                width: frame.width,
                height: frame.height,
                full_range,
                planes: planes.map(<[u8]>::to_vec),
            });
        }
        let height = (frame.height * width / frame.width).max(1);
        let chroma = frame.chroma_size();
        let sizes = [(frame.width as usize, frame.height as usize), chroma, chroma];
        let targets =
            [(width, height), (width.div_ceil(2), height.div_ceil(2)), (width.div_ceil(2), height.div_ceil(2))];
        let mut resizer = Resizer::new();
        let mut scaled: [Vec<u8>; 3] = Default::default();
        for (((plane, (columns, rows)), target), result) in planes.into_iter().zip(sizes).zip(targets).zip(&mut scaled)
        {
            *result = resize(&mut resizer, Plane { data: plane, stride: columns }, rows, target)
                .map_err(|reason| PictureError::Scale { width, height, reason })?;
        }
        Ok(Self { width, height, full_range, planes: scaled })
    }

    fn draw(&mut self, detection: &Detection) {
        let rect = detection.rect.clamped();
        let line = if self.width >= 960 { 4 } else { 2 };
        let colour = self.in_range(colour(detection.label));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "0..1 of a side"
        )]
        let pixel = |fraction: f32, side: u32| ((fraction * side as f32).round() as usize).min(side as usize);
        let (left, top) = (pixel(rect.x, self.width), pixel(rect.y, self.height));
        let (right, bottom) = (pixel(rect.x + rect.w, self.width), pixel(rect.y + rect.h, self.height));
        // Even edges, so that luma and chroma of a line cover the same pixels.
        let (left, top) = (left & !1, top & !1);
        self.fill(left, top, right, top + line, colour);
        self.fill(left, bottom.saturating_sub(line).max(top) & !1, right, bottom, colour);
        self.fill(left, top, left + line, bottom, colour);
        self.fill(right.saturating_sub(line).max(left) & !1, top, right, bottom, colour);
    }

    fn fill(&mut self, left: usize, top: usize, right: usize, bottom: usize, colour: [u8; 3]) {
        let (width, height) = (self.width as usize, self.height as usize);
        for ((plane, value), step) in self.planes.iter_mut().zip(colour).zip([1, 2, 2]) {
            let (columns, rows) = (width.div_ceil(step), height.div_ceil(step));
            let (from, to) = (left / step, right.div_ceil(step).min(columns));
            for row in top / step..bottom.div_ceil(step).min(rows) {
                if from < to {
                    plane[row * columns + from..row * columns + to].fill(value);
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

    fn encode(&self, quality: u8) -> Result<Jpeg, PictureError> {
        let (width, height) = (self.width, self.height);
        let mut bytes = Vec::with_capacity(64 * 1024);
        let mut encoder = Encoder::new(&mut bytes, quality);
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        encoder
            .encode_image(Source {
                canvas: self,
                luma: stretch(self.full_range, 219),
                chroma: stretch(self.full_range, 224),
            })
            .map_err(|source| PictureError::Encode { width, height, source })?;
        Ok(Jpeg { bytes, width, height })
    }
}

fn resize(resizer: &mut Resizer, plane: Plane<'_>, rows: usize, target: (u32, u32)) -> Result<Vec<u8>, String> {
    let side = |length: usize| u32::try_from(length).unwrap_or(0);
    let source = ImageRef::new(side(plane.stride), side(rows), plane.data, PixelType::U8).map_err(|e| e.to_string())?;
    let mut scaled = Image::new(target.0, target.1, PixelType::U8);
    resizer.resize(&source, &mut scaled, None).map_err(|error| error.to_string())?;
    Ok(scaled.into_vec())
}

/// JPEG is full range: maps 16..=16+`span` to 0..=255, and chroma around 128.
fn stretch(full_range: bool, span: i32) -> [u8; 256] {
    std::array::from_fn(|value| {
        let value = i32::try_from(value).unwrap_or(0);
        let stretched = match (full_range, span) {
            (true, _) => value,
            (false, 219) => ((value - 16) * 255 + 109).div_euclid(219),
            (false, _) => ((value - 128) * 255 + 112).div_euclid(224) + 128,
        };
        u8::try_from(stretched.clamp(0, 255)).unwrap_or(255)
    })
}

struct Source<'a> {
    canvas: &'a Canvas,
    luma: [u8; 256],
    chroma: [u8; 256],
}

impl ImageBuffer for Source<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        u16::try_from(self.canvas.width).unwrap_or(0)
    }

    fn height(&self) -> u16 {
        u16::try_from(self.canvas.height).unwrap_or(0)
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let (y, width) = (usize::from(y), self.canvas.width as usize);
        let columns = width.div_ceil(2);
        let [luma, u, v] = &self.canvas.planes;
        buffers[0].extend(luma[y * width..(y + 1) * width].iter().map(|value| self.luma[usize::from(*value)]));
        for (buffer, plane) in buffers[1..].iter_mut().zip([u, v]) {
            let row = &plane[y / 2 * columns..(y / 2 + 1) * columns];
            let doubled = row.iter().flat_map(|value| [self.chroma[usize::from(*value)]; 2]);
            buffer.extend(doubled.take(width));
        }
    }
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
mod tests {
    use image::GenericImageView as _;
    use kitchen_core::detection::Rect;

    use super::*;
    use crate::frame::tests::painted;

    fn decoded(jpeg: &Jpeg) -> image::DynamicImage {
        let image = image::load_from_memory_with_format(&jpeg.bytes, image::ImageFormat::Jpeg).expect("a JPEG");
        assert_eq!(image.dimensions(), (jpeg.width, jpeg.height));
        image
    }

    #[test]
    fn limited_range_becomes_full_range() {
        let image = decoded(&clean(&painted(64, 48, |x, _| if x < 32 { 16 } else { 235 })).expect("encodes"));
        assert!(image.get_pixel(4, 4).0[0] < 4 && image.get_pixel(60, 4).0[0] > 251);
        let full = Frame { full_range: true, ..painted(64, 48, |_, _| 16) };
        let grey = decoded(&clean(&full).expect("encodes")).get_pixel(9, 9).0[1];
        assert!((13..=19).contains(&grey), "{grey}");
    }

    #[test]
    fn the_box_lies_where_the_detection_is() {
        let detection = Detection { label: Label::Rat, score: 0.9, rect: Rect::new(0.25, 0.25, 0.5, 0.5) };
        let frame = painted(640, 360, |_, _| 120);
        let image = decoded(&annotate(&frame, &[detection], ALERT_BYTES).expect("encodes"));
        let is_red = |x, y| image.get_pixel(x, y).0[0] > 180 && image.get_pixel(x, y).0[2] < 90;
        assert!(is_red(160, 180) && is_red(320, 90) && is_red(479, 200) && is_red(300, 269));
        assert!(!is_red(320, 180) && !is_red(100, 180) && !is_red(170, 100));
    }

    #[test]
    fn boxes_at_any_edge_and_odd_sizes_are_drawn() {
        for (width, height) in [(641, 361), (33, 17), (1, 1)] {
            for rect in [Rect::new(-0.5, 0.9, 2.0, 0.5), Rect::new(1.0, 1.0, 0.0, 0.0), Rect::new(0.0, 0.0, 1.0, 1.0)] {
                let detection = Detection { label: Label::Person, score: 0.5, rect };
                let frame = painted(width, height, |x, y| u8::try_from((x * y) % 251).expect("small"));
                decoded(&annotate(&frame, &[detection], ALERT_BYTES).expect("encodes"));
            }
        }
    }

    #[test]
    fn the_worst_picture_fits() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..1920 * 1080).map(|_| random.u8(..)).collect();
        let frame = painted(1920, 1080, |x, y| noise[(y * 1920 + x) as usize]);
        let jpeg = annotate(&frame, &[], ALERT_BYTES).expect("encodes");
        assert!(jpeg.bytes.len() <= ALERT_BYTES && jpeg.width >= 160, "{} {}", jpeg.bytes.len(), jpeg.width);
    }
}
