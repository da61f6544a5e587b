//! A text of the catalogue with its values, and the fault that it tells of: an error, a context of one, or a line of
//! `status --json`. It can travel between processes, and is put into words where it is read.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use crate::cli::Language;
use crate::fault::Fault;
use crate::text;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Fault>,
    /// The text's id.
    pub text: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
}

/// A value as it is, or a text of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Plain(String),
    Text { text: String },
}

impl<T: Display> From<T> for Value {
    fn from(value: T) -> Self {
        Self::Plain(value.to_string())
    }
}

/// `notice!("id", fault, name = value)`; the fault is a `Fault` or `None`.
macro_rules! notice {
    ($id:literal, $fault:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::notice::Notice::new($id, $fault)$(.with(stringify!($name), $value))*
    };
}
pub(crate) use notice;

impl Notice {
    #[must_use]
    pub fn new(id: &str, code: impl Into<Option<Fault>>) -> Self {
        Self { code: code.into(), text: id.to_owned(), values: BTreeMap::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    /// Whether this program knows the text; one of a newer agent it may not.
    #[must_use]
    pub fn is_known(&self) -> bool {
        text::has(&self.text)
    }

    /// The text's own next step, else that of its fault, in the chosen language.
    #[must_use]
    pub fn next_step(&self) -> Option<String> {
        self.next_step_in(text::language())
    }

    /// As [`Notice::next_step`].
    #[must_use]
    pub fn next_step_in(&self, language: Language) -> Option<String> {
        let own = format!("{}-next", self.text);
        if text::has(&own) {
            return Some(self.say(&own, language));
        }
        self.code.map(|fault| text::get_in(language, &format!("fault-{fault}-next"), &[]))
    }

    /// The text in that language.
    #[must_use]
    pub fn said(&self, language: Language) -> String {
        self.say(&self.text, language)
    }

    fn say(&self, id: &str, language: Language) -> String {
        let values: Vec<(&str, String)> =
            self.values.iter().map(|(name, value)| (name.as_str(), value.said(language))).collect();
        let values: Vec<(&str, &dyn Display)> =
            values.iter().map(|(name, value)| (*name, value as &dyn Display)).collect();
        text::get_in(language, id, &values)
    }
}

impl Value {
    #[must_use]
    pub fn text(id: &str) -> Self {
        Self::Text { text: id.to_owned() }
    }

    fn said(&self, language: Language) -> String {
        match self {
            Self::Plain(plain) => plain.clone(),
            Self::Text { text } => text::get_in(language, text, &[]),
        }
    }
}

impl Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said(text::language()))
    }
}

impl std::error::Error for Notice {}
