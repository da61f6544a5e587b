//! A picture as the network's input: scaled with its aspect kept, at the top left of a padded field.
//! Scales the Y, U and V planes straight to the target and converts once; never makes RGB of full size.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::engine::EngineError;
use super::manifest::{Colour, Fit, Input};
use crate::frame::Frame;

/// Pixels of the network's input that the picture covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// A part of a picture in its pixels; it may reach beyond the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Window {
    #[must_use]
    pub fn whole(frame: &Frame) -> Self {
        Self { left: 0.0, top: 0.0, width: f64::from(frame.width), height: f64::from(frame.height) }
    }

    /// The part inside a picture of this size; `None` where there is none.
    fn within(self, width: u32, height: u32) -> Option<Self> {
        let (left, top) = (self.left.max(0.0), self.top.max(0.0));
        let right = (self.left + self.width).min(f64::from(width));
        let bottom = (self.top + self.height).min(f64::from(height));
        let is_something = right - left >= 1.0 && bottom - top >= 1.0;
        is_something.then_some(Self { left, top, width: right - left, height: bottom - top })
    }

    fn halved(self) -> Self {
        let Self { left, top, width, height } = self;
        Self { left: left / 2.0, top: top / 2.0, width: width / 2.0, height: height / 2.0 }
    }
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
        self.fill_window(frame, Window::whole(frame))
    }

    /// Fills the input with a part of a frame; what lies outside of the frame is padding. The placement is that of the
    /// part inside.
    ///
    /// # Errors
    /// [`EngineError::Letterbox`], also for a window outside of the frame.
    pub fn fill_window(&mut self, frame: &Frame, window: Window) -> Result<Placement, EngineError> {
        let Some(inside) = window.within(frame.width, frame.height) else {
            return Err(EngineError::Letterbox { reason: format!("{window:?} lies outside of the picture") });
        };
        let placement = match self.input.fit {
            Fit::LetterboxTopLeft => placement(&self.input, pixels(inside.width), pixels(inside.height)),
            Fit::Stretch => stretched(&self.input, window, inside),
        };
        self.pad_around(placement);
        let chroma = (frame.width.div_ceil(2), frame.height.div_ceil(2));
        self.resize(0, frame.y(), (frame.width, frame.height), inside, placement, PixelType::U8)?;
        self.resize(1, frame.u(), chroma, inside.halved(), placement, PixelType::U8)?;
        self.resize(2, frame.v(), chroma, inside.halved(), placement, PixelType::U8)?;
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
            let start = (row + placement.top as usize) * stride + placement.left as usize;
            let target = start..start + width;
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
        let placement = match self.input.fit {
            Fit::LetterboxTopLeft => placement(&self.input, size.0, size.1),
            Fit::Stretch => Placement { left: 0, top: 0, width: self.input.width, height: self.input.height },
        };
        self.pad_around(placement);
        let whole = Window { left: 0.0, top: 0.0, width: f64::from(size.0), height: f64::from(size.1) };
        self.resize(0, image.as_raw(), size, whole, placement, PixelType::U8x3)?;
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

    /// Pads anew only when the placement changed.
    fn pad_around(&mut self, placement: Placement) {
        if self.placement != Some(placement) {
            let (mean, scale) = self.normalisation();
            let plane_len = self.input.width as usize * self.input.height as usize;
            for (channel, values) in self.values.chunks_exact_mut(plane_len).enumerate() {
                values.fill((f32::from(self.input.padding) - mean[channel]) * scale[channel]);
            }
            self.placement = Some(placement);
        }
    }

    fn resize(
        &mut self,
        plane: usize,
        data: &[u8],
        size: (u32, u32),
        from: Window,
        to: Placement,
        pixel: PixelType,
    ) -> Result<(), EngineError> {
        let target = &mut self.planes[plane];
        let is_whole = from == Window { left: 0.0, top: 0.0, width: f64::from(size.0), height: f64::from(size.1) };
        if is_whole && size == (to.width, to.height) {
            target.clear();
            target.extend_from_slice(data);
            return Ok(());
        }
        target.resize(to.width as usize * to.height as usize * pixel.size(), 0);
        let failed = |reason: String| EngineError::Letterbox { reason };
        let source = ImageRef::new(size.0, size.1, data, pixel).map_err(|error| failed(error.to_string()))?;
        let mut scaled =
            Image::from_slice_u8(to.width, to.height, target, pixel).map_err(|error| failed(error.to_string()))?;
        // Half of an odd side reaches half a pixel less far than the chroma plane does.
        let (width, height) =
            (from.width.min(f64::from(size.0) - from.left), from.height.min(f64::from(size.1) - from.top));
        let options = self.options.crop(from.left, from.top, width, height);
        self.resizer.resize(&source, &mut scaled, &options).map_err(|error| failed(error.to_string()))
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
    Placement { left: 0, top: 0, width: side(fit_width), height: side(fit_height) }
}

/// Where the part `inside` of the picture lies when all of `window` covers the input.
fn stretched(input: &Input, window: Window, inside: Window) -> Placement {
    let along = |start: f64, length: f64, origin: f64, whole: f64, side: u32| {
        let first = pixels((start - origin) / whole * f64::from(side)).min(side - 1);
        let last = pixels((start + length - origin) / whole * f64::from(side)).clamp(first + 1, side);
        (first, last - first)
    };
    let (left, width) = along(inside.left, inside.width, window.left, window.width, input.width);
    let (top, height) = along(inside.top, inside.height, window.top, window.height, input.height);
    Placement { left, top, width, height }
}

/// To the nearest whole pixel.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides of pictures")]
fn pixels(length: f64) -> u32 {
    length.round().max(0.0) as u32
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
            let Placement { width, height, .. } = placement(&input, size.0, size.1);
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
    fn a_window_is_cut_and_what_lies_outside_is_padding() {
        let frame = painted(64, 64, |x, _| if x < 32 { 16 } else { 235 });
        let input = Input { width: 32, height: 32, fit: Fit::Stretch, ..input() };
        let mut letterbox = Letterbox::new(input);
        // 16 columns left of the picture, 16 dark ones, none of the bright half.
        let window = Window { left: -16.0, top: 0.0, width: 32.0, height: 32.0 };
        let placed = letterbox.fill_window(&frame, window).expect("partly inside");
        assert_eq!(placed, Placement { left: 16, top: 0, width: 16, height: 32 });
        let row: Vec<f32> = letterbox.values()[..32].to_vec();
        assert!(row[..16].iter().all(|value| (value - 114.0).abs() < 0.01), "{row:?}");
        assert!(row[16..].iter().all(|value| value.abs() < 0.5), "{row:?}");
        let bright = Window { left: 40.0, top: 20.0, width: 10.0, height: 10.0 };
        letterbox.fill_window(&frame, bright).expect("inside");
        assert!(letterbox.values().iter().all(|value| (value - 255.0).abs() < 0.5));
        let outside = Window { left: 64.0, top: 0.0, width: 10.0, height: 10.0 };
        assert!(letterbox.fill_window(&frame, outside).is_err());
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
