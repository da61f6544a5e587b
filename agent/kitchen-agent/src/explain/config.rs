//! What is wrong with `agent.toml`, problem by problem, and TOML's own complaints.

use kitchen_core::config::{ConfigError, ConfigProblem, Expected};

use crate::cli::Language;
use crate::text::{self, text};

/// All that is wrong, one a line, each line indented.
#[must_use]
pub fn config(error: &ConfigError) -> String {
    let lines: Vec<String> = match error {
        ConfigError::Text(toml) => toml_text(toml).lines().map(str::to_owned).collect(),
        ConfigError::Problems(problems) => problems.iter().map(problem).collect(),
    };
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

/// `rules.phone.score: found 65.0, expected 0 to 1`.
#[must_use]
pub fn problem(problem: &ConfigProblem) -> String {
    let ConfigProblem { key, found, expected } = problem;
    let found = match expected {
        Expected::UrlWithoutCredentials => text!("config-found-credentials"),
        Expected::NoCrossing => text!("config-found-crossing"),
        Expected::Area => text!("config-found-line"),
        _ => found.clone(),
    };
    let (from, to) = expected.bounds();
    let expected = text::get(&format!("config-expected-{}", expected.key()), &[("from", &from), ("to", &to)]);
    text!("config-problem", key = key, found = found, expected = expected)
}

/// TOML's complaint; the lines that show the place stay as they are.
#[must_use]
pub fn toml_text(complaint: &str) -> String {
    complaint.lines().map(toml_line).collect::<Vec<_>>().join("\n")
}

fn toml_line(line: &str) -> String {
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    let allowed = |text: &str| {
        let (_, list) = text.split_once("expected ").unwrap_or_default();
        let names: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
        names.join(", ")
    };
    if let Some(place) = line.strip_prefix("TOML parse error at line ") {
        let (line, column) = place.split_once(", column ").unwrap_or((place, "?"));
        text!("toml-place", line = line, column = column)
    } else if line.starts_with("unknown field ") {
        text!("toml-unknown-key", key = quoted(line), allowed = allowed(line))
    } else if line.starts_with("unknown variant ") {
        text!("toml-unknown-value", value = quoted(line), allowed = allowed(line))
    } else if line.starts_with("missing field ") {
        text!("toml-missing-key", key = quoted(line))
    } else if let Some((found, expected)) =
        line.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        text!("toml-wrong-type", found = kind(found), expected = kind(expected))
    } else if line.contains('|') || line.trim().is_empty() || text::language() == Language::En {
        line.to_owned()
    } else {
        text!("toml-syntax")
    }
}

/// `string "x"`, `a string`, `u32`: a type in the chosen language, with the value.
fn kind(text: &str) -> String {
    let (name, value) = match text.split_once(' ') {
        Some(("a" | "an", name)) => (name, ""),
        Some(("floating", rest)) => ("float", rest.trim_start_matches("point").trim()),
        Some((name, value)) => (name, value),
        None => (text, ""),
    };
    let name = match name {
        "string" | "path" => text!("toml-string"),
        "integer" | "u8" | "u16" | "u32" | "u64" => text!("toml-integer"),
        "float" | "f32" | "f64" => text!("toml-number"),
        "boolean" => text!("toml-boolean"),
        "sequence" | "array" => text!("toml-list"),
        "map" | "table" | "struct" => text!("toml-table"),
        other => other.to_owned(),
    };
    format!("{name} {value}").trim_end().to_owned()
}
