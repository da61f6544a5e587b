//! A text with its percent-encoding and escapes undone, which knows where in the original each byte stood.

use std::ops::Range;

/// Which ways of writing are undone. A password may hold what looks like another way, so each is also undone alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undone {
    All,
    Percent,
    Backslash,
}

impl Undone {
    pub const EACH: [Self; 3] = [Self::All, Self::Percent, Self::Backslash];
}

/// Bytes, and for each of them where it began in the original text.
#[derive(Debug)]
pub(super) struct View {
    bytes: Vec<u8>,
    /// One more than there are bytes: the last is the original's length.
    starts: Vec<usize>,
}

impl View {
    pub fn of(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), starts: (0..=text.len()).collect() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a range of this view stands in the original.
    pub fn original(&self, range: Range<usize>) -> Range<usize> {
        self.starts[range.start]..self.starts[range.end]
    }

    /// One level of encoding undone; none where there is none, or where all at once are the same.
    pub fn unescaped(&self, undone: Undone) -> Option<Self> {
        let [percent, backslash] = [b'%', b'\\'].map(|sign| self.bytes.contains(&sign));
        let is_worth_it = if undone == Undone::All { percent || backslash } else { percent && backslash };
        if !is_worth_it {
            return None;
        }
        let mut next = Self { bytes: Vec::with_capacity(self.bytes.len()), starts: Vec::new() };
        let mut at = 0;
        while at < self.bytes.len() {
            let is_left = matches!((undone, self.bytes[at]), (Undone::Percent, b'\\') | (Undone::Backslash, b'%'));
            let (meant, length) =
                if is_left { (Meant::Byte([self.bytes[at]]), 1) } else { unescape(&self.bytes[at..]) };
            for byte in meant.bytes() {
                next.bytes.push(*byte);
                next.starts.push(self.starts[at]);
            }
            at += length;
        }
        next.starts.push(self.starts[self.bytes.len()]);
        (next.bytes.len() < self.bytes.len()).then_some(next)
    }
}

enum Meant {
    Byte([u8; 1]),
    Character([u8; 4], usize),
}

impl Meant {
    fn bytes(&self) -> std::slice::Iter<'_, u8> {
        match self {
            Self::Byte(byte) => byte.iter(),
            Self::Character(bytes, length) => bytes[..*length].iter(),
        }
    }
}

/// What the bytes begin with means, and how many of them say so.
fn unescape(bytes: &[u8]) -> (Meant, usize) {
    let byte = |byte: u8, length| (Meant::Byte([byte]), length);
    let hex = |range: Range<usize>| {
        let digits = std::str::from_utf8(bytes.get(range)?).ok()?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let short = |value: Option<u32>| value.and_then(|value| u8::try_from(value).ok());
    match bytes {
        [b'%', ..] if let Some(value) = short(hex(1..3)) => byte(value, 3),
        [b'\\', b'x', ..] if let Some(value) = short(hex(2..4)) => byte(value, 4),
        [b'\\', b'u', b'{', rest @ ..] => {
            let length = rest.iter().position(|byte| *byte == b'}').unwrap_or(0);
            character(hex(3..3 + length), 4 + length).unwrap_or_else(|| byte(b'\\', 1))
        }
        [b'\\', b'u', ..] => character(hex(2..6), 6).unwrap_or_else(|| byte(b'\\', 1)),
        [b'\\', b'n', ..] => byte(b'\n', 2),
        [b'\\', b'r', ..] => byte(b'\r', 2),
        [b'\\', b't', ..] => byte(b'\t', 2),
        [b'\\', sign @ (b'"' | b'\'' | b'\\' | b'/'), ..] => byte(*sign, 2),
        [first, ..] => byte(*first, 1),
        [] => byte(0, 1),
    }
}

fn character(value: Option<u32>, length: usize) -> Option<(Meant, usize)> {
    let character = char::from_u32(value?)?;
    let mut bytes = [0; 4];
    let written = character.encode_utf8(&mut bytes).len();
    Some((Meant::Character(bytes, written), length))
}
