//! One file a subcommand; here is only which is which.

mod alerts;
mod camera;
mod check;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod detect;
mod model;
mod replay;
mod run;
mod status;

use anyhow::Result;

use crate::cli::{AlertsCommand, CameraCommand, Cli, Command, ConfigCommand, Exit, ModelCommand};

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
        Command::Check { names } => check::run(cli, names),
        Command::Camera(CameraCommand::Probe { camera, username, password_file }) => {
            camera::probe(cli, camera, username.as_deref(), password_file.as_deref())
        }
        Command::Camera(CameraCommand::Snapshot { camera, out }) => camera::snapshot(cli, camera.as_deref(), out),
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

/// Data on stdout, a line. A reader that has gone away ends the program as it does other tools.
fn print_line(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A value as one JSON document on stdout.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print_line(&serde_json::to_string(value)?);
    Ok(())
}
