//! A picture as the network's input: scaled with its aspect kept, at the top left of a padded field.
//! Scales the Y, U and V planes straight to the target and converts once; never makes RGB of full size.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::engine::EngineError;
use super::manifest::{Colour, Input};
use crate::frame::Frame;

/// Pixels of the network's input that the picture covers, from the top left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub width: u32,
    pub height: u32,
}

/// Reused buffers for one network's input.
pub struct Letterbox {
    input: Input,
    resizer: Resizer,
    options: ResizeOptions,
    planes: [Vec<u8>; 3],
    placement: Option<Placement>,
    /// CHW.
    values: Vec<f32>,
}

impl Letterbox {
    #[must_use]
    pub fn new(input: Input) -> Self {
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
        let values = vec![0.0; input.width as usize * input.height as usize * 3];
        let planes = Default::default();
        Self { input, resizer: Resizer::new(), options, planes, placement: None, values }
    }

    /// The input of the last picture, CHW.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Fills the input with a frame.
    ///
    /// # Errors
    /// [`EngineError::Letterbox`].
    pub fn fill(&mut self, frame: &Frame) -> Result<Placement, EngineError> {
        let placement = self.place(frame.width, frame.height);
        let chroma = (frame.width.div_ceil(2), frame.height.div_ceil(2));
        self.resize(0, frame.y(), (frame.width, frame.height), placement, PixelType::U8)?;
        self.resize(1, frame.u(), chroma, placement, PixelType::U8)?;
        self.resize(2, frame.v(), chroma, placement, PixelType::U8)?;
        let matrix = Matrix::bt601(frame.full_range);
        let (width, stride) = (placement.width as usize, self.input.width as usize);
        let plane_len = stride * self.input.height as usize;
        let ((mean, scale), order) = (self.normalisation(), self.order());
        let (first, rest) = self.values.split_at_mut(plane_len);
        let (second, third) = rest.split_at_mut(plane_len);
        let [y, u, v] = &self.planes;
        for row in 0..placement.height as usize {
            let source = row * width..(row + 1) * width;
            let (y, u, v) = (&y[source.clone()], &u[source.clone()], &v[source]);
            let target = row * stride..row * stride + width;
            let channels = [&mut first[target.clone()], &mut second[target.clone()], &mut third[target]];
            for (channel, values) in channels.into_iter().enumerate() {
                let [from_u, from_v] = matrix.chroma[order[channel]];
                for (((value, y), u), v) in values.iter_mut().zip(y).zip(u).zip(v) {
                    let luma = (f32::from(*y) - matrix.offset) * matrix.gain;
                    let pixel = luma + from_u * (f32::from(*u) - 128.0) + from_v * (f32::from(*v) - 128.0);
                    *value = (pixel.clamp(0.0, 255.0) - mean[channel]) * scale[channel];
                }
            }
        }
        Ok(placement)
    }

    /// Fills the input with a still image. One of the network's own size is taken as it is.
    ///
    /// # Errors
    /// [`EngineError::Letterbox`].
    pub fn fill_rgb(&mut self, image: &image::RgbImage) -> Result<Placement, EngineError> {
        let size = image.dimensions();
        let placement = self.place(size.0, size.1);
        self.resize(0, image.as_raw(), size, placement, PixelType::U8x3)?;
        let (width, stride) = (placement.width as usize, self.input.width as usize);
        let plane_len = stride * self.input.height as usize;
        let ((mean, scale), order) = (self.normalisation(), self.order());
        for (channel, values) in self.values.chunks_exact_mut(plane_len).enumerate() {
            for (row, pixels) in values.chunks_exact_mut(stride).zip(self.planes[0].chunks_exact(width * 3)) {
                for (value, pixel) in row.iter_mut().zip(pixels.chunks_exact(3)) {
                    *value = (f32::from(pixel[order[channel]]) - mean[channel]) * scale[channel];
                }
            }
        }
        Ok(placement)
    }

    /// Pads anew only when the picture's size changed.
    fn place(&mut self, width: u32, height: u32) -> Placement {
        let placement = placement(&self.input, width, height);
        if self.placement != Some(placement) {
            let (mean, scale) = self.normalisation();
            let plane_len = self.input.width as usize * self.input.height as usize;
            for (channel, values) in self.values.chunks_exact_mut(plane_len).enumerate() {
                values.fill((f32::from(self.input.padding) - mean[channel]) * scale[channel]);
            }
            self.placement = Some(placement);
        }
        placement
    }

    fn resize(
        &mut self,
        plane: usize,
        data: &[u8],
        size: (u32, u32),
        to: Placement,
        pixel: PixelType,
    ) -> Result<(), EngineError> {
        let target = &mut self.planes[plane];
        if size == (to.width, to.height) {
            target.clear();
            target.extend_from_slice(data);
            return Ok(());
        }
        target.resize(to.width as usize * to.height as usize * pixel.size(), 0);
        let failed = |reason: String| EngineError::Letterbox { reason };
        let source = ImageRef::new(size.0, size.1, data, pixel).map_err(|error| failed(error.to_string()))?;
        let mut scaled =
            Image::from_slice_u8(to.width, to.height, target, pixel).map_err(|error| failed(error.to_string()))?;
        self.resizer.resize(&source, &mut scaled, &self.options).map_err(|error| failed(error.to_string()))
    }

    fn normalisation(&self) -> ([f32; 3], [f32; 3]) {
        (self.input.mean, self.input.scale)
    }

    /// Which of red, green and blue each channel of the input holds.
    fn order(&self) -> [usize; 3] {
        match self.input.colour {
            Colour::Rgb => [0, 1, 2],
            Colour::Bgr => [2, 1, 0],
        }
    }
}

/// The largest size with the picture's aspect that fits.
fn placement(input: &Input, width: u32, height: u32) -> Placement {
    let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (most_wide, most_high) = (u64::from(input.width), u64::from(input.height));
    // The narrower of the two ratios, compared without division.
    let (fit_width, fit_height) = if most_wide * height <= most_high * width {
        (most_wide, (height * most_wide / width).max(1))
    } else {
        ((width * most_high / height).max(1), most_high)
    };
    let side = |length: u64| u32::try_from(length).unwrap_or(1);
    Placement { width: side(fit_width), height: side(fit_height) }
}

/// YCbCr to RGB.
struct Matrix {
    offset: f32,
    gain: f32,
    /// What U and V add to red, green and blue.
    chroma: [[f32; 2]; 3],
}

impl Matrix {
    fn bt601(full_range: bool) -> Self {
        let (offset, gain, chroma_gain) =
            if full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        let chroma = [[0.0, 1.402], [-0.344_136, -0.714_136], [1.772, 0.0]];
        Self { offset, gain, chroma: chroma.map(|row: [f32; 2]| row.map(|factor| factor * chroma_gain)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{Manifest, tests::EXAMPLE};
    use super::*;
    use crate::frame::Plane;
    use crate::frame::tests::painted;

    fn input() -> Input {
        Manifest::parse(EXAMPLE).expect("valid").input
    }

    #[test]
    fn the_picture_lies_at_the_top_left_with_its_aspect() {
        let input = input();
        for (size, expected) in [
            ((640, 360), (416, 234)),
            ((640, 480), (341, 256)),
            ((352, 288), (312, 256)),
            ((416, 256), (416, 256)),
            ((5000, 1), (416, 1)),
        ] {
            let Placement { width, height } = placement(&input, size.0, size.1);
            assert_eq!((width, height), expected, "{size:?}");
        }
        let mut letterbox = Letterbox::new(input);
        letterbox.fill(&painted(640, 360, |_, _| 235)).expect("fits");
        let at = |channel: usize, x: usize, y: usize| letterbox.values()[channel * 416 * 256 + y * 416 + x];
        for channel in 0..3 {
            assert!((at(channel, 0, 0) - 255.0).abs() < 0.5 && (at(channel, 415, 233) - 255.0).abs() < 0.5);
            assert!((at(channel, 0, 234) - 114.0).abs() < 0.01 && (at(channel, 415, 255) - 114.0).abs() < 0.01);
        }
    }

    #[test]
    fn a_frame_and_its_rgb_give_the_same_input() {
        let luma: Vec<u8> = (0..416 * 256).map(|n| u8::try_from(40 + n % 416 / 4).expect("small")).collect();
        let (u, v) = (vec![90; 208 * 128], vec![170; 208 * 128]);
        let plane = |data, stride| Plane { data, stride };
        let frame = Frame::from_planes(416, 256, [plane(&luma, 416), plane(&u, 208), plane(&v, 208)]).expect("fits");
        for colour in [Colour::Bgr, Colour::Rgb] {
            for full_range in [false, true] {
                let frame = Frame { full_range, ..frame.clone() };
                let input = Input { colour, mean: [1.0, 2.0, 3.0], scale: [0.5, 1.0, 2.0], ..input() };
                let (mut first, mut second) = (Letterbox::new(input.clone()), Letterbox::new(input));
                first.fill(&frame).expect("fits");
                second.fill_rgb(&frame.to_rgb()).expect("fits");
                let differences = first.values().iter().zip(second.values()).map(|(a, b)| (a - b).abs());
                let greatest = differences.fold(0.0, f32::max);
                assert!(greatest < 4.0, "{colour:?} {full_range}: {greatest}");
            }
        }
    }
}
