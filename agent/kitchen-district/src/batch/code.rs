//! A QR code as modules: made from a text, read again for a check, drawn as one outline.

use krilla::geom::{Path, PathBuilder};
use qrcode::{Color, EcLevel, QrCode};

/// Right, down, left, up, on the grid of the modules' corners.
const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// A QR code of error correction M.
pub(super) struct Code {
    /// Modules of a side.
    pub size: usize,
    is_dark: Vec<bool>,
}

impl Code {
    /// `None` when the text is too long for a QR code, or when a reader would not find this very text in it.
    pub(super) fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let size = code.width();
        let is_dark = code.into_colors().into_iter().map(|color| color == Color::Dark).collect();
        let code = Self { size, is_dark };
        (code.read().as_deref() == Some(text)).then_some(code)
    }

    /// What a reader finds in it.
    fn read(&self) -> Option<String> {
        let grid = rqrr::SimpleGrid::from_func(self.size, |x, y| self.is_dark[y * self.size + x]);
        rqrr::Grid::new(grid).decode().ok().map(|(_, text)| text)
    }

    /// The dark area, a module being 1 wide. One outline rather than squares: between squares, viewers show hairlines.
    pub(super) fn outline(&self) -> Option<Path> {
        let corners = self.size + 1;
        let mut edges = self.edges();
        let mut path = PathBuilder::new();
        for start in 0..edges.len() {
            while let Some(mut direction) = first_of(edges[start]) {
                let mut at = start;
                path.move_to(coordinate(at % corners), coordinate(at / corners));
                loop {
                    edges[at] &= !(1 << direction);
                    let (x, y) = STEPS[direction];
                    at = at.wrapping_add_signed(y * corners.cast_signed() + x);
                    if at == start {
                        break;
                    }
                    let Some(next) = first_of(edges[at]) else { break };
                    if next != direction {
                        path.line_to(coordinate(at % corners), coordinate(at / corners));
                    }
                    direction = next;
                }
                path.close();
            }
        }
        path.finish()
    }

    /// By corner, a bit for each direction in which a border leads on, the dark on its right.
    fn edges(&self) -> Vec<u8> {
        let corners = self.size + 1;
        let mut edges = vec![0; corners * corners];
        let is_dark = |x: usize, y: usize| x < self.size && y < self.size && self.is_dark[y * self.size + x];
        for y in 0..self.size {
            for x in (0..self.size).filter(|x| is_dark(*x, y)) {
                let at = y * corners + x;
                let borders = [
                    (is_dark(x, y.wrapping_sub(1)), at, 0),
                    (is_dark(x + 1, y), at + 1, 1),
                    (is_dark(x, y + 1), at + corners + 1, 2),
                    (is_dark(x.wrapping_sub(1), y), at + corners, 3),
                ];
                for (_, corner, direction) in borders.into_iter().filter(|(is_inside, ..)| !is_inside) {
                    edges[corner] |= 1 << direction;
                }
            }
        }
        edges
    }
}

fn first_of(directions: u8) -> Option<usize> {
    (0..STEPS.len()).find(|direction| directions & (1 << direction) != 0)
}

#[expect(clippy::cast_precision_loss, reason = "a QR code has at most 177 modules")]
fn coordinate(corner: usize) -> f32 {
    corner as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_its_text_and_one_with_too_many_errors_does_not() {
        let text = "kitchen:mh07-000123:b1-k7f3-7";
        let mut code = Code::new(text).expect("a code");
        assert_eq!(code.size, 29);
        code.is_dark.iter_mut().skip(29 * 12).take(29 * 9).for_each(|module| *module = true);
        assert_eq!(code.read(), None);
        assert!(Code::new(&"x".repeat(3000)).is_none());
    }
}
