//! One file a subcommand; here is only which is which.

mod alert_show;
mod alerts;
mod budget;
mod bundle;
mod camera;
mod camera_clip;
mod check;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod detect;
mod enrol;
mod eval;
mod export;
mod live;
mod log;
mod model;
mod outbox;
mod replay;
mod run;
mod status;
mod verify;

use anyhow::Result;

use kitchen_core::rules::RuleId;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::{
    AlertsCommand, CameraCommand, Cli, Command, ConfigCommand, Exit, Language, ModelCommand, OutboxCommand,
};
use crate::control::OutboxChange;
use crate::notice::notice;
use crate::scrub;
use crate::text::{self, text};

/// Runs the chosen command.
///
/// # Errors
/// Why it could not be done; [`crate::cli::exit_of`] tells the exit code.
pub fn run(cli: &Cli) -> Result<Exit> {
    match &cli.command {
        Command::Run => run::run(cli),
        Command::Status { watch } => status::run(cli, *watch),
        Command::Replay(arguments) => replay::run(cli, arguments),
        Command::Detect(arguments) => detect::run(cli, arguments),
        Command::Model(ModelCommand::List) => model::list(cli),
        Command::Model(ModelCommand::Verify) => model::verify(cli),
        Command::Model(ModelCommand::Bench { runs }) => model::bench(cli, *runs),
        Command::Model(ModelCommand::Eval(arguments)) => eval::run(cli, arguments),
        Command::Alerts(AlertsCommand::List { limit }) => alerts::list(cli, *limit),
        Command::Alerts(AlertsCommand::Show { id }) => alert_show::run(cli, id),
        Command::Alerts(AlertsCommand::Export { id, folder, original }) => export::run(cli, id, folder, *original),
        Command::Verify(arguments) => verify::run(cli, arguments),
        Command::Outbox(OutboxCommand::List { limit }) => outbox::list(cli, *limit),
        Command::Outbox(OutboxCommand::Show { id }) => outbox::show(cli, id),
        Command::Outbox(OutboxCommand::Requeue { id }) => outbox::change(cli, id, OutboxChange::Requeue),
        Command::Outbox(OutboxCommand::Drop { id }) => outbox::change(cli, id, OutboxChange::Drop),
        Command::Log(arguments) => log::run(cli, arguments),
        Command::Bundle(arguments) => bundle::run(cli, arguments),
        Command::Enrol(arguments) => enrol::run(cli, arguments),
        Command::Budget(arguments) => budget::run(cli, arguments),
        Command::Check { names } => check::run(cli, names),
        Command::Camera(CameraCommand::Probe { camera, username, password_file }) => {
            camera::probe(cli, camera, username.as_deref(), password_file.as_deref())
        }
        Command::Camera(CameraCommand::Clip(arguments)) => camera_clip::run(cli, arguments),
        Command::Camera(CameraCommand::Snapshot { camera, out }) => camera::snapshot(cli, camera.as_deref(), out),
        Command::Camera(CameraCommand::Live { camera, listen }) => live::run(cli, camera.as_deref(), *listen),
        Command::Config(ConfigCommand::Show) => config::show(cli),
        Command::Config(ConfigCommand::Validate) => config::validate(cli),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(cli, arguments),
        _ => Err(notice!("not-available", None).into()),
    }
}

/// The rule's name in the chosen language; its id where it is of a newer agent.
fn rule_name(id: &str) -> String {
    let Ok(rule) = id.parse::<RuleId>() else { return id.to_owned() };
    let defaults = rule.defaults();
    match text::language() {
        Language::Zh => defaults.chinese.to_owned(),
        Language::En => defaults.english.to_owned(),
    }
}

/// `alert.opened` in the chosen language.
fn record_name(record: &str) -> String {
    let kind = record.strip_prefix("alert.").unwrap_or(record);
    text::get_or(&format!("record-{kind}"), kind)
}

pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => text!("duration-seconds", s = seconds),
        60..3600 => text!("duration-minutes", min = seconds / 60),
        _ => text!("duration-hours", h = seconds / 3600, min = seconds / 60 % 60),
    }
}

/// Columns that a text takes in a terminal: two for a Chinese character.
fn width(text: &str) -> usize {
    text.width()
}

/// The text with spaces up to `columns`, and one at least.
fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text)).max(1);
    format!("{text}{}", " ".repeat(missing))
}

/// What was asked for can't be had: why, and the next step, on stderr.
fn refused(text: &str, exit: Exit) -> Exit {
    eprintln!("kitchen-agent: {}", scrub::text(text));
    exit
}

/// Data on stdout, a line, without secrets. A reader that has gone away ends the program as it does other tools.
fn print_line(line: &str) {
    print_clean(&scrub::text(line));
}

fn print_clean(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A value as one JSON document on stdout, without secrets.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value)?;
    match scrub::text(&text) {
        std::borrow::Cow::Borrowed(clean) => print_clean(clean),
        std::borrow::Cow::Owned(_) => {
            let clean = scrub::value(serde_json::to_value(value)?);
            print_clean(&serde_json::to_string(&clean)?);
        }
    }
    Ok(())
}
