//! The caption: its lines, their size, and the edge of the picture at which they lie.

use kitchen_core::detection::Detection;

use super::canvas::{Area, Canvas};
use super::font;

/// An em as a share of the picture's shorter side, and at most of its longer one.
const EM: f32 = 0.05;
const MOST_EM: f32 = 0.034;
/// Chinese smaller than this can't be read.
const LEAST_EM: f32 = 11.0;
/// Share of the picture's height that the bar takes at most.
const MOST: f32 = 0.4;
/// Between two parts on one line, in ems.
const GAP: f32 = 1.2;
/// Above, below and beside the text, in ems.
const PADDING: f32 = 0.4;

/// A caption that has found its place.
pub struct Bar {
    pub area: Area,
    em: f32,
    /// Each with the parts' distances from the left in pixels.
    lines: Vec<Vec<(f32, String)>>,
}

/// Nothing where the picture is too small for a single line, or there is nothing to say.
#[must_use]
pub fn lay_out(parts: &[String], (width, height): (u32, u32), boxes: &[Detection]) -> Option<Bar> {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let (room, most) = (width as f32, height as f32 * MOST);
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let ideal = (width.min(height) as f32 * EM).min(width.max(height) as f32 * MOST_EM).round().max(LEAST_EM);
    let least = (ideal * 0.7).max(LEAST_EM);
    let steps =
        |down_to: f32| std::iter::successors(Some(ideal), |em| Some(em - 1.0)).take_while(move |em| *em >= down_to);
    let tries = (2..=parts.len()).flat_map(|count| steps(least).map(move |em| (em, count)));
    let mut fitting = tries.chain([(least, usize::MAX)]).filter_map(|(em, count)| {
        let room = room - 2.0 * PADDING * em;
        let is_whole = count == usize::MAX || parts.iter().all(|part| font::width(part, em) <= room);
        let lines = is_whole.then(|| broken(&parts, em, room))?;
        (lines.len() <= count).then_some((em, lines))
    });
    let (em, mut lines) = fitting.next()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few lines")]
    lines.truncate(((most - 2.0 * PADDING * em) / (em * font::LINE)).max(0.0) as usize);
    if lines.is_empty() || room < 4.0 * em {
        return None;
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
    let tall = ((lines.len() as f32 * font::LINE + 2.0 * PADDING) * em).ceil() as usize & !1;
    Some(Bar { area: edge(tall, (width, height), boxes), em, lines })
}

impl Bar {
    pub fn draw(&self, canvas: &mut Canvas) {
        for (index, line) in self.lines.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a few lines")]
            let down = (PADDING + index as f32 * font::LINE) * self.em;
            for (left, part) in line {
                font::write(canvas, part, self.em, pixels(PADDING * self.em + left), self.area.top + pixels(down));
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the picture")]
fn pixels(length: f32) -> usize {
    length.round().max(0.0) as usize
}

/// Below, unless boxes lie there and fewer above.
fn edge(tall: usize, (width, height): (u32, u32), boxes: &[Detection]) -> Area {
    let (right, bottom) = (width as usize, height as usize);
    let below = Area { left: 0, top: bottom.saturating_sub(tall) & !1, right, bottom };
    let above = Area { left: 0, top: 0, right, bottom: tall.min(bottom) };
    let hidden =
        |bar: &Area| -> usize { boxes.iter().map(|one| Area::of(one.rect, (width, height)).shared(bar)).sum() };
    if hidden(&above) < hidden(&below) { above } else { below }
}

/// Puts the parts on lines of at most `room` pixels; one that is longer goes on in the next line.
fn broken(parts: &[&str], em: f32, room: f32) -> Vec<Vec<(f32, String)>> {
    let mut lines: Vec<Vec<(f32, String)>> = Vec::new();
    let mut end = room;
    for part in parts {
        let mut rest = *part;
        let whole = font::width(rest, em);
        if end + GAP * em + whole <= room && !lines.is_empty() {
            let left = end + GAP * em;
            end = left + whole;
            lines.last_mut().expect("there is one").push((left, rest.to_owned()));
            continue;
        }
        while !rest.is_empty() {
            let (line, left_over) = split(rest, em, room);
            end = font::width(line, em);
            lines.push(vec![(0.0, line.to_owned())]);
            rest = left_over.trim_start();
        }
    }
    lines
}

/// As much of `text` as fits, up to a space where there is one, but at least one character; and the rest.
fn split(text: &str, em: f32, room: f32) -> (&str, &str) {
    let mut end = text.len();
    let mut used = 0.0;
    for (at, character) in text.char_indices() {
        used += font::width(character.encode_utf8(&mut [0; 4]), em);
        if used > room && at > 0 {
            end = text[..at].rfind(' ').filter(|space| *space > 0).unwrap_or(at);
            break;
        }
    }
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use kitchen_core::detection::{Label, Rect};

    use super::*;

    fn parts() -> Vec<String> {
        ["非工作时段闯入 Person outside working hours", "2026-11-24 01:20:05", "stove · left · mh07-000123"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn all_is_said_in_landscape_in_portrait_and_small() {
        for size in [(1280, 720), (640, 360), (352, 288), (360, 640), (704, 576), (240, 320)] {
            let bar = lay_out(&parts(), size, &[]).expect("room");
            let said: String = bar.lines.iter().flatten().map(|(_, part)| part.as_str()).collect();
            let all: String = parts().concat();
            assert_eq!(said.replace(' ', ""), all.replace(' ', ""), "{size:?}");
            assert!(bar.area.height() as f32 <= size.1 as f32 * MOST && bar.em >= LEAST_EM, "{size:?}");
            for line in &bar.lines {
                let (left, part) = line.last().expect("never empty");
                assert!(left + font::width(part, bar.em) <= size.0 as f32, "{size:?}: {line:?}");
            }
        }
    }

    #[test]
    fn the_bar_goes_where_it_hides_no_box() {
        let person = |y, h| Detection { label: Label::Person, score: 0.9, rect: Rect::new(0.4, y, 0.2, h) };
        let top = |boxes: &[Detection]| lay_out(&parts(), (640, 360), boxes).expect("room").area.top;
        assert!(top(&[]) > 250);
        assert!(top(&[person(0.1, 0.5)]) > 250);
        assert_eq!(top(&[person(0.3, 0.7)]), 0);
        assert!(top(&[person(0.0, 1.0)]) > 250, "both edges hide as much");
    }

    #[test]
    fn a_picture_without_room_has_no_caption() {
        assert!(lay_out(&parts(), (20, 300), &[]).is_none());
        assert!(lay_out(&parts(), (300, 20), &[]).is_none());
        assert!(lay_out(&[], (640, 360), &[]).is_none());
    }
}
