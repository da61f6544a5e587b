//! The binary: reads the command line, runs one command, turns its outcome into an exit code.

mod alert_desk;
mod analysing;
mod analysis;
mod board;
mod box_side;
mod budget;
mod camera_measure;
mod check;
mod cli;
mod clip_stage;
mod clock;
mod command;
mod config_file;
mod control;
mod decoding;
mod desk_job;
mod engine_choice;
mod enrolling;
mod evidence;
mod explain;
mod exported_folder;
mod fault;
mod first_boot;
mod footage;
mod frame_slot;
mod health;
mod help;
mod housekeeping;
mod language;
mod live;
mod log;
mod machine;
mod main_stream;
mod notice;
mod pack;
mod pipeline;
mod recording;
mod renewal;
mod scrub;
mod snapshot;
mod status;
mod supervise;
mod text;
mod wrong_use;

use std::process::ExitCode;

use clap::FromArgMatches as _;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // Before anything is read: help and complaints are texts too.
    text::set_language(language::chosen(&arguments));
    let parsed = help::command().try_get_matches_from(&arguments);
    let cli = match parsed.and_then(|matches| cli::Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return wrong_use::tell(&error).into(),
    };
    scrub::learn(&cli);
    log::start(&cli);
    let _failpoints = fail::FailScenario::setup();
    match command::run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            explain::print(&error);
            cli::exit_of(&error).into()
        }
    }
}
