//! The reference receiver as a program: events to stdout, diagnostics to stderr.
//! Exit 0 ended on request or done, 1 problem found, 2 could not run or not available, 64 wrong use.

mod batch_command;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use kitchen_district::batch::BatchOptions;
use kitchen_district::{District, DistrictOptions, ca};
use kitchen_uplink::LinkOptions;
use tokio::signal::unix::{SignalKind, signal};

/// As sysexits.h has it.
const WRONG_USE: u8 = 64;

/// Receives what the boxes of a district send, stores it and acknowledges it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    receive: Receive,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Receive {
    /// `mqtts://host:port`, or `mqtt://` on loopback
    #[arg(long, value_name = "URL", required = true)]
    broker: Option<String>,
    /// Folder of the database, snapshots and clips
    #[arg(long, value_name = "DIR", required = true)]
    store: Option<PathBuf>,
    /// The CA that signed the broker's certificate
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The district's certificate
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// MQTT client id; equals the certificate's CN
    #[arg(long, value_name = "ID", default_value = "kitchen-district")]
    client_id: String,
    /// One JSON document a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the evidence key that a box showed first, as PEM, for `kitchen-agent verify --key`
    Key {
        device: String,
        /// The folder of the receiver, which may run
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
    },
    /// Makes claims, labels and the platform's table for many boxes
    #[command(after_help = batch_command::EXAMPLE)]
    Batch(batch_command::BatchArguments),
    /// The authority that enrols boxes, renews and revokes their certificates
    Ca(ca::command::CaArguments),
    /// Sends a command to a box
    Send { device: String, name: String, arguments: Vec<String> },
    /// Sends the configuration wanted to a box
    Desired { device: String, file: PathBuf },
    /// Sends an inspector's verdict to a box
    Feedback { device: String, alert: String, verdict: String },
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,rumqttc=error")),
        )
        .with_ansi(std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG_USE) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Some(Command::Key { device, store }) => print_key(&device, &store).map(|()| ExitCode::SUCCESS),
        Some(Command::Batch(arguments)) => batch(arguments),
        Some(Command::Ca(arguments)) => ca::command::run(arguments).map(|()| ExitCode::SUCCESS),
        Some(_) => Err(anyhow::anyhow!("not available in this version; run kitchen-district without a subcommand")),
        None => receive(cli.receive).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kitchen-district: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn print_key(device: &str, store: &Path) -> anyhow::Result<()> {
    let key = kitchen_district::evidence_key(store, device)?;
    let key = key.with_context(|| format!("{device} has shown no evidence key yet: see its up/state"))?;
    std::io::stdout().write_all(key.to_pem().as_bytes())?;
    Ok(())
}

fn batch(arguments: batch_command::BatchArguments) -> anyhow::Result<ExitCode> {
    let (authority, register) = (ca::Authority::open(&arguments.store)?, ca::Register::open(&arguments.store)?);
    let options = BatchOptions {
        taken: register.devices()?,
        ca_pem: authority.ca_pem,
        key: authority.key,
        url: authority.settings.url,
        now: ca::now(),
        sites: arguments.sites,
        out: arguments.out,
        batch: arguments.batch,
        valid_for: arguments.expires,
        font: arguments.font,
    };
    batch_command::run(&options, arguments.json)
}

fn receive(arguments: Receive) -> anyhow::Result<()> {
    kitchen_uplink::install_crypto();
    let broker = arguments.broker.context("--broker is missing")?;
    let mut link = LinkOptions::new(&broker, &arguments.client_id);
    link.ca_file = arguments.ca;
    link.certificate_file = arguments.certificate;
    link.key_file = arguments.key;
    link.keepalive_s = 60;
    let options = DistrictOptions { link, store: arguments.store.context("--store is missing")? };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    runtime.block_on(print_events(options, arguments.json))
}

async fn print_events(options: DistrictOptions, json: bool) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt()).context("signals can't be received")?;
    let mut terminated = signal(SignalKind::terminate()).context("signals can't be received")?;
    let mut district = District::start(options)?;
    loop {
        let event = tokio::select! {
            event = district.next() => event,
            _ = interrupted.recv() => None,
            _ = terminated.recv() => None,
        };
        let Some(event) = event else { break };
        let line = if json { event.json() } else { event.line() };
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
            // Whoever read the events is gone.
            break;
        }
    }
    district.stop().await;
    Ok(())
}
