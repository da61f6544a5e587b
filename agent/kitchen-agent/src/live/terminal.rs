//! The view in a terminal: two pixels a character in 24-bit colour, a line of words below, the screen as it was before
//! when it ends.

use std::fmt::Write as _;
use std::io::Write as _;

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::Scene;
use super::page::in_words;

/// Upper half in the colour of the text, lower half in that of the ground.
const HALF_BLOCK: char = '▀';

/// A terminal whose screen is given back on drop.
pub struct Screen(console::Term);

impl Screen {
    /// Nothing where the output goes to no terminal.
    #[must_use]
    pub fn open() -> Option<Self> {
        let terminal = console::Term::stdout();
        terminal.is_term().then(|| {
            write_out("\x1b[?1049h\x1b[?25l\x1b[2J");
            Self(terminal)
        })
    }

    /// # Errors
    /// When the terminal is gone.
    pub fn show(&self, title: &str, scene: &Scene) -> std::io::Result<()> {
        let (rows, columns) = self.0.size();
        let text = screen(title, scene, usize::from(columns), usize::from(rows));
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write_out("\x1b[0m\x1b[?25h\x1b[?1049l");
    }
}

fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that is gone needs nothing given back.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One whole screen: the picture as large as it fits, or nothing where it was lost, and one line of words.
fn screen(title: &str, scene: &Scene, columns: usize, rows: usize) -> String {
    let picture_rows = rows.saturating_sub(1);
    let mut text = String::from("\x1b[H");
    let drawn = match scene {
        Scene::Online(shot) => draw(&mut text, &shot.frame.to_rgb(), columns, picture_rows),
        Scene::Opening | Scene::Lost(_) => 0,
    };
    // From here to the end of the screen nothing of an earlier picture is left.
    text.push_str("\x1b[0m\x1b[J");
    let words = format!("{title}  {}", in_words(scene));
    let _ = write!(text, "\x1b[{};1H{}", drawn.min(picture_rows) + 1, cut(&words, columns));
    text
}

/// Returns how many rows it took.
fn draw(text: &mut String, picture: &RgbImage, columns: usize, rows: usize) -> usize {
    let (width, height) = fitted(picture.dimensions(), columns, rows * 2);
    if width == 0 || height == 0 {
        return 0;
    }
    let small = imageops::resize(picture, width, height, FilterType::Triangle);
    for row in 0..height / 2 {
        let mut colours = None;
        for column in 0..width {
            let (upper, lower) = (small.get_pixel(column, row * 2).0, small.get_pixel(column, row * 2 + 1).0);
            if colours != Some((upper, lower)) {
                let ([r, g, b], [lower_r, lower_g, lower_b]) = (upper, lower);
                let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{lower_r};{lower_g};{lower_b}m");
                colours = Some((upper, lower));
            }
            text.push(HALF_BLOCK);
        }
        text.push_str("\x1b[0m\x1b[K\r\n");
    }
    height as usize / 2
}

/// The largest size in the picture's proportions; an even height.
fn fitted((width, height): (u32, u32), columns: usize, lines: usize) -> (u32, u32) {
    let side = |length: usize| u32::try_from(length).unwrap_or(0);
    let (columns, lines) = (side(columns), side(lines));
    let tall = height * columns / width.max(1);
    if tall <= lines { (columns, tall & !1) } else { (width * lines / height.max(1), lines & !1) }
}

/// As much of a line as the columns hold; a Chinese character takes two.
fn cut(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |character: &char| {
        used += unicode_width::UnicodeWidthChar::width(*character).unwrap_or(0);
        used < columns
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_proportions_and_fits() {
        assert_eq!(fitted((640, 360), 80, 46), (80, 44));
        assert_eq!(fitted((640, 360), 200, 46), (81, 46));
        assert_eq!(fitted((360, 640), 80, 46), (25, 46));
        assert_eq!(fitted((640, 360), 0, 0), (0, 0));
    }

    #[test]
    fn two_pixels_share_a_character_and_every_row_ends_without_colour() {
        let picture = RgbImage::from_fn(4, 4, |_, y| image::Rgb(if y < 2 { [250, 0, 0] } else { [0, 0, 250] }));
        let mut text = String::new();
        assert_eq!(draw(&mut text, &picture, 4, 10), 2);
        let rows: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(rows[0], "\x1b[38;2;250;0;0;48;2;250;0;0m▀▀▀▀\x1b[0m\x1b[K");
        assert!(rows[1].contains("48;2;0;0;250m") && rows[2].is_empty());
    }

    #[test]
    fn a_lost_picture_is_taken_away() {
        let scene = Scene::Lost(crate::notice::notice!("live-stale", None, seconds = 3));
        let text = screen("stove", &scene, 80, 24);
        assert!(!text.contains(HALF_BLOCK) && text.contains("\x1b[J") && text.contains("stove"), "{text:?}");
    }

    #[test]
    fn a_line_too_long_for_the_terminal_is_cut() {
        assert_eq!(cut("炒菜区的画面", 8), "炒菜区");
        assert_eq!(cut("stove", 80), "stove");
    }
}
