//! The control socket: one line of JSON asks, one line answers. Only root, the agent's own user and the group of the
//! socket's folder get an answer.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kitchen_core::time::Stamp;
use kitchen_store::{Store, StoreError};
use kitchen_uplink::explain::LinkReason;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, info, warn};

use crate::fault::Fault;
use crate::notice::notice;
use crate::status::{AgentStatus, StatusReport};

const SOCKET: &str = "/run/kitchen-agent/control.sock";
/// A request is longer than this only by mistake.
const LONGEST_REQUEST: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
enum Request {
    Status,
    /// Send a record of this type to the district now; answered by its id.
    SendRecord {
        kind: String,
    },
    /// How far a record has come.
    Delivery {
        id: String,
    },
    /// Queue a message of the outbox again, or give it up; answered by whether it was there.
    ChangeOutbox {
        change: OutboxChange,
        id: String,
    },
    /// Of a newer program.
    #[serde(other)]
    Unknown,
}

/// What a technician does with a waiting message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxChange {
    Requeue,
    Drop,
}

impl OutboxChange {
    /// Whether the message was there.
    ///
    /// # Errors
    /// When the store can't be written.
    pub fn make(self, store: &Store, id: &str, now: Stamp) -> Result<bool, StoreError> {
        match self {
            Self::Requeue => store.outbox_requeue(id),
            Self::Drop => store.outbox_drop(id, now),
        }
    }
}

/// How far a record has come, and how the link fares.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// The district has acknowledged it.
    pub receipted: bool,
    pub connected: bool,
    /// `forbidden`, `refused`, `second_box` or `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The running agent as another program of this box sees it.
#[derive(Debug)]
pub enum AgentState {
    Up(Box<StatusReport>),
    Down,
    /// It holds its socket open and says nothing.
    Silent,
    /// This user may not ask it.
    NotForUs,
}

/// Where the socket lies: systemd's runtime folder, or beside the state where there is none.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    let service = Path::new(SOCKET);
    let has_folder = service.parent().is_some_and(Path::is_dir);
    if has_folder { service.to_owned() } else { state_dir.join("control.sock") }
}

/// Answers until it is dropped.
///
/// # Errors
/// When the socket can't be made.
pub async fn serve(path: PathBuf, status: Arc<AgentStatus>) -> Result<()> {
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)
        .with_context(|| notice!("socket-unopenable", Fault::StateUnwritable, path = path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    info!(socket = %path.display(), "control socket open");
    loop {
        let (stream, _) = listener.accept().await?;
        let status = Arc::clone(&status);
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, answer(stream, status)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(error = format!("{error:#}"), "request not answered"),
                Err(_) => debug!("request took too long"),
            }
        });
    }
}

async fn answer(stream: UnixStream, status: Arc<AgentStatus>) -> Result<()> {
    let peer = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    if peer.uid() != 0 && peer.uid() != own && peer.gid() != group {
        warn!(uid = peer.uid(), "control socket: refused");
        bail!("refused");
    }
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LONGEST_REQUEST)).read_line(&mut line).await?;
    let mut reply = match serde_json::from_str(&line)? {
        Request::Status => {
            let report = tokio::task::spawn_blocking(move || status.report()).await?;
            serde_json::to_vec(&report)?
        }
        Request::SendRecord { kind } => {
            let id = tokio::task::spawn_blocking(move || send(&status, &kind)).await??;
            serde_json::to_vec(&json!({ "id": id }))?
        }
        Request::Delivery { id } => {
            let report = tokio::task::spawn_blocking(move || delivered(&status, &id)).await??;
            serde_json::to_vec(&report)?
        }
        Request::ChangeOutbox { change, id } => {
            let was_there = tokio::task::spawn_blocking(move || {
                let was_there = change.make(&status.store, &id, status.clock.stamp())?;
                info!(message = id, ?change, was_there, "outbox changed by hand");
                status.wake.notify_one();
                anyhow::Ok(was_there)
            });
            serde_json::to_vec(&json!({ "was_there": was_there.await?? }))?
        }
        Request::Unknown => serde_json::to_vec(&json!({ "error": "unknown request" }))?,
    };
    reply.push(b'\n');
    writer.write_all(&reply).await?;
    Ok(())
}

fn send(status: &AgentStatus, kind: &str) -> Result<String> {
    let id = status.store.append_record(status.clock.stamp(), kind, json!({}))?;
    status.wake.notify_one();
    status.hurry.notify_one();
    Ok(id.to_string())
}

fn delivered(status: &AgentStatus, id: &str) -> Result<DeliveryReport> {
    let receipted = status.store.outbox_load(id)?.is_none();
    let link = status.link.borrow().clone();
    let trouble = link.last_error.as_ref().map(|trouble| match trouble.reason {
        LinkReason::TopicForbidden => "forbidden",
        LinkReason::CertificateRefused | LinkReason::NotAuthorised => "refused",
        LinkReason::SecondBox => "second_box",
        _ => "other",
    });
    Ok(DeliveryReport {
        receipted,
        connected: link.connected_since.is_some(),
        trouble: trouble.map(str::to_owned),
        error: link.last_error.map(|trouble| trouble.text),
    })
}

/// Whether an agent runs, and what it says.
#[must_use]
pub fn agent_state(path: &Path) -> AgentState {
    use std::io::ErrorKind;
    match ask::<StatusReport>(path, &Request::Status) {
        Ok(report) => AgentState::Up(Box::new(report)),
        Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => AgentState::Down,
            Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => AgentState::Silent,
            _ => AgentState::NotForUs,
        },
    }
}

/// Lets the agent send a record of this type; its id.
///
/// # Errors
/// When the agent does not do it.
pub fn send_record(path: &Path, kind: &str) -> Result<String> {
    let answer: serde_json::Value = ask(path, &Request::SendRecord { kind: kind.to_owned() })?;
    answer["id"].as_str().map(str::to_owned).with_context(|| notice!("control-other-version", Fault::AgentDown))
}

/// Changes a message of the running agent's outbox; whether it was there.
///
/// # Errors
/// When the agent does not do it.
pub fn change_outbox(path: &Path, change: OutboxChange, id: &str) -> Result<bool> {
    let answer: serde_json::Value = ask(path, &Request::ChangeOutbox { change, id: id.to_owned() })?;
    answer["was_there"].as_bool().with_context(|| notice!("control-other-version", Fault::AgentDown))
}

/// How far that record has come.
///
/// # Errors
/// When the agent does not say.
pub fn delivery(path: &Path, id: &str) -> Result<DeliveryReport> {
    ask(path, &Request::Delivery { id: id.to_owned() })
}

fn ask<T: serde::de::DeserializeOwned>(path: &Path, request: &Request) -> Result<T> {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_vec(request)?;
    request.push(b'\n');
    stream.write_all(&request)?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Asks the running agent how it is.
///
/// # Errors
/// When no agent answers on the socket.
pub fn ask_status(path: &Path) -> Result<StatusReport> {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(path)
        .with_context(|| notice!("agent-no-answer", Fault::AgentDown, socket = path.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_vec(&Request::Status)?;
    request.push(b'\n');
    stream.write_all(&request)?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).context(notice!("agent-other-version", None))
}
