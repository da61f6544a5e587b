//! The first question to a camera: does it speak RTSP, and what time does it think it is?
//! Asks `OPTIONS` without credentials; opens no stream.

use std::time::Duration;

use kitchen_core::time::Wall;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::camera::CameraError;

const LONGEST_ANSWER: usize = 8192;

/// What a camera answered before it was asked for a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The camera's own clock, where it tells it; whole seconds.
    pub time: Option<Wall>,
}

pub(super) async fn ask(url: &Url, limit: Duration) -> Result<Greeting, CameraError> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = url.port().unwrap_or(554);
    let unreachable = |reason: String| CameraError::Unreachable { address: format!("{host}:{port}"), reason };
    let mut stream = match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable(format!("no answer within {} s", limit.as_secs()))),
    };
    let mut bare = url.clone();
    bare.set_query(None);
    let request = format!("OPTIONS {bare} RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: kitchen-agent\r\n\r\n");
    let conversation = async {
        stream.write_all(request.as_bytes()).await?;
        read_head(&mut stream).await
    };
    match tokio::time::timeout(limit, conversation).await {
        Ok(Ok(head)) if head.starts_with("RTSP/") => Ok(Greeting { time: date(&head) }),
        Ok(Ok(_)) => Err(CameraError::Damaged { reason: "what answers there does not speak RTSP".to_owned() }),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(CameraError::TimedOut { doing: "connecting", seconds: limit.as_secs() }),
    }
}

/// Up to the empty line, or what came before the camera closed.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    while head.len() < LONGEST_ANSWER && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await? {
            0 => break,
            read => head.extend_from_slice(&part[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn date(head: &str) -> Option<Wall> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, date) = headers.find(|(name, _)| name.trim().eq_ignore_ascii_case("date"))?;
    Wall::from_date_header(date)
}
