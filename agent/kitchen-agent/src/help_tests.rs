use std::collections::BTreeSet;

use super::*;
use crate::text::tests::{ids, in_both_languages};

/// Ids of every command and argument that help shows.
fn wanted(command: &Command, id: &str, into: &mut BTreeSet<String>) {
    into.insert(about_id(id));
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    into.extend(shown.map(|argument| argument_id(id, argument)));
    for inner in command.get_subcommands() {
        wanted(inner, &format!("{id}-{}", inner.get_name()), into);
    }
}

fn all_wanted() -> BTreeSet<String> {
    let mut all = BTreeSet::from(["help-option-help".to_owned(), "help-option-version".to_owned()]);
    wanted(&Cli::command(), "help", &mut all);
    all
}

#[test]
fn every_command_and_argument_has_its_help_in_the_catalogue() {
    let missing: Vec<String> = all_wanted().into_iter().filter(|id| !text::has(id)).collect();
    assert!(missing.is_empty(), "add these to locales/*/help.ftl: {missing:#?}");
}

#[test]
fn no_help_is_left_over_of_a_command_that_is_gone() {
    let wanted = all_wanted();
    let source = include_str!("help.rs");
    let is_left_over = |id: &String| {
        let stem = id.strip_suffix("-examples").unwrap_or(id);
        let is_of_a_command = wanted.contains(id) || wanted.contains(&about_id(stem));
        id.starts_with("help-") && !is_of_a_command && !source.contains(&format!("\"{id}\""))
    };
    let left_over: Vec<String> = ids().into_iter().filter(is_left_over).collect();
    assert!(left_over.is_empty(), "{left_over:#?}");
}

fn help_of(arguments: &[&str]) -> String {
    in_both_languages(|| {
        let arguments = ["kitchen-agent"].iter().chain(arguments).chain(&["--help"]);
        command().try_get_matches_from(arguments).expect_err("help is no command").to_string()
    })
}

#[test]
fn help_in_both_languages() {
    insta::assert_snapshot!("help", help_of(&[]));
    insta::assert_snapshot!("help_replay", help_of(&["replay"]));
    insta::assert_snapshot!("help_model_bench", help_of(&["model", "bench"]));
    insta::assert_snapshot!("help_model", help_of(&["model"]));
}

#[test]
fn nothing_of_clap_itself_is_left_in_chinese_help() {
    let all = [&[][..], &["status"], &["model"], &["model", "bench"], &["alerts", "list"], &["demo"], &["check"]];
    for arguments in all {
        let help = help_of(arguments);
        let (_, chinese) = help.split_once("--------").expect("both languages");
        for english in
            ["Usage", "Options", "Commands", "Arguments", "OPTIONS", "COMMAND", "Print", "default", "possible"]
        {
            assert!(!chinese.contains(english), "{english} in the help of {arguments:?}:\n{chinese}");
        }
    }
}
