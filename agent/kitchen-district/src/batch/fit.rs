//! Text set into a rectangle: the largest size in which it fits, else the smallest and shortened. Never overflows.

use super::font::LabelFont;

/// Of a line, in its size.
pub(super) const LINE_HEIGHT: f32 = 1.22;

/// No line begins with one.
const CLOSING: &str = ")]}>,.:;!?）】》」』”’，。、：；！？…";

/// Lines of one size.
#[derive(Debug, PartialEq)]
pub(super) struct Fitted {
    /// In points.
    pub size: f32,
    pub lines: Vec<String>,
}

impl Fitted {
    /// In points.
    #[expect(clippy::cast_precision_loss, reason = "a few lines")]
    pub(super) fn height(&self) -> f32 {
        self.lines.len() as f32 * self.size * LINE_HEIGHT
    }
}

/// A rectangle in points, and the sizes to try in it, from the largest.
#[derive(Clone, Copy)]
pub(super) struct Space<'a> {
    pub width: f32,
    pub height: f32,
    pub sizes: &'a [f32],
}

impl Space<'_> {
    pub(super) fn fit(&self, text: &str, font: &LabelFont) -> Fitted {
        let mut last = Fitted { size: 0.0, lines: Vec::new() };
        for size in self.sizes {
            let lines = wrapped(text, *size, self.width, font);
            last = Fitted { size: *size, lines };
            if last.lines.len() <= self.lines(*size) {
                return last;
            }
        }
        let most = self.lines(last.size);
        last.lines.truncate(most);
        if let Some(line) = last.lines.last_mut() {
            shorten(line, last.size, self.width, font);
        }
        last
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few lines")]
    fn lines(&self, size: f32) -> usize {
        ((self.height / (size * LINE_HEIGHT)) as usize).max(1)
    }
}

/// Broken at any character, but words and numbers of Latin letters only where they fill a line by themselves.
fn wrapped(text: &str, size: f32, width: f32, font: &LabelFont) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for c in text.chars() {
        line.push(c);
        if font.width(line.trim_end(), size) <= width || line.chars().count() == 1 {
            continue;
        }
        let next = line.split_off(line_end(&line));
        lines.push(line.trim_end().to_owned());
        line = next.trim_start().to_owned();
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Where a line that is one character too long is broken. A closing mark takes the character before it along.
fn line_end(line: &str) -> usize {
    let mut ends = line.char_indices().rev();
    let (last, c) = ends.next().unwrap_or_default();
    let last = if CLOSING.contains(c) { ends.next().map_or(last, |(at, _)| at) } else { last };
    let word = line.trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len();
    let end = word.min(last);
    if end == 0 { line.char_indices().next_back().map_or(0, |(at, _)| at) } else { end }
}

fn shorten(line: &mut String, size: f32, width: f32, font: &LabelFont) {
    while font.width(line, size) + font.width("…", size) > width && line.pop().is_some() {}
    line.push('…');
}
