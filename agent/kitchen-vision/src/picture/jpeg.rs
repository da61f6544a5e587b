//! A canvas as JPEG: with a given quality, or with the best one that a limit of bytes allows.

use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor};

use super::canvas::Canvas;
use super::{Jpeg, PictureError};

/// Below it text and small things fall apart: rather a smaller picture.
const LEAST: u8 = 35;
/// More bytes than this quality takes buy nothing that can be seen.
const MOST: u8 = 88;
/// Encodes tried at most; one takes 2 to 8 ms.
const TRIES: usize = 4;
/// A picture that fills so much of the limit is good enough.
const FULL: f64 = 0.92;
/// By how much the logarithm of the size grows with each step of quality, about, until two sizes are known.
const GROWTH: f64 = 0.03;

/// The best picture of at most `max_bytes`; how many bytes the least quality takes where that is more.
///
/// # Errors
/// [`PictureError::Encode`].
pub fn fitted(canvas: &Canvas, max_bytes: usize) -> Result<Result<Jpeg, usize>, PictureError> {
    let (mut low, mut high) = (LEAST, MOST);
    let (mut best, mut quality) = (None, 75);
    let mut before: Option<(f64, f64)> = None;
    for _ in 0..TRIES {
        let jpeg = encode(canvas, quality)?;
        let filled = jpeg.bytes.len() as f64 / max_bytes.max(1) as f64;
        if filled <= 1.0 {
            low = quality + 1;
            best = Some(jpeg);
        } else if quality == LEAST {
            return Ok(Err(jpeg.bytes.len()));
        } else {
            high = quality - 1;
        }
        if low > high || (FULL..=1.0).contains(&filled) {
            break;
        }
        let here = (f64::from(quality), filled.ln());
        let growth = before.map_or(GROWTH, |before| (here.1 - before.1) / (here.0 - before.0));
        before = Some(here);
        let step = (((FULL + 1.0) / 2.0).ln() - here.1) / growth.max(GROWTH / 3.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        {
            quality = (f64::from(quality) + step).round().clamp(f64::from(low), f64::from(high)) as u8;
        }
    }
    if let Some(best) = best {
        return Ok(Ok(best));
    }
    let least = encode(canvas, LEAST)?;
    Ok(if least.bytes.len() <= max_bytes { Ok(least) } else { Err(least.bytes.len()) })
}

/// # Errors
/// [`PictureError::Encode`].
pub fn encode(canvas: &Canvas, quality: u8) -> Result<Jpeg, PictureError> {
    let (width, height) = (canvas.width, canvas.height);
    let mut bytes = Vec::with_capacity(64 * 1024);
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    let (luma, chroma) = (stretch(canvas.full_range, 219), stretch(canvas.full_range, 224));
    encoder.encode_image(Source { canvas, luma, chroma }).map_err(|source| PictureError::Encode {
        width,
        height,
        source,
    })?;
    Ok(Jpeg { bytes, width, height })
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
