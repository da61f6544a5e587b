//! What is wrong in a list of sites: the place, what stands there and what should.

use std::fmt;

use serde::Serialize;

/// The longest piece of a cell that is shown.
const SHOWN: usize = 80;

/// A cell that can't be taken as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// From 1; of the row's beginning.
    pub line: usize,
    /// The column's English name; as the header has it where it is none of ours.
    pub column: String,
    pub found: String,
    pub expected: String,
    /// The row that has the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_line: Option<usize>,
}

impl Problem {
    pub(super) fn new(line: usize, column: &str, found: &str, expected: impl Into<String>) -> Self {
        let (column, expected) = (column.to_owned(), expected.into());
        Self { line, column, found: shortened(found), expected, other_line: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, found, expected, .. } = self;
        if found.is_empty() {
            write!(f, "line {line}, {column}: found nothing, expected {expected}")
        } else {
            write!(f, "line {line}, {column}: found {found:?}, expected {expected}")
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
