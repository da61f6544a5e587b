//! Complaints about the command line in the chosen language: clap finds what is wrong, the catalogue says it.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::Exit;
use crate::text::text;

/// Prints help, version or what is wrong with the command line; the exit code.
pub fn tell(error: &Error) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Done;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return Exit::WrongUse;
    }
    lines(error).iter().for_each(|line| eprintln!("{line}"));
    Exit::WrongUse
}

/// What is wrong, a suggestion where clap has one, and where the right use stands.
fn lines(error: &Error) -> Vec<String> {
    let mut lines = vec![format!("kitchen-agent: {}", complaint(error))];
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    if let Some(suggested) = suggested.into_iter().find_map(|kind| value(error, kind)) {
        lines.push(text!("use-suggestion", suggested = suggested));
    }
    lines.push(text!("next-step", step = text!("use-next", command = command_of(error))));
    lines
}

fn complaint(error: &Error) -> String {
    let argument = value(error, ContextKind::InvalidArg).unwrap_or_default();
    let found = value(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            text!("use-unknown-command", name = value(error, ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::UnknownArgument => text!("use-unknown-option", name = argument),
        ErrorKind::MissingRequiredArgument => text!("use-missing", names = argument),
        ErrorKind::MissingSubcommand => text!("use-missing-command"),
        ErrorKind::InvalidValue if found.is_empty() => text!("use-no-value", name = argument),
        ErrorKind::InvalidValue => {
            let valid = value(error, ContextKind::ValidValue).unwrap_or_default();
            text!("use-wrong-value", name = argument, value = found, valid = valid)
        }
        ErrorKind::ValueValidation => text!("use-bad-value", name = argument, value = found),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues | ErrorKind::TooManyValues => {
            text!("use-number-of-values", name = argument)
        }
        ErrorKind::ArgumentConflict => {
            let other = value(error, ContextKind::PriorArg).unwrap_or_default();
            if other == argument || other.is_empty() {
                text!("use-twice", name = argument)
            } else {
                text!("use-conflict", name = argument, other = other)
            }
        }
        _ => text!("use-wrong"),
    }
}

fn value(error: &Error, kind: ContextKind) -> Option<String> {
    let text = match error.get(kind)? {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        ContextValue::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// `kitchen-agent replay`, of the usage line that clap would have shown.
fn command_of(error: &Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words = usage.split_whitespace().skip_while(|word| *word != "kitchen-agent");
    let words: Vec<&str> = words.take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    if words.is_empty() { "kitchen-agent".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help;

    fn complaint_about(arguments: &[&str]) -> Vec<String> {
        let arguments = ["kitchen-agent"].iter().chain(arguments);
        lines(&help::command().try_get_matches_from(arguments).expect_err("wrong use"))
    }

    #[test]
    fn a_complaint_names_what_was_written_and_where_help_is() {
        for (arguments, named) in [
            (&["brew"][..], "brew"),
            (&["status", "--wach"], "--wach"),
            (&["replay"], "FILE"),
            (&["demo", "--seconds", "soon"], "soon"),
            (&["status", "--lang", "fr"], "fr"),
            (&["status", "--lang"], "--lang"),
        ] {
            let lines = complaint_about(arguments);
            assert!(lines[0].contains(named), "{lines:?}");
            assert!(lines.last().is_some_and(|line| line.contains("--help")), "{lines:?}");
        }
    }

    #[test]
    fn a_slip_of_the_keyboard_gets_a_suggestion() {
        let lines = complaint_about(&["status", "--wach"]);
        assert!(lines.iter().any(|line| line.contains("--watch")), "{lines:?}");
        assert!(lines.last().is_some_and(|line| line.contains("kitchen-agent status --help")), "{lines:?}");
    }
}
