//! Every decision of the kitchen agent as pure values and state machines.
//! Time, pictures and bytes come in as arguments; decisions go out as values.
//! Never touches a socket, file, thread, clock or runtime.

pub mod alert;
pub mod attributes;
mod backoff;
pub mod budget;
pub mod bystander;
pub mod caps;
pub mod clock_watch;
pub mod closer;
pub mod config;
pub mod detection;
pub mod enrolment;
pub mod episode;
pub mod evaluation;
pub mod evidence;
pub mod exported;
pub mod outbox;
pub mod recording;
pub mod restart;
pub mod rules;
pub mod sample;
pub mod schedule;
pub mod scheduler;
pub mod time;
pub mod time_text;
pub mod tracker;
pub mod transfer;
pub mod view;
pub mod watch;
pub mod wire;
pub mod zone;
