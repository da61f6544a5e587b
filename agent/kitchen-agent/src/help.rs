//! `--help` in the chosen language: clap's tree of commands as `cli.rs` derives it, its texts from the catalogue.
//! Ids are put together from the names on the way: `help-status`, `help-status-watch`, `help-status-examples`;
//! `help-option-json` for the options that every command takes.

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use crate::cli::Cli;
use crate::text::{self, text};

/// Heading and placeholder in one: clap writes them around what it finds out itself.
const PARTS: [(&str, &str); 3] =
    [("help-arguments", "positionals"), ("help-commands", "subcommands"), ("help-options", "options")];

/// The whole command line, ready to parse and to help.
#[must_use]
pub fn command() -> Command {
    let own = |name: &'static str| Arg::new(name).long(name);
    let help = own("help").short('h').action(ArgAction::Help).global(true);
    let version = own("version").short('V').action(ArgAction::Version);
    let root = Cli::command().disable_help_flag(true).disable_version_flag(true).arg(help).arg(version);
    let mut root = translated(root, "help");
    // Usage lines and the command `help` exist only once clap has built the tree.
    root.build();
    finished(root)
}

/// Commands and arguments with their texts. An id that the catalogue lacks leaves what `cli.rs` says.
fn translated(command: Command, id: &str) -> Command {
    let about = text::get_or(&about_id(id), &command.get_about().map(ToString::to_string).unwrap_or_default());
    let examples = format!("{id}-examples");
    let mut command = command.about(about).mut_args(|argument| {
        let id = argument_id(id, &argument);
        if argument.is_hide_set() || !text::has(&id) {
            return argument;
        }
        let said = format!("{}{}{}", text::get(&id, &[]), default_of(&argument), values_of(&argument));
        let takes_values = argument.get_action().takes_values();
        argument.help(said).hide_default_value(takes_values).hide_possible_values(takes_values)
    });
    if text::has(&examples) {
        command = command.after_help(text::get(&examples, &[]));
    }
    let id = id.to_owned();
    command.mut_subcommands(|inner| {
        let name = format!("{id}-{}", inner.get_name());
        translated(inner, &name)
    })
}

fn about_id(id: &str) -> String {
    if id == "help" { "help-about".to_owned() } else { id.to_owned() }
}

fn argument_id(command: &str, argument: &Arg) -> String {
    let is_everywhere = argument.is_global_set() || argument.get_id() == "version";
    if is_everywhere {
        format!("help-option-{}", argument.get_id())
    } else {
        format!("{command}-{}", argument.get_id())
    }
}

fn default_of(argument: &Arg) -> String {
    match argument.get_default_values() {
        [value] if argument.get_action().takes_values() => {
            text!("help-default", value = value.to_string_lossy())
        }
        _ => String::new(),
    }
}

fn values_of(argument: &Arg) -> String {
    // A placeholder such as `<zh|en>` lists them already.
    let is_listed = argument.get_value_names().is_some_and(|names| names.iter().any(|name| name.contains('|')));
    if is_listed || !argument.get_action().takes_values() {
        return String::new();
    }
    let values: Vec<String> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if values.is_empty() { String::new() } else { text!("help-values", values = values.join(", ")) }
}

/// Headings and usage in the chosen language.
fn finished(mut command: Command) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let usage =
        usage.replace("[OPTIONS]", &text!("help-usage-options")).replace("<COMMAND>", &text!("help-usage-command"));
    let usage = usage.replace("[COMMAND]...", &text!("help-usage-commands"));
    let usage = usage.replace("[COMMAND]", &format!("[{}]", text!("help-usage-command").trim_matches(['<', '>'])));
    let mut template = format!("{{before-help}}{{about-with-newline}}\n{}{{usage}}\n", text!("help-usage"));
    for (heading, placeholder) in PARTS {
        let is_there = match placeholder {
            "positionals" => command.get_positionals().any(|argument| !argument.is_hide_set()),
            "subcommands" => command.has_subcommands(),
            _ => true,
        };
        if is_there {
            template += &format!("\n{}\n{{{placeholder}}}\n", text::get(heading, &[]));
        }
    }
    template = format!("{}{{after-help}}", template.trim_end());
    let is_help = command.get_name() == "help";
    let mut command = command.override_usage(usage).help_template(template);
    if is_help {
        command = command.about(text!("help-help"));
    }
    command.mut_subcommands(finished)
}

#[cfg(test)]
#[path = "help_tests.rs"]
mod tests;
