//! A decoded picture as I420 planes, and the cheap measures of it that health and motion need.
//! Cloning shares the planes.

use std::sync::Arc;

use kitchen_core::detection::Rect;
use kitchen_core::time::Mono;

/// Cells of a [`Thumbnail`].
pub const THUMBNAIL_WIDTH: usize = 64;
pub const THUMBNAIL_HEIGHT: usize = 36;

/// One picture, planar YCbCr 4:2:0, 8 bits, BT.601.
#[derive(Clone)]
pub struct Frame {
    pub width: u32,
    pub height: u32,
    /// Luma 0..255 instead of 16..235.
    pub full_range: bool,
    /// See [`crate::access_unit::AccessUnit::pts_90k`].
    pub pts_90k: i64,
    /// When its access unit arrived.
    pub captured: Mono,
    pub(crate) planes: Arc<Vec<u8>>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}x{}, pts {}, {:?})", self.width, self.height, self.pts_90k, self.captured)
    }
}

/// A plane whose rows lie `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    pub stride: usize,
}

impl Frame {
    /// Packs three planes; the chroma planes have half the size, rounded up. `None` when a plane is too short
    /// or a side is 0.
    #[must_use]
    pub fn from_planes(width: u32, height: u32, planes: [Plane<'_>; 3]) -> Option<Self> {
        let sizes = plane_sizes(width, height);
        let mut packed = Vec::with_capacity(sizes.iter().map(|(w, h)| w * h).sum());
        for (plane, (columns, rows)) in planes.into_iter().zip(sizes) {
            if columns == 0 || rows == 0 {
                return None;
            }
            for row in 0..rows {
                let start = row * plane.stride;
                packed.extend_from_slice(plane.data.get(start..start + columns)?);
            }
        }
        let planes = Arc::new(packed);
        Some(Self { width, height, full_range: false, pts_90k: 0, captured: Mono::ZERO, planes })
    }

    /// A still image as a frame.
    #[must_use]
    pub fn from_rgb(image: &image::RgbImage) -> Option<Self> {
        let (width, height) = image.dimensions();
        let mut planar = yuv::YuvPlanarImageMut::<u8>::alloc(width, height, yuv::YuvChromaSubsampling::Yuv420);
        let (range, matrix) = (yuv::YuvRange::Full, yuv::YuvStandardMatrix::Bt601);
        yuv::rgb_to_yuv420(&mut planar, image.as_raw(), width * 3, range, matrix, yuv::YuvConversionMode::Balanced)
            .ok()?;
        let plane = |data, stride: u32| Plane { data, stride: stride as usize };
        let planes = [
            plane(planar.y_plane.borrow(), planar.y_stride),
            plane(planar.u_plane.borrow(), planar.u_stride),
            plane(planar.v_plane.borrow(), planar.v_stride),
        ];
        Self::from_planes(width, height, planes).map(|frame| Self { full_range: true, ..frame })
    }

    #[must_use]
    pub fn y(&self) -> &[u8] {
        &self.planes[..self.luma_len()]
    }

    /// Half the size of [`Frame::y`] in each direction, rounded up; so is [`Frame::v`].
    #[must_use]
    pub fn u(&self) -> &[u8] {
        let chroma = self.planes.len() - self.luma_len();
        &self.planes[self.luma_len()..][..chroma / 2]
    }

    #[must_use]
    pub fn v(&self) -> &[u8] {
        let chroma = self.planes.len() - self.luma_len();
        &self.planes[self.luma_len() + chroma / 2..]
    }

    /// Columns and rows of a chroma plane.
    #[must_use]
    pub fn chroma_size(&self) -> (usize, usize) {
        plane_sizes(self.width, self.height)[1]
    }

    fn luma_len(&self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Whether not a bit differs: a frozen camera. Sensor noise makes even a still scene differ.
    #[must_use]
    pub fn same_picture(&self, other: &Self) -> bool {
        (self.width, self.height) == (other.width, other.height)
            && (Arc::ptr_eq(&self.planes, &other.planes) || self.planes == other.planes)
    }

    /// RGB, 3 bytes a pixel, row-major.
    #[must_use]
    pub fn to_rgb(&self) -> image::RgbImage {
        let mut rgb = vec![0_u8; self.luma_len() * 3];
        let chroma_stride = u32::try_from(self.chroma_size().0).unwrap_or(self.width);
        let planes = yuv::YuvPlanarImage {
            y_plane: self.y(),
            y_stride: self.width,
            u_plane: self.u(),
            u_stride: chroma_stride,
            v_plane: self.v(),
            v_stride: chroma_stride,
            width: self.width,
            height: self.height,
        };
        let range = if self.full_range { yuv::YuvRange::Full } else { yuv::YuvRange::Limited };
        yuv::yuv420_to_rgb(&planes, &mut rgb, self.width * 3, range, yuv::YuvStandardMatrix::Bt601)
            .expect("planes have the sizes of the frame");
        image::RgbImage::from_raw(self.width, self.height, rgb).expect("3 bytes a pixel")
    }

    /// The luma of the picture in 64×36 cells.
    #[must_use]
    pub fn thumbnail(&self) -> Thumbnail {
        let (width, height) = (self.width as usize, self.height as usize);
        let columns: Vec<(usize, usize)> = (0..THUMBNAIL_WIDTH).map(|n| span(n, THUMBNAIL_WIDTH, width)).collect();
        let mut luma = Vec::with_capacity(THUMBNAIL_WIDTH * THUMBNAIL_HEIGHT);
        for cell_row in 0..THUMBNAIL_HEIGHT {
            let (top, bottom) = span(cell_row, THUMBNAIL_HEIGHT, height);
            let mut sums = [0_u32; THUMBNAIL_WIDTH];
            for row in self.y()[top * width..bottom * width].chunks_exact(width) {
                for (sum, (left, right)) in sums.iter_mut().zip(&columns) {
                    *sum += row[*left..*right].iter().map(|pixel| u32::from(*pixel)).sum::<u32>();
                }
            }
            for (sum, (left, right)) in sums.iter().zip(&columns) {
                #[expect(clippy::cast_precision_loss, reason = "sums of a few thousand bytes")]
                luma.push(*sum as f32 / ((right - left) * (bottom - top)) as f32);
            }
        }
        Thumbnail { luma }
    }

    /// Variance of the luma's Laplacian on every second row: high in a sharp picture, near 0 in a blurred
    /// or covered one. Noise raises it.
    #[must_use]
    pub fn sharpness(&self) -> f32 {
        self.sharpness_in(Rect::new(0.0, 0.0, 1.0, 1.0))
    }

    /// The same of a part (fractions of the picture), on so many of its rows as bound the cost.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0..1 of a side"
    )]
    pub fn sharpness_in(&self, part: Rect) -> f32 {
        let (width, height) = (self.width as usize, self.height as usize);
        let part = part.clamped();
        let pixel = |fraction: f32, side: usize| ((fraction * side as f32).round() as usize).min(side);
        // The outermost pixels have no neighbours on one side.
        let (left, right) = (pixel(part.x, width).max(1), pixel(part.x + part.w, width).min(width - 1));
        let (top, bottom) = (pixel(part.y, height).max(1), pixel(part.y + part.h, height).min(height - 1));
        if left >= right || top >= bottom {
            return 0.0;
        }
        let step = ((right - left) * (bottom - top) / MEASURED_PIXELS).max(2);
        let mut measure = Spread::default();
        for y in (top..bottom).step_by(step) {
            let row = |y: usize| &self.y()[y * width..][left - 1..=right];
            measure.add_row(row(y - 1), row(y), row(y + 1));
        }
        measure.variance()
    }
}

/// About how many pixels a measure of sharpness looks at, at most.
const MEASURED_PIXELS: usize = 60_000;

/// Collects the Laplacians of rows.
#[derive(Default)]
struct Spread {
    count: u64,
    sum: i64,
    squares: i64,
}

impl Spread {
    fn add_row(&mut self, above: &[u8], row: &[u8], below: &[u8]) {
        let (mut sum, mut squares) = (0_i32, 0_i64);
        for ((around, above), below) in row.windows(3).zip(&above[1..]).zip(&below[1..]) {
            let [before, here, after] = [around[0], around[1], around[2]].map(i32::from);
            let value = i32::from(*above) + i32::from(*below) + before + after - 4 * here;
            sum += value;
            squares += i64::from(value * value);
        }
        self.count += row.len().saturating_sub(2) as u64;
        self.sum += i64::from(sum);
        self.squares += squares;
    }

    fn variance(&self) -> f32 {
        if self.count == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a measure, not a count")]
        {
            let mean = self.sum as f64 / self.count as f64;
            (self.squares as f64 / self.count as f64 - mean * mean) as f32
        }
    }
}

/// Columns and rows of Y, U and V.
fn plane_sizes(width: u32, height: u32) -> [(usize, usize); 3] {
    let chroma = (width.div_ceil(2) as usize, height.div_ceil(2) as usize);
    [(width as usize, height as usize), chroma, chroma]
}

/// Cell `n` of `cells` over `length` pixels; never empty.
fn span(n: usize, cells: usize, length: usize) -> (usize, usize) {
    let start = (n * length / cells).min(length - 1);
    (start, ((n + 1) * length / cells).max(start + 1))
}

/// Mean luma of 64×36 cells, row-major, 0..255.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumbnail {
    pub luma: Vec<f32>,
}

impl Thumbnail {
    /// Mean luma, 0..255.
    #[must_use]
    pub fn mean(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "2304 cells")]
        let cells = self.luma.len().max(1) as f32;
        self.luma.iter().sum::<f32>() / cells
    }

    /// Standard deviation of the cells: how much there is to see. A covered lens is near 0.
    #[must_use]
    pub fn detail(&self) -> f32 {
        let mean = self.mean();
        let squares = self.luma.iter().map(|cell| (cell - mean) * (cell - mean)).collect();
        Self { luma: squares }.mean().sqrt()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A grey frame whose luma `paint(x, y)` gives.
    pub(crate) fn painted(width: u32, height: u32, paint: impl Fn(u32, u32) -> u8) -> Frame {
        let luma: Vec<u8> =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| paint(x, y)).collect();
        let (columns, rows) = plane_sizes(width, height)[1];
        let chroma = vec![128; columns * rows];
        let plane = |data| Plane { data, stride: columns };
        Frame::from_planes(
            width,
            height,
            [Plane { data: &luma, stride: width as usize }, plane(&chroma), plane(&chroma)],
        )
        .expect("sizes fit")
    }

    #[test]
    fn odd_sizes_round_chroma_up() {
        let frame = painted(7, 5, |x, _| u8::try_from(x).expect("small"));
        assert_eq!((frame.y().len(), frame.u().len(), frame.v().len()), (35, 12, 12));
        assert_eq!(frame.to_rgb().dimensions(), (7, 5));
        assert_eq!(frame.thumbnail().luma.len(), 64 * 36);
    }

    #[test]
    fn limited_range_white_and_black_become_full() {
        let rgb = painted(64, 64, |x, _| if x < 32 { 16 } else { 235 }).to_rgb();
        assert_eq!((rgb.get_pixel(0, 0).0, rgb.get_pixel(63, 63).0), ([0; 3], [255; 3]));
    }

    #[test]
    fn one_bit_makes_another_picture() {
        let first = painted(64, 36, |_, _| 100);
        assert!(first.same_picture(&painted(64, 36, |_, _| 100)));
        assert!(!first.same_picture(&painted(64, 36, |x, y| if (x, y) == (63, 35) { 101 } else { 100 })));
    }

    #[test]
    fn detail_and_sharpness_tell_a_covered_lens_from_a_scene() {
        let covered = painted(640, 360, |_, _| 20);
        let scene = painted(640, 360, |x, y| if (x / 40 + y / 40) % 2 == 0 { 40 } else { 200 });
        assert!(covered.thumbnail().detail() < 1.0 && covered.sharpness() < 1.0);
        assert!(scene.thumbnail().detail() > 40.0 && scene.sharpness() > 100.0);
        assert!((scene.thumbnail().mean() - 120.0).abs() < 8.0);
    }

    #[test]
    fn short_planes_are_no_frame() {
        let plane = Plane { data: &[0; 10], stride: 4 };
        assert!(Frame::from_planes(4, 4, [plane; 3]).is_none());
        assert!(Frame::from_planes(0, 4, [plane; 3]).is_none());
    }
}
