//! The control socket: one line of JSON asks, one line answers. Only root, the agent's own user and the group of the
//! socket's folder get an answer.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
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
    };
    reply.push(b'\n');
    writer.write_all(&reply).await?;
    Ok(())
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
