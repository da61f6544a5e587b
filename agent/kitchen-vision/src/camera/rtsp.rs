//! One RTSP session: describe, set up the first H.264 video stream, play, deliver access units.
//! Returns why it ended; never retries.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use kitchen_core::config::Transport;
use kitchen_core::time::Clock;
use retina::client::{
    Credentials, Demuxed, Described, PlayOptions, Session, SessionOptions, SetupOptions, Stream, TcpTransportOptions,
    UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoFrame, VideoParameters, VideoParametersCodec};
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use crate::access_unit::{AccessUnit, CLOCK_RATE, StreamInfo};
use crate::camera::{CameraError, CameraEvent, FRAME_TIMEOUT};
use crate::h264;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Plays `url`, which holds no credentials, until the stream is lost or the receiver is gone (`Ok`).
pub(super) async fn play(
    url: &Url,
    credentials: Option<(&str, &str)>,
    transport: Transport,
    clock: &Arc<dyn Clock>,
    sender: &mpsc::Sender<CameraEvent>,
) -> Result<(), CameraError> {
    let context = Context { url, user: credentials.map(|(user, _)| user) };
    let (stream, mut demuxed) = open(&context, credentials, transport).await?;
    let mut info = None;
    let mut deadline = Instant::now() + FRAME_TIMEOUT;
    loop {
        let item = match tokio::time::timeout_at(deadline, demuxed.next()).await {
            Err(_) => return Err(CameraError::Hung { seconds: FRAME_TIMEOUT.as_secs() }),
            Ok(None) => return Err(CameraError::Ended),
            Ok(Some(item)) => item.map_err(|error| context.error(&error))?,
        };
        let CodecItem::VideoFrame(frame) = item else { continue };
        let received = clock.mono();
        if info.is_none() || frame.has_new_parameters() {
            let Some(found) = demuxed.streams().get(stream).and_then(described) else { continue };
            if info.as_ref() != Some(&found) {
                info = Some(found.clone());
                if sender.send(CameraEvent::Opened(found)).await.is_err() {
                    return Ok(());
                }
            }
        }
        let unit = access_unit(frame, received);
        if sender.send(CameraEvent::Unit(unit)).await.is_err() {
            return Ok(());
        }
        // From here, not from the arrival: waiting for a slow receiver is not the camera's fault.
        deadline = Instant::now() + FRAME_TIMEOUT;
    }
}

/// What errors are described with.
struct Context<'a> {
    url: &'a Url,
    user: Option<&'a str>,
}

async fn open(
    context: &Context<'_>,
    credentials: Option<(&str, &str)>,
    transport: Transport,
) -> Result<(usize, Demuxed), CameraError> {
    let credentials =
        credentials.map(|(user, password)| Credentials { username: user.to_owned(), password: password.to_owned() });
    let options = SessionOptions::default().creds(credentials).user_agent("kitchen-agent".to_owned());
    let mut session = within("connecting", context, Session::describe(context.url.clone(), options)).await?;
    let stream = choose_stream(&session)?;
    let transport = match transport {
        Transport::Tcp => retina::client::Transport::Tcp(TcpTransportOptions::default()),
        Transport::Udp => retina::client::Transport::Udp(UdpTransportOptions::default()),
    };
    let setup = SetupOptions::default().transport(transport).frame_format(FrameFormat::SIMPLE);
    within("setting up the stream", context, session.setup(stream, setup)).await?;
    let playing = within("starting the stream", context, session.play(PlayOptions::default())).await?;
    let demuxed = playing.demuxed().map_err(|error| context.error(&error))?;
    Ok((stream, demuxed))
}

async fn within<T>(
    doing: &'static str,
    context: &Context<'_>,
    request: impl Future<Output = Result<T, retina::Error>>,
) -> Result<T, CameraError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Err(_) => Err(CameraError::TimedOut { doing, seconds: REQUEST_TIMEOUT.as_secs() }),
        Ok(result) => result.map_err(|error| context.error(&error)),
    }
}

fn choose_stream(session: &Session<Described>) -> Result<usize, CameraError> {
    let videos = || session.streams().iter().enumerate().filter(|(_, stream)| stream.media() == "video");
    if let Some((index, _)) = videos().find(|(_, stream)| stream.encoding_name() == "h264") {
        return Ok(index);
    }
    let (_, other) = videos().next().ok_or(CameraError::NoVideo)?;
    let encoding = match other.encoding_name() {
        "h265" => "H.265".to_owned(),
        "jpeg" => "MJPEG".to_owned(),
        name => name.to_uppercase(),
    };
    Err(CameraError::Encoding { encoding })
}

fn described(stream: &Stream) -> Option<StreamInfo> {
    let Some(ParametersRef::Video(parameters)) = stream.parameters() else { return None };
    let VideoParametersCodec::H264 { sps, pps } = parameters.codec_params() else { return None };
    let mut info = h264::stream_info(sps, pps).unwrap_or_else(|| from_retina(parameters, sps, pps));
    info.frame_rate = info.frame_rate.or(stream.framerate());
    Some(info)
}

/// For an SPS with trailing faults that retina tolerates.
fn from_retina(parameters: &VideoParameters, sps: &Bytes, pps: &Bytes) -> StreamInfo {
    let (width, height) = parameters.pixel_dimensions();
    StreamInfo {
        codec: parameters.rfc6381_codec().to_owned(),
        width,
        height,
        sps: sps.clone(),
        pps: pps.clone(),
        frame_rate: None,
        full_range: false,
    }
}

fn access_unit(frame: VideoFrame, received: kitchen_core::time::Mono) -> AccessUnit {
    let timestamp = frame.timestamp();
    let rate = i128::from(timestamp.clock_rate().get());
    let ticks = i128::from(timestamp.elapsed()) * i128::from(CLOCK_RATE) / rate;
    AccessUnit {
        keyframe: frame.is_random_access_point(),
        lost_packets: frame.loss(),
        data: Bytes::from(frame.into_data()),
        pts_90k: i64::try_from(ticks).unwrap_or(i64::MAX),
        received,
    }
}

impl Context<'_> {
    /// retina's errors are opaque: a status code, else a text of several lines whose first one says what happened.
    fn error(&self, error: &retina::Error) -> CameraError {
        match error.status_code() {
            Some(401) => return CameraError::Credentials { user: self.user.map(str::to_owned) },
            Some(status @ 300..) => return CameraError::Status { status, path: self.url.path().to_owned() },
            _ => {}
        }
        let text = error.to_string();
        let reason = text.lines().next().unwrap_or_default().trim();
        match reason.strip_prefix("Unable to connect to RTSP server: ") {
            Some(reason) => CameraError::Unreachable { address: self.address(), reason: reason.to_owned() },
            None => CameraError::Damaged { reason: reason.to_owned() },
        }
    }

    fn address(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.url.port().unwrap_or(554))
    }
}
