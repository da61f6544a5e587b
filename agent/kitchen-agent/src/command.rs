//! One file a subcommand; here is only which is which.

mod alert_show;
mod alerts;
mod bundle;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod detect;
mod log;
mod model;
mod outbox;
mod replay;
mod run;
mod status;

use anyhow::Result;

use crate::cli::{AlertsCommand, Cli, Command, ConfigCommand, Exit, ModelCommand, OutboxCommand};
use crate::scrub;

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
        Command::Alerts(AlertsCommand::List { limit }) => alerts::list(cli, *limit),
        Command::Alerts(AlertsCommand::Show { id }) => alert_show::run(cli, id),
        Command::Outbox(OutboxCommand::List { limit }) => outbox::list(cli, *limit),
        Command::Outbox(OutboxCommand::Show { id }) => outbox::show(cli, id),
        Command::Log(arguments) => log::run(cli, arguments),
        Command::Bundle(arguments) => bundle::run(cli, arguments),
        Command::Config(ConfigCommand::Show) => config::show(cli),
        Command::Config(ConfigCommand::Validate) => config::validate(cli),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(cli, arguments),
        _ => Ok(not_available()),
    }
}

fn not_available() -> Exit {
    eprintln!("kitchen-agent: not available in this version");
    Exit::CouldNotCheck
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
