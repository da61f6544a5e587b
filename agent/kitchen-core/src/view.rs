//! A camera's picture reduced to a small grid of brightness: enough to tell a covered lens from a dark room.
//! Grids come in; never a full picture.

/// Mean luma of the cells of a picture, row by row, 0..255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LumaGrid {
    pub width: usize,
    pub height: usize,
    pub cells: Vec<u8>,
}

impl LumaGrid {
    /// Mean brightness, 0..255.
    #[must_use]
    pub fn mean(&self) -> f32 {
        let sum: u64 = self.cells.iter().map(|&cell| u64::from(cell)).sum();
        sum as f32 / self.cells.len().max(1) as f32
    }

    /// Mean absolute step between neighbouring cells: how much there is to see.
    #[must_use]
    pub fn detail(&self) -> f32 {
        let step = |a: u8, b: u8| u64::from(a.abs_diff(b));
        let rows = self.cells.chunks_exact(self.width.max(1));
        let across: u64 = rows.map(|row| row.windows(2).map(|pair| step(pair[0], pair[1])).sum::<u64>()).sum();
        let down: u64 =
            self.cells.iter().zip(self.cells.iter().skip(self.width)).map(|(&above, &below)| step(above, below)).sum();
        (across + down) as f32 / (2 * self.cells.len()).max(1) as f32
    }

    /// Correlation with another grid of the same size, -1..1, whatever the brightness and contrast of either.
    /// Nothing where one of them is uniform or the sizes differ.
    #[must_use]
    pub fn correlation(&self, other: &Self) -> Option<f32> {
        if (self.width, self.height) != (other.width, other.height) {
            return None;
        }
        let (mean, other_mean) = (self.mean(), other.mean());
        let (mut product, mut square, mut other_square) = (0.0f32, 0.0f32, 0.0f32);
        for (&a, &b) in self.cells.iter().zip(&other.cells) {
            let (a, b) = (f32::from(a) - mean, f32::from(b) - other_mean);
            product += a * b;
            square += a * a;
            other_square += b * b;
        }
        let scale = (square * other_square).sqrt();
        // Under half a step of spread a grid has no structure to compare.
        let least = 0.25 * self.cells.len() as f32;
        (square > least && other_square > least).then(|| product / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(cell: impl Fn(usize, usize) -> u8) -> LumaGrid {
        let cells = (0..18).flat_map(|y| (0..32).map(move |x| (x, y))).map(|(x, y)| cell(x, y)).collect();
        LumaGrid { width: 32, height: 18, cells }
    }

    #[test]
    fn a_dimmed_scene_correlates_with_itself_and_a_uniform_one_with_nothing() {
        let scene = grid(|x, y| (40 + (x * 37 + y * 91) % 160) as u8);
        let dimmed = grid(|x, y| (16 + (x * 37 + y * 91) % 160 / 16) as u8);
        assert!(scene.correlation(&dimmed).expect("both have structure") > 0.95);
        assert_eq!(scene.correlation(&grid(|_, _| 16)), None);
    }

    #[test]
    fn detail_is_the_mean_step_between_neighbours() {
        assert_eq!(grid(|_, _| 90).detail(), 0.0);
        let stripes = grid(|x, _| if x % 2 == 0 { 0 } else { 100 });
        assert!((stripes.detail() - 100.0 * 31.0 / 64.0).abs() < 1e-3);
    }
}
