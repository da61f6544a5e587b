//! `kitchen-district ca`: the authority's command line. Data to stdout, diagnostics to stderr.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use kitchen_core::evidence::PublicKey;
use kitchen_core::wire::hex;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::signing::random;
use super::{Authority, EnrolmentReport, Office, Register, Service, Settings, claims, expel, folder, now, office};

const DAY: Duration = Duration::from_secs(86_400);
/// A request of a box with its claim.
const MOST_BYTES: u64 = 32 * 1024;

#[derive(Debug, Args)]
pub struct CaArguments {
    /// The authority's folder
    #[arg(long, value_name = "DIR", global = true, default_value = "/var/lib/kitchen-ca")]
    store: PathBuf,
    /// One JSON document, or one a line where the command streams
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Makes an authority: keys, certificate, an empty register and revocation list
    #[command(after_help = "Example:\n  kitchen-district ca init --store /var/lib/kitchen-ca \\\n      \
        --url https://ca.example:8443 --broker mqtts://broker.example:8883")]
    Init {
        /// Where boxes reach the authority
        #[arg(long, value_name = "https://HOST:PORT")]
        url: String,
        /// Where boxes reach the broker
        #[arg(long, value_name = "mqtts://HOST:PORT")]
        broker: String,
        /// The authority that vouches for the broker [default: this one]
        #[arg(long, value_name = "FILE")]
        broker_ca: Option<PathBuf>,
        /// Of the authority's certificate [default: one that no other has]
        #[arg(long)]
        name: Option<String>,
        /// Of a box's certificate; it renews itself after two thirds
        #[arg(long, value_name = "TIME", default_value = "365d", value_parser = humantime::parse_duration)]
        lifetime: Duration,
    },
    /// A certificate and key for the broker (with --host) or for an account of the district
    #[command(
        after_help = "Examples:\n  kitchen-district ca certificate broker --host broker.example --out /etc/mosquitto/certs\n  \
        kitchen-district ca certificate district --out /etc/kitchen-district"
    )]
    Certificate {
        name: String,
        /// A name or address of the server
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        /// Gets NAME.pem and NAME.key
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[arg(long, value_name = "TIME", default_value = "730d", value_parser = humantime::parse_duration)]
        lifetime: Duration,
    },
    /// Takes a batch's manifest in: from then on its claims are honoured
    Import {
        #[arg(value_name = "MANIFEST")]
        manifest: PathBuf,
    },
    /// The service that enrols and renews boxes
    #[command(after_help = "Example:\n  kitchen-district ca serve --listen 0.0.0.0:8443\n\n\
        Revoked boxes are thrown off the broker too, while it runs.")]
    Serve {
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
        listen: SocketAddr,
        /// Further names and addresses under which boxes reach it
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Answers a box without network: the file of `enrol export` in, the file for `enrol import` out
    #[command(after_help = "Example:\n  kitchen-district ca sign kitchen-request-mh07-000123.json --out /media/usb")]
    Sign {
        #[arg(value_name = "REQUEST")]
        request: PathBuf,
        /// Gets kitchen-answer-DEVICE.json
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
    /// A new claim for a device whose box is replaced, or whose claim has expired
    #[command(after_help = "Example:\n  kitchen-district ca claim mh07-000123 --out /media/usb")]
    Claim {
        device: String,
        /// Only for this board
        #[arg(long)]
        serial: Option<String>,
        /// Gets kitchen-claim.toml
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
        expires: Duration,
    },
    /// Takes a device's certificates back: writes crl.pem for the broker, which then has to load it
    #[command(
        after_help = "Example:\n  kitchen-district ca revoke mh07-000123 --reason 'stolen' && systemctl reload mosquitto\n\n\
        `ca serve` throws the box off the broker; crl.pem keeps it from coming back."
    )]
    Revoke {
        device: String,
        #[arg(long)]
        reason: String,
    },
    /// Prints the evidence key that a device was enrolled with, as PEM, for `kitchen-agent verify --key`
    Key { device: String },
    /// How far the sites are
    #[command(after_help = "Example:\n  kitchen-district ca report --enrolment --receiver /var/lib/kitchen-district")]
    Report(ReportArguments),
    /// What the authority did, oldest first
    Audit {
        /// Of this device only
        device: Option<String>,
    },
}

#[derive(Debug, Args)]
struct ReportArguments {
    /// Of each site: waiting, enrolled, seen, revoked, and what points to a second box
    #[arg(long, required = true)]
    enrolment: bool,
    /// The receiver's folder: which boxes were seen at the broker, and its alarms
    #[arg(long, value_name = "DIR")]
    receiver: Option<PathBuf>,
}

/// Runs one of the authority's commands.
///
/// # Errors
/// What kept it from being done.
pub fn run(arguments: CaArguments) -> Result<()> {
    let CaArguments { store, json, command } = arguments;
    match command {
        CaCommand::Init { url, broker, broker_ca, name, lifetime } => {
            let own = || format!("Kitchen district authority {}", hex(&random::<3>()));
            let name = name.unwrap_or_else(own);
            let settings = Settings { name, url, broker, lifetime_s: lifetime.as_secs() };
            init(&store, &settings, broker_ca.as_deref(), json)
        }
        CaCommand::Certificate { name, hosts, out, lifetime } => {
            certificate(&store, &name, &hosts, &out, lifetime, json)
        }
        CaCommand::Import { manifest } => import(&store, &manifest, json),
        CaCommand::Serve { listen, hosts } => serve(&store, listen, hosts, json),
        CaCommand::Sign { request, out } => sign(&store, &request, &out, json),
        CaCommand::Claim { device, serial, out, expires } => claim(&store, &device, serial, &out, expires, json),
        CaCommand::Revoke { device, reason } => revoke(&store, &device, &reason, json),
        CaCommand::Key { device } => key(&store, &device, json),
        CaCommand::Report(ReportArguments { receiver, .. }) => report(&store, receiver.as_deref(), json),
        CaCommand::Audit { device } => audit(&store, device.as_deref(), json),
    }
}

fn init(store: &Path, settings: &Settings, broker_ca: Option<&Path>, json: bool) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()));
    let broker_ca = broker_ca.map(read).transpose()?;
    Authority::make(store, settings, broker_ca.as_deref(), now())?;
    let text = format!(
        "authority made in {0}\nback {0} up: without its keys no box can be enrolled or renewed\nnext: \
         kitchen-district ca certificate broker --host NAME --out DIR --store {0}\n",
        store.display()
    );
    say(json, &json!({ "store": store, "ca": store.join("ca.pem"), "crl": store.join(folder::REVOCATION_LIST) }), &text)
}

fn certificate(store: &Path, name: &str, hosts: &[String], out: &Path, lifetime: Duration, json: bool) -> Result<()> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    anyhow::ensure!(is_name && !name.starts_with('.'), "{name:?} can't be a name: expected letters, digits and -_.");
    let authority = Authority::open(store)?;
    let is_box = Register::open(store)?.newest_claim(name)?.is_some();
    anyhow::ensure!(!is_box, "{name} is a box: it makes its own key, see kitchen-district ca claim");
    let (issued, key) = authority.signer.account(name, hosts, lifetime, now())?;
    let (pem, secret) = (out.join(format!("{name}.pem")), out.join(format!("{name}.key")));
    folder::write_secret(&secret, key.as_bytes())?;
    folder::write(&pem, issued.pem.as_bytes())?;
    let text = format!("{} and {}, until {}\n", pem.display(), secret.display(), issued.not_after);
    say(json, &json!({ "certificate": pem, "key": secret, "not_after": issued.not_after }), &text)
}

fn import(store: &Path, manifest: &Path, json: bool) -> Result<()> {
    let authority = Authority::open(store)?;
    let text = fs::read_to_string(manifest).with_context(|| format!("{} can't be read", manifest.display()))?;
    let count = claims::import(&authority, &Register::open(store)?, &text, now())?;
    say(json, &json!({ "imported": count }), &format!("{count} boxes may be enrolled from now on\n"))
}

fn serve(store: &Path, listen: SocketAddr, hosts: Vec<String>, json: bool) -> Result<()> {
    kitchen_uplink::install_crypto();
    let (authority, register) = (Authority::open(store)?, Register::open(store)?);
    // One that was not written before a crash would let a revoked box in.
    authority.write_revocation_list(&register, now())?;
    let office = Arc::new(Office::new(authority, register));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (stopper, stop) = watch::channel(false);
        let (service, mut events) = Service::bind(Arc::clone(&office), listen, hosts).await?;
        tracing::info!(address = ?service.address(), url = office.authority.settings.url, "authority running");
        let expelling = tokio::spawn(expel::run(office, stop.clone()));
        let mut serving = tokio::spawn(service.run(stop));
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                ended = &mut serving => return Ok(ended??),
                _ = interrupted.recv() => None,
                _ = terminated.recv() => None,
            };
            let Some(event) = event else { break };
            say(json, &serde_json::to_value(&event)?, &line(&event))?;
        }
        stopper.send_replace(true);
        let _ = tokio::time::timeout(Duration::from_secs(3), async { tokio::join!(expelling, serving) }).await;
        anyhow::Ok(())
    })
}

fn sign(store: &Path, request: &Path, out: &Path, json: bool) -> Result<()> {
    let office = Office::new(Authority::open(store)?, Register::open(store)?);
    let unreadable = || format!("{} can't be read", request.display());
    let bytes = fs::metadata(request).with_context(unreadable)?.len();
    anyhow::ensure!(bytes <= MOST_BYTES, "{} has {bytes} bytes: it is no request of a box", request.display());
    let body = fs::read(request).with_context(unreadable)?;
    let (answer, event) = office.enrol(&body, "file", now());
    let enrolment = match answer {
        Ok(enrolment) => enrolment,
        Err(_) => anyhow::bail!("{} is not enrolled: {}", event.device, event.detail),
    };
    let path = out.join(format!("kitchen-answer-{}.json", enrolment.device));
    folder::write(&path, serde_json::to_string_pretty(&enrolment)?.as_bytes())?;
    let text = format!("{}\nnext, on the box: kitchen-agent enrol import {}\n", path.display(), path.display());
    say(json, &json!({ "device": enrolment.device, "answer": path }), &text)
}

fn claim(store: &Path, device: &str, serial: Option<String>, out: &Path, expires: Duration, json: bool) -> Result<()> {
    anyhow::ensure!(expires <= 3650 * DAY, "a claim may wait for ten years at most");
    let (authority, register) = (Authority::open(store)?, Register::open(store)?);
    let claim = claims::new_claim(&authority, &register, device, serial, expires, now())?;
    let path = out.join(kitchen_core::enrolment::CLAIM_FILE);
    folder::write_secret(&path, claim.to_toml().as_bytes())?;
    let text = format!("{} for {device}, until {}\n", path.display(), claim.expires);
    say(json, &json!({ "device": device, "claim": path, "expires": claim.expires }), &text)
}

fn revoke(store: &Path, device: &str, reason: &str, json: bool) -> Result<()> {
    let (authority, register, now) = (Authority::open(store)?, Register::open(store)?, now());
    let known = register.newest_claim(device)?.is_some();
    anyhow::ensure!(known, "{device} is not known: check the device id with kitchen-district ca report");
    let count = register.transaction(|| {
        let count = register.revoke_certificates(device, now)?;
        register.insert_revoked_device(device, reason, now)?;
        register.note(&office::audit("revoked", device, "command line", reason.to_owned(), now))?;
        anyhow::Ok(count)
    })?;
    authority.write_revocation_list(&register, now)?;
    let list = store.join(folder::REVOCATION_LIST);
    let text = format!(
        "{device} is revoked ({count} certificates); the broker has to load {}: systemctl reload mosquitto\n",
        list.display()
    );
    say(json, &json!({ "device": device, "certificates": count, "crl": list }), &text)
}

fn key(store: &Path, device: &str, json: bool) -> Result<()> {
    Authority::open(store)?;
    let held = Register::open(store)?.newest_certificates()?.into_iter().find(|row| row.device == device);
    let held = held.with_context(|| format!("{device} is not enrolled"))?;
    let key: PublicKey = held.evidence_key.parse().context("the register holds no key for it")?;
    say(json, &json!({ "device": device, "key": key.to_string() }), &key.to_pem())
}

fn report(store: &Path, receiver: Option<&Path>, json: bool) -> Result<()> {
    Authority::open(store)?;
    let report = EnrolmentReport::make(&Register::open(store)?, receiver, now())?;
    say(json, &serde_json::to_value(&report)?, &report.text())
}

fn audit(store: &Path, device: Option<&str>, json: bool) -> Result<()> {
    Authority::open(store)?;
    for event in Register::open(store)?.audit(device)? {
        say(json, &serde_json::to_value(&event)?, &line(&event))?;
    }
    Ok(())
}

fn line(event: &super::AuditEvent) -> String {
    let device = if event.device.is_empty() { "-" } else { &event.device };
    format!("{}  {:<10} {device}  {}  {}\n", event.at, event.event, event.peer, event.detail)
}

fn say(json: bool, value: &serde_json::Value, text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let said = if json { writeln!(stdout, "{value}") } else { stdout.write_all(text.as_bytes()) };
    said.and_then(|()| stdout.flush()).context("stdout is gone")
}
