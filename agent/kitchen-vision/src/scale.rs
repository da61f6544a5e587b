//! Frames of any size in, frames of one size out; plane by plane, never through RGB.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};

use crate::frame::{Frame, Plane};

#[derive(Debug, thiserror::Error)]
#[error("could not scale a picture to {width}×{height}: {reason}")]
pub struct ScaleError {
    width: u32,
    height: u32,
    reason: String,
}

/// Keeps its buffers from frame to frame.
pub struct Scaler {
    width: u32,
    height: u32,
    resizer: Resizer,
}

impl Scaler {
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, resizer: Resizer::new() }
    }

    /// The frame in the scaler's size; untouched where it has it.
    ///
    /// # Errors
    /// [`ScaleError`] for sizes without pixels.
    pub fn scale(&mut self, frame: Frame) -> Result<Frame, ScaleError> {
        let (width, height) = (self.width, self.height);
        if (frame.width, frame.height) == (width, height) {
            return Ok(frame);
        }
        let wrong = |reason: String| ScaleError { width, height, reason };
        let (columns, rows) = frame.chroma_size();
        let (luma_size, chroma_size) = ((width, height), (width.div_ceil(2), height.div_ceil(2)));
        let source = |size: (usize, usize)| (side(size.0), side(size.1));
        let chroma = source((columns, rows));
        let luma = self.plane(frame.y(), (frame.width, frame.height), luma_size).map_err(wrong)?;
        let [u, v] = [frame.u(), frame.v()].map(|plane| self.plane(plane, chroma, chroma_size));
        let (u, v) = (u.map_err(wrong)?, v.map_err(wrong)?);
        let plane = |data, stride: u32| Plane { data, stride: stride as usize };
        let planes = [plane(&luma, width), plane(&u, chroma_size.0), plane(&v, chroma_size.0)];
        let scaled = Frame::from_planes(width, height, planes).ok_or_else(|| wrong("no pixels".to_owned()))?;
        let Frame { full_range, pts_90k, captured, .. } = frame;
        Ok(Frame { full_range, pts_90k, captured, ..scaled })
    }

    fn plane(&mut self, data: &[u8], from: (u32, u32), to: (u32, u32)) -> Result<Vec<u8>, String> {
        let source = ImageRef::new(from.0, from.1, data, PixelType::U8).map_err(|error| error.to_string())?;
        let mut scaled = Image::new(to.0, to.1, PixelType::U8);
        self.resizer.resize(&source, &mut scaled, None).map_err(|error| error.to_string())?;
        Ok(scaled.into_vec())
    }
}

fn side(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use kitchen_core::time::Mono;

    use super::*;
    use crate::frame::tests::painted;

    #[test]
    fn a_scaled_frame_keeps_its_look_time_and_range() {
        let frame = painted(641, 359, |x, _| if x < 320 { 40 } else { 200 });
        let frame = Frame { full_range: true, pts_90k: 77, captured: Mono::from_millis(5), ..frame };
        let scaled = Scaler::new(320, 180).scale(frame.clone()).expect("scales");
        assert_eq!((scaled.width, scaled.height, scaled.y().len()), (320, 180, 320 * 180));
        assert_eq!((scaled.full_range, scaled.pts_90k, scaled.captured), (true, 77, Mono::from_millis(5)));
        assert_eq!((scaled.y()[100 * 320 + 50], scaled.y()[100 * 320 + 250]), (40, 200));
        assert!(scaled.u().iter().all(|value| *value == 128));
        assert!(Scaler::new(641, 359).scale(frame.clone()).expect("as it is").same_picture(&frame));
        assert!(Scaler::new(0, 0).scale(frame).is_err());
    }
}
