//! Which language to speak, decided before the command line is parsed, because help and complaints about it are texts
//! too: `--lang`, else the locale, else `device.language` of the configuration, else English.

use std::ffi::OsString;

use crate::cli::{DEFAULT_CONFIG, Language};

/// The language for this command line in this environment.
#[must_use]
pub fn chosen(arguments: &[OsString]) -> Language {
    let arguments: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    option(&arguments, "--lang")
        .and_then(named)
        .or_else(|| of_locale(|name| std::env::var(name).ok()))
        .or_else(|| std::env::var("KITCHEN_AGENT__DEVICE__LANGUAGE").ok().and_then(|value| named(&value)))
        .or_else(|| of_configuration(option(&arguments, "--config").unwrap_or(DEFAULT_CONFIG)))
        .unwrap_or(Language::En)
}

/// The value of `--name VALUE` or `--name=VALUE`.
fn option<'a>(arguments: &[&'a str], name: &str) -> Option<&'a str> {
    let mut rest = arguments.iter().take_while(|argument| **argument != "--");
    while let Some(argument) = rest.next() {
        if *argument == name {
            return rest.next().copied();
        }
        if let Some(value) = argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

fn named(name: &str) -> Option<Language> {
    match name {
        "zh" => Some(Language::Zh),
        "en" => Some(Language::En),
        _ => None,
    }
}

/// The first variable that is set decides; `C` and `POSIX`, as on a bare box, say nothing.
fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Option<Language> {
    let mut names = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter();
    let locale = names.find_map(|name| variable(name).filter(|value| !value.is_empty()))?;
    named(locale.get(..2)?)
}

fn of_configuration(path: &str) -> Option<Language> {
    let text = std::fs::read_to_string(path).ok()?;
    let table: toml::Table = text.parse().ok()?;
    named(table.get("device")?.get("language").map_or(Some("zh"), |language| language.as_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locale(set: &[(&str, &str)]) -> Option<Language> {
        of_locale(|name| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        assert_eq!(locale(&[("LANG", "zh_CN.UTF-8")]), Some(Language::Zh));
        assert_eq!(locale(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "en_GB")]), Some(Language::En));
        assert_eq!(locale(&[("LC_ALL", ""), ("LC_MESSAGES", "zh_CN")]), Some(Language::Zh));
    }

    #[test]
    fn a_bare_locale_leaves_the_choice_to_the_configuration() {
        for bare in ["C", "POSIX", "C.UTF-8", "de_DE.UTF-8"] {
            assert_eq!(locale(&[("LANG", bare)]), None, "{bare}");
        }
        assert_eq!(locale(&[]), None);
    }

    #[test]
    fn the_option_is_found_wherever_it_stands() {
        for arguments in [&["x", "--lang", "zh", "status"][..], &["x", "status", "--lang=zh"]] {
            assert_eq!(option(arguments, "--lang"), Some("zh"));
        }
        assert_eq!(option(&["x", "replay", "--", "--lang=zh"], "--lang"), None);
    }

    #[test]
    fn a_configuration_that_says_nothing_is_chinese_as_its_default() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("UTF-8");
        for (text, expected) in [
            ("[device]\nid = \"a\"\n", Some(Language::Zh)),
            ("[device]\nlanguage = \"en\"\n", Some(Language::En)),
            ("[device\n", None),
        ] {
            std::fs::write(path, text).expect("written");
            assert_eq!(of_configuration(path), expected, "{text}");
        }
    }
}
