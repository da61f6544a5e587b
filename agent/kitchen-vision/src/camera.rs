//! One camera, for ever: open, deliver access units, lose it, wait, open again.
//! A configuration and a resolved password come in; [`CameraEvent`]s go out.
//! No error, log line or debug text ever holds a password or a URL's credentials.

mod backoff;
pub mod file;
mod greeting;
mod rtsp;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kitchen_core::config::{CameraConfig, Transport};
use kitchen_core::time::Clock;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use url::Url;

use crate::access_unit::{AccessUnit, StreamInfo};
use crate::camera::backoff::Backoff;

pub use crate::camera::file::FileVideo;
pub use crate::camera::greeting::Greeting;

/// A camera that delivers no access unit for so long is hung.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a camera can't be used now. Each message says what to check or change.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    #[error("camera address {url:?} can't be used: {reason}; expected rtsp://host/path or file:///path.mp4")]
    Url { url: String, reason: String },
    #[error("camera refused {}: check username and password_file", who(user.as_deref()))]
    Credentials { user: Option<String> },
    #[error("can't reach camera at {address}: {reason}; check its power, cable and address")]
    Unreachable { address: String, reason: String },
    #[error("camera did not answer within {seconds} s while {doing}; check its load and the network")]
    TimedOut { doing: &'static str, seconds: u64 },
    #[error("camera answered {status} to the request for {path:?}: check the path in url, and that the stream is on")]
    Status { status: u16, path: String },
    #[error("camera offers no video stream at this path: check the path in url")]
    NoVideo,
    #[error(
        "camera sends {encoding}, which this agent can't decode: set the sub-stream's encoding to H.264 \
         in the camera's menu (Video → Encoding)"
    )]
    Encoding { encoding: String },
    #[error("stream damaged, connecting again: {reason}")]
    Damaged { reason: String },
    #[error("camera hung: no picture for {seconds} s; if it repeats, restart the camera")]
    Hung { seconds: u64 },
    #[error("camera ended the stream")]
    Ended,
    #[error("can't read video {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} is no MP4 that this agent can read ({reason}): convert it with ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4", path.display())]
    NotMp4 { path: PathBuf, reason: String },
    #[error("{} is cut off before its index (moov): copy the file again", path.display())]
    CutOff { path: PathBuf },
    #[error("{} is cut off and ends early at {at_ms} ms of {duration_ms} ms: copy the file again", path.display())]
    EndsEarly { path: PathBuf, at_ms: u64, duration_ms: u64 },
}

fn who(user: Option<&str>) -> String {
    user.map_or_else(|| "access without a user".to_owned(), |user| format!("user {user:?}"))
}

/// What a camera's task reports, in order.
#[derive(Debug)]
pub enum CameraEvent {
    /// Timestamps start afresh, and parameters may differ: what was kept of an earlier session ends here.
    Opened(StreamInfo),
    Unit(AccessUnit),
    /// Also when it could not be opened.
    Lost {
        error: CameraError,
    },
}

/// A text that must not be shown.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug)]
enum Location {
    Rtsp { url: Url, credentials: Option<(String, Secret)> },
    File(PathBuf),
}

/// Where one stream of one camera comes from.
#[derive(Clone, Debug)]
pub struct CameraSource {
    id: String,
    location: Location,
    transport: Transport,
}

impl CameraSource {
    /// The sub-stream, `url`. Credentials in the URL hold where the configuration has no username.
    ///
    /// # Errors
    /// [`CameraError::Url`].
    pub fn new(config: &CameraConfig, password: Option<String>) -> Result<Self, CameraError> {
        Self::from_url(config, &config.url, password)
    }

    /// The main stream, `main_url`, where there is one.
    ///
    /// # Errors
    /// [`CameraError::Url`].
    pub fn main_stream(config: &CameraConfig, password: Option<String>) -> Result<Option<Self>, CameraError> {
        config.main_url.as_deref().map(|url| Self::from_url(config, url, password)).transpose()
    }

    fn from_url(config: &CameraConfig, text: &str, password: Option<String>) -> Result<Self, CameraError> {
        let wrong = |reason: &str| CameraError::Url { url: without_credentials(text), reason: reason.to_owned() };
        let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        let location = match url.scheme() {
            "rtsp" if url.host_str().is_some_and(|host| !host.is_empty()) => {
                let credentials = take_credentials(&mut url, config.username.as_deref(), password);
                Location::Rtsp { url, credentials }
            }
            "rtsp" => return Err(wrong("no host")),
            "file" => Location::File(url.to_file_path().map_err(|()| wrong("no absolute path"))?),
            other => return Err(wrong(&format!("unknown scheme {other:?}"))),
        };
        Ok(Self { id: config.id.clone(), location, transport: config.transport })
    }

    /// The camera's id in the configuration.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The address without credentials.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.location {
            Location::Rtsp { url, .. } => url.to_string(),
            Location::File(path) => format!("file://{}", path.display()),
        }
    }

    /// Whether the camera answers at all, without opening a stream.
    ///
    /// # Errors
    /// [`CameraError::Unreachable`], [`CameraError::TimedOut`] when it takes the connection and says nothing.
    pub async fn greet(&self, limit: Duration) -> Result<Greeting, CameraError> {
        match &self.location {
            Location::Rtsp { url, .. } => greeting::ask(url, limit).await,
            Location::File(path) => match tokio::fs::File::open(path).await {
                Ok(_) => Ok(Greeting::default()),
                Err(source) => Err(CameraError::File { path: path.clone(), source }),
            },
        }
    }

    /// Whether it is a video file instead of a camera.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.location, Location::File(_))
    }

    /// Opens once and delivers units until the stream is lost; returns why.
    /// Returns [`CameraError::Ended`] too when the receiver is gone.
    pub async fn run_once(&self, clock: &Arc<dyn Clock>, sender: &mpsc::Sender<CameraEvent>) -> CameraError {
        let result = match &self.location {
            Location::Rtsp { url, credentials } => {
                let credentials = credentials.as_ref().map(|(user, password)| (user.as_str(), password.0.as_str()));
                Box::pin(rtsp::play(url, credentials, self.transport, clock, sender)).await
            }
            Location::File(path) => file::play(path, clock, sender).await,
        };
        result.err().unwrap_or(CameraError::Ended)
    }
}

/// Delivers a camera's events until `cancel` is true, its sender is dropped, or the receiver of `sender` is gone.
/// A full channel holds the camera back. Pauses between attempts are random, up to a bound that doubles from 2 s to
/// 30 s and starts again after a healthy minute.
pub async fn run(
    source: CameraSource,
    clock: Arc<dyn Clock>,
    sender: mpsc::Sender<CameraEvent>,
    mut cancel: watch::Receiver<bool>,
) {
    let mut cancel_wait = cancel.clone();
    let cancelled = async move {
        // An error means that nobody can cancel any more: the owner is gone.
        let _ = cancel_wait.wait_for(|cancelled| *cancelled).await;
    };
    tokio::select! {
        () = cancelled => debug!(camera = %source.id, "camera task cancelled"),
        () = keep_running(&source, &clock, &sender) => {}
    }
    cancel.mark_unchanged();
}

async fn keep_running(source: &CameraSource, clock: &Arc<dyn Clock>, sender: &mpsc::Sender<CameraEvent>) {
    let mut backoff = Backoff::default();
    let mut last_error = String::new();
    while !sender.is_closed() {
        info!(camera = %source.id, address = %source.address(), "opening camera");
        let opened = clock.mono();
        let error = source.run_once(clock, sender).await;
        let pause = backoff.pause(clock.mono().since(opened), fastrand::f64());
        let text = error.to_string();
        if text == last_error {
            debug!(camera = %source.id, error = %text, pause_ms = pause.as_millis(), "camera still lost");
        } else {
            warn!(camera = %source.id, error = %text, "camera lost");
            last_error = text;
        }
        if sender.send(CameraEvent::Lost { error }).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Moves user and password out of `url`. The configuration's username goes first.
fn take_credentials(url: &mut Url, username: Option<&str>, password: Option<String>) -> Option<(String, Secret)> {
    let decode = |text: &str| percent_decode(text);
    let in_url = (!url.username().is_empty()).then(|| {
        let password = url.password().map(decode).unwrap_or_default();
        (decode(url.username()), password)
    });
    // Can't fail: the URL has a host.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    let (user, from_url) = match (username, in_url) {
        (Some(user), in_url) => {
            (user.to_owned(), in_url.filter(|(other, _)| other == user).map(|(_, password)| password))
        }
        (None, Some((user, password))) => (user, Some(password)),
        (None, None) => return None,
    };
    Some((user, Secret(password.or(from_url).unwrap_or_default())))
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A text that may be a URL, without what stands between `//` and the last `@` of its authority.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("//") else {
        return text.rsplit_once('@').map_or(text, |(_, rest)| rest).to_owned();
    };
    // A password may hold an unescaped '/': cut at the last '@' of the whole text rather than show a part of it.
    rest.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("{scheme}//{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, username: Option<&str>) -> CameraConfig {
        CameraConfig {
            id: "cam1".into(),
            url: url.into(),
            main_url: None,
            username: username.map(str::to_owned),
            password_file: None,
            transport: Transport::Tcp,
            analyse_fps: 2.0,
            zones: Vec::new(),
            privacy_masks: Vec::new(),
        }
    }

    fn credentials(source: &CameraSource) -> Option<(String, String)> {
        match &source.location {
            Location::Rtsp { credentials, .. } => credentials.clone().map(|(user, Secret(password))| (user, password)),
            Location::File(_) => None,
        }
    }

    #[test]
    fn credentials_are_moved_out_of_the_url_and_never_shown() {
        for (url, user, file, expected) in [
            ("rtsp://admin:hunter%40 2@10.0.0.5/sub", None, None, Some(("admin", "hunter@ 2"))),
            ("rtsp://admin:hunter2@10.0.0.5/sub", Some("other"), Some("hunter3"), Some(("other", "hunter3"))),
            ("rtsp://admin:hunter2@10.0.0.5/sub", Some("admin"), None, Some(("admin", "hunter2"))),
            ("rtsp://10.0.0.5/sub", Some("admin"), Some("hunter2"), Some(("admin", "hunter2"))),
            ("rtsp://10.0.0.5/sub", None, None, None),
        ] {
            let source = CameraSource::new(&config(url, user), file.map(str::to_owned)).expect("valid");
            assert_eq!(source.address(), "rtsp://10.0.0.5/sub");
            let expected = expected.map(|(user, password)| (user.to_owned(), password.to_owned()));
            assert_eq!(credentials(&source), expected, "{url}");
            assert!(!format!("{source:?}").contains("hunter"), "{source:?}");
        }
    }

    #[test]
    fn a_wrong_address_is_named_without_its_password() {
        for url in [
            "http://admin:hunter2@10.0.0.5/",
            "rtsp://admin:hunter2@/sub",
            "admin:hunter2@10.0.0.5",
            "rtsp://admin:hunt/hunter2@10.0.0.5:99999/x",
            "rtsp:admin:hunter2@10.0.0.5",
        ] {
            let error = CameraSource::new(&config(url, None), None).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            assert!(error.to_string().contains("rtsp://host/path"), "{error}");
        }
    }
}
