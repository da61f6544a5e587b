//! The binary: reads the command line, runs one command, turns its outcome into an exit code.

mod alert_desk;
mod analysis;
mod box_side;
mod camera_measure;
mod check;
mod cli;
mod clock;
mod command;
mod config_file;
mod control;
mod evidence;
mod fault;
mod frame_slot;
mod health;
mod pipeline;
mod status;
mod text;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no wrong use.
            let _ = error.print();
            return if error.use_stderr() { cli::Exit::WrongUse.into() } else { ExitCode::SUCCESS };
        }
    };
    start_log(&cli);
    text::set_language(cli.language());
    match command::run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("kitchen-agent: {error:#}");
            cli::exit_of(&error).into()
        }
    }
}

/// Diagnostics go to stderr; data alone goes to stdout.
fn start_log(cli: &cli::Cli) {
    // The embedded broker reports every client that leaves as an error.
    let default = match cli.command {
        _ if cli.is_service() => "info",
        // What these find is their output.
        cli::Command::Check { .. } | cli::Command::Camera(_) => "off",
        _ => "warn,rumqttd=off",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("KITCHEN_AGENT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colours = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
