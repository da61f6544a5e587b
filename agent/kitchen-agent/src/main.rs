//! The binary: reads the command line, runs one command, turns its outcome into an exit code.

mod alert_desk;
mod analysis;
mod box_side;
mod cli;
mod clock;
mod command;
mod config_file;
mod control;
mod evidence;
mod fault;
mod frame_slot;
mod log;
mod pipeline;
mod scrub;
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
    scrub::learn(&cli);
    log::start(&cli);
    text::set_language(cli.language());
    match command::run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("kitchen-agent: {}", scrub::text(&format!("{error:#}")));
            cli::exit_of(&error).into()
        }
    }
}
