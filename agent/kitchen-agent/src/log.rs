//! Where diagnostics go: to the journal with their fields when systemd runs the agent, else to standard error.
//! Nothing is written unscrubbed, and a panic is an event like others.

use std::fmt::{Debug, Write as _};
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::panic::PanicHookInfo;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, error};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::{Cli, Command};
use crate::scrub::{self, ScrubbedStderr};

/// Overrides what is logged, e.g. `debug`.
const FILTER: &str = "KITCHEN_AGENT_LOG";

/// Starts the log and reports panics to it.
pub fn start(cli: &Cli) {
    // The embedded broker reports every client that leaves as an error.
    let default = match cli.command {
        _ if cli.is_service() => "info",
        // What these find is their output.
        Command::Check { .. } | Command::Camera(_) => "off",
        _ => "warn,rumqttd=off",
    };
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default));
    let journal = (cli.is_service() && is_read_by_the_journal()).then(Journal::open).flatten();
    // Fields of spans would go there unscrubbed, and only libraries have spans.
    let journal = journal.map(|journal| journal.with_filter(filter_fn(|metadata| metadata.is_event())));
    let stderr = journal.is_none().then(|| {
        let colours = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
        fmt::layer().with_writer(|| ScrubbedStderr).with_ansi(colours)
    });
    tracing_subscriber::registry().with(journal).with(stderr).with(filter).init();
    std::panic::set_hook(Box::new(report));
}

/// Whether standard error is the stream to the journal that systemd made, and not one that was redirected since.
fn is_read_by_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

fn report(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("without a message");
    let thread = std::thread::current();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(thread = thread.name().unwrap_or("?"), location, message = %scrub::text(message), "panicked");
}

/// The journal. An event that holds a secret goes to it as one scrubbed line instead of as fields.
struct Journal(tracing_journald::Layer);

impl Journal {
    fn open() -> Option<Self> {
        let levels =
            PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() };
        let layer = tracing_journald::layer().ok()?;
        Some(Self(layer.with_priority_mappings(levels)))
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        match scrub::text(&line.0) {
            std::borrow::Cow::Borrowed(_) => self.0.on_event(event, context),
            std::borrow::Cow::Owned(clean) => {
                // What systemd reads at the head of a line is its priority.
                let priority = match *event.metadata().level() {
                    tracing::Level::ERROR => 3,
                    tracing::Level::WARN => 4,
                    tracing::Level::INFO => 6,
                    _ => 7,
                };
                eprintln!("<{priority}>{}", clean.replace('\n', " "));
            }
        }
    }
}

/// An event as text: its message, then its fields.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("a string takes everything");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &value);
    }
}
