//! Every text that a technician meets, in Chinese and English, from one catalogue: `locales/{en,zh}/*.ftl` in Project
//! Fluent's format. `text!("id", name = value)` gives the text in the language chosen at start.
//! Logs and `--json` keys are not translated.

use std::fmt::Display;
use std::sync::OnceLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};

use crate::cli::Language;

/// A text of the catalogue. Values are anything with `Display`.
macro_rules! text {
    ($id:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::text::get($id, &[$((stringify!($name), &$value as &dyn ::std::fmt::Display)),*])
    };
}
pub(crate) use text;

/// File name and text of each part of the catalogue.
type Files = &'static [(&'static str, &'static str)];

macro_rules! files {
    ($language:literal) => {
        &[
            ("alert_show", include_str!(concat!("../locales/", $language, "/alert_show.ftl"))),
            ("budget", include_str!(concat!("../locales/", $language, "/budget.ftl"))),
            ("bundle", include_str!(concat!("../locales/", $language, "/bundle.ftl"))),
            ("camera", include_str!(concat!("../locales/", $language, "/camera.ftl"))),
            ("check", include_str!(concat!("../locales/", $language, "/check.ftl"))),
            ("command", include_str!(concat!("../locales/", $language, "/command.ftl"))),
            ("enrol", include_str!(concat!("../locales/", $language, "/enrol.ftl"))),
            ("error", include_str!(concat!("../locales/", $language, "/error.ftl"))),
            ("export", include_str!(concat!("../locales/", $language, "/export.ftl"))),
            ("fault", include_str!(concat!("../locales/", $language, "/fault.ftl"))),
            ("help", include_str!(concat!("../locales/", $language, "/help.ftl"))),
            ("log", include_str!(concat!("../locales/", $language, "/log.ftl"))),
            ("outbox", include_str!(concat!("../locales/", $language, "/outbox.ftl"))),
            ("status", include_str!(concat!("../locales/", $language, "/status.ftl"))),
        ]
    };
}

const ENGLISH: Files = files!("en");
const CHINESE: Files = files!("zh");

static LANGUAGE: OnceLock<Language> = OnceLock::new();
static CATALOGUES: OnceLock<[Catalogue; 2]> = OnceLock::new();

type Catalogue = FluentBundle<FluentResource>;

/// Chooses the language of all further texts; the first call counts.
pub fn set_language(language: Language) {
    let _ = LANGUAGE.set(language);
}

/// The chosen language; English before one is chosen.
#[must_use]
pub fn language() -> Language {
    #[cfg(test)]
    if let Some(language) = tests::SPOKEN.get() {
        return language;
    }
    LANGUAGE.get().copied().unwrap_or(Language::En)
}

/// The text `id` in the chosen language. Use [`text!`] where the id is known.
#[must_use]
pub fn get(id: &str, values: &[(&str, &dyn Display)]) -> String {
    get_in(language(), id, values)
}

/// The text `id` in a given language; an id that the catalogue lacks is returned as it is, and fails the tests.
#[must_use]
pub fn get_in(language: Language, id: &str, values: &[(&str, &dyn Display)]) -> String {
    let catalogue = catalogue(language);
    let Some(pattern) = catalogue.get_message(id).and_then(|message| message.value()) else { return id.to_owned() };
    let mut arguments = FluentArgs::new();
    for (name, value) in values {
        arguments.set(*name, value.to_string());
    }
    catalogue.format_pattern(pattern, Some(&arguments), &mut Vec::new()).into_owned()
}

/// The text of an id that is put together at run time, or `otherwise` where the catalogue lacks it.
#[must_use]
pub fn get_or(id: &str, otherwise: &str) -> String {
    if has(id) { get(id, &[]) } else { otherwise.to_owned() }
}

/// Whether the catalogue has a text of this id.
#[must_use]
pub fn has(id: &str) -> bool {
    catalogue(Language::En).has_message(id)
}

fn catalogue(language: Language) -> &'static Catalogue {
    let [english, chinese] = CATALOGUES.get_or_init(|| [load("en", ENGLISH), load("zh", CHINESE)]);
    match language {
        Language::En => english,
        Language::Zh => chinese,
    }
}

fn load(language: &str, files: Files) -> Catalogue {
    let mut bundle = FluentBundle::new_concurrent(vec![language.parse().expect("a language tag")]);
    // Marks around values would show as odd characters in terminals and files.
    bundle.set_use_isolating(false);
    for (name, source) in files {
        let resource = FluentResource::try_new((*source).to_owned())
            .unwrap_or_else(|(_, errors)| panic!("locales/{language}/{name}.ftl: {errors:?}"));
        if let Err(errors) = bundle.add_resource(resource) {
            panic!("locales/{language}/{name}.ftl: {errors:?}");
        }
    }
    bundle
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;

    thread_local! {
        pub(super) static SPOKEN: Cell<Option<Language>> = const { Cell::new(None) };
    }

    /// What `say` gives in each language, one below the other.
    pub(crate) fn in_both_languages(say: impl Fn() -> String) -> String {
        let said = [Language::En, Language::Zh].map(|language| {
            SPOKEN.set(Some(language));
            say()
        });
        SPOKEN.set(None);
        said.join("\n--------\n")
    }

    /// Texts whose ids are put together at run time, by how they begin.
    const COMPOSED: [&str; 11] = [
        "budget-class-",
        "budget-column-",
        "budget-hold-",
        "budget-step-",
        "fault-K-",
        "help-",
        "config-expected-",
        "status-camera-",
        "record-",
        "clip-",
        "export-clock-",
    ];
    /// Calls whose texts reach a technician.
    const CALLS: [&str; 5] = ["print_line(", "eprintln!(", "bail!(", "context(", "anyhow!("];
    /// What may stand in the source all the same: names, and failures of the program itself.
    const LITERALS: [&str; 6] = [
        "kitchen-agent: {}",
        "refused",
        "the supervisor panicked",
        "can't start thread {name}",
        "can't listen for SIGTERM",
        "can't listen for SIGINT",
    ];

    /// Every id of the catalogue.
    pub(crate) fn ids() -> Vec<String> {
        entries(ENGLISH).into_keys().collect()
    }

    /// Ids with the names of the values that each text takes.
    fn entries(files: Files) -> BTreeMap<String, BTreeSet<String>> {
        let mut entries = BTreeMap::new();
        for (name, source) in files {
            let mut id = String::new();
            for line in source.lines().filter(|line| !line.starts_with('#')) {
                if let Some((found, _)) = line.split_once('=').filter(|_| line.starts_with(char::is_alphabetic)) {
                    found.trim().clone_into(&mut id);
                    let before = entries.insert(id.clone(), BTreeSet::new());
                    assert!(before.is_none(), "{id} stands twice, again in {name}.ftl");
                }
                let values = line.split("{ $").skip(1).filter_map(|rest| rest.split(' ').next());
                entries.entry(id.clone()).or_default().extend(values.map(str::to_owned));
            }
        }
        entries.remove("");
        entries
    }

    fn sources(folder: &Path, found: &mut String) {
        for entry in std::fs::read_dir(folder).expect("the source is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                sources(&path, found);
            } else if !path.to_string_lossy().ends_with("_tests.rs") && path.extension().is_some_and(|end| end == "rs")
            {
                let source = std::fs::read_to_string(&path).expect("readable");
                found.push_str(source.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
    }

    #[test]
    fn both_languages_have_the_same_texts_with_the_same_values() {
        let (english, chinese) = (entries(ENGLISH), entries(CHINESE));
        for (id, values) in &english {
            let other = chinese.get(id).unwrap_or_else(|| panic!("{id} is missing in Chinese"));
            assert_eq!(values, other, "{id}");
        }
        for id in chinese.keys() {
            assert!(english.contains_key(id), "{id} is missing in English");
        }
    }

    #[test]
    fn every_text_that_the_code_names_is_there_and_none_is_left_over() {
        let mut source = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut source);
        let source: String = source.split_whitespace().collect();
        let calls = ["text!(\"", "notice!(\""];
        let named = calls.iter().flat_map(|call| source.split(call).skip(1)).filter_map(|rest| rest.split('"').next());
        let named: BTreeSet<&str> = named.filter(|id| *id != "id").collect();
        let entries = entries(ENGLISH);
        for id in &named {
            assert!(entries.contains_key(*id), "text!(\"{id}\") is not in the catalogue");
        }
        for id in entries.keys().filter(|id| !COMPOSED.iter().any(|start| id.starts_with(start))) {
            let stem = id.strip_suffix("-next").filter(|stem| entries.contains_key(*stem)).unwrap_or(id);
            assert!(source.contains(&format!("\"{stem}\"")), "{id} is used nowhere");
        }
    }

    #[test]
    fn no_text_for_a_technician_stands_in_the_source() {
        let mut source = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut source);
        let mut found = Vec::new();
        for call in CALLS {
            for rest in source.split(call).skip(1) {
                found.extend(literals(arguments(rest)).filter(|literal| has_words(literal)));
            }
        }
        found.retain(|literal| !LITERALS.contains(literal));
        assert!(found.is_empty(), "give these an entry in locales/*/*.ftl and write text!(\"id\"): {found:#?}");
    }

    /// What stands between a call's parentheses.
    fn arguments(rest: &str) -> &str {
        let mut depth = 1;
        for (at, character) in rest.char_indices() {
            depth += match character {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            if depth == 0 {
                return &rest[..at];
            }
        }
        rest
    }

    /// String literals, but for keys and for the ids that a call of the catalogue begins with.
    fn literals(arguments: &str) -> impl Iterator<Item = &str> {
        let pieces: Vec<&str> = arguments.split('"').collect();
        let literals = pieces.windows(2).enumerate().filter(|(number, _)| number % 2 == 0);
        let written = literals.filter(|(_, piece)| {
            !["text!(", "notice!(", "get(", "["].iter().any(|call| piece[0].trim_end().ends_with(call))
        });
        written.map(|(_, piece)| piece[1]).collect::<Vec<_>>().into_iter()
    }

    /// Whether anything is left to read besides `{values}` and escapes.
    fn has_words(literal: &str) -> bool {
        let outside = literal.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, rest)| rest));
        let outside: String = outside.collect::<Vec<_>>().join(" ").replace("\\x1b[2J\\x1b[H", "").replace("\\n", "");
        outside.split(|c: char| !c.is_alphabetic()).any(|word| word.chars().count() > 1)
    }

    #[test]
    fn a_text_takes_its_values_without_marks_around_them() {
        assert_eq!(get_in(Language::En, "next-step", &[("step", &"5 s")]), "Next: 5 s");
        assert_eq!(get_in(Language::Zh, "next-step", &[("step", &"5 秒")]), "下一步：5 秒");
    }
}
