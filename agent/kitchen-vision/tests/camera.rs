//! A camera's task against real files and real sockets: what it reports, and that no password is in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kitchen_core::config::{CameraConfig, Transport};
use kitchen_core::time::{Clock, Mono, Stamp, TimeQuality, Wall};
use kitchen_vision::camera::{self, CameraError, CameraEvent, CameraSource};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

struct StoppedClock;

impl Clock for StoppedClock {
    fn mono(&self) -> Mono {
        Mono::from_millis(5000)
    }

    fn stamp(&self) -> Stamp {
        Stamp { mono: self.mono(), wall: Wall::from_unix_millis(0), quality: TimeQuality::None }
    }
}

fn source(url: &str) -> CameraSource {
    let config = CameraConfig {
        id: "cam1".into(),
        url: url.into(),
        main_url: None,
        username: None,
        password_file: None,
        transport: Transport::Tcp,
        analyse_fps: 2.0,
        zones: Vec::new(),
        privacy_masks: Vec::new(),
    };
    CameraSource::new(&config, None).expect("valid")
}

/// The first `count` events of a camera, then its task is cancelled and must end.
async fn events(url: &str, count: usize) -> Vec<CameraEvent> {
    let (sender, mut receiver) = mpsc::channel(4);
    let (cancel, cancelled) = watch::channel(false);
    let task = tokio::spawn(camera::run(source(url), Arc::new(StoppedClock), sender, cancelled));
    let mut events = Vec::new();
    while events.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(20), receiver.recv()).await.expect("in time");
        events.push(event.expect("runs for ever"));
    }
    cancel.send(true).expect("task listens");
    tokio::time::timeout(Duration::from_secs(5), task).await.expect("ends when cancelled").expect("no panic");
    events
}

async fn first_error(url: &str) -> CameraError {
    let Some(CameraEvent::Lost { error }) = events(url, 1).await.pop() else { panic!("expected Lost") };
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

/// Answers each request with `answer`, its CSeq filled in.
async fn camera_that_answers(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let number = request.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("1").trim();
                    if stream.write_all(answer.replace("{cseq}", number).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("rtsp://admin:hunter2@127.0.0.1:{port}/sub")
}

#[tokio::test]
async fn a_file_plays_as_a_camera() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plain.mp4");
    let events = events(&format!("file://{}", path.display()), 5).await;
    assert!(matches!(&events[0], CameraEvent::Opened(info) if info.width == 320));
    let units = events[1..].iter().map(|event| match event {
        CameraEvent::Unit(unit) => (unit.pts_90k, unit.keyframe, unit.received.as_millis()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        units.collect::<Vec<_>>(),
        [(0, true, 5000), (11_250, false, 5000), (22_500, false, 5000), (33_750, false, 5000)]
    );
}

#[tokio::test]
async fn a_missing_file_is_tried_again() {
    let events = events("file:///nowhere/absent.mp4", 2).await;
    assert!(events.iter().all(|event| matches!(event, CameraEvent::Lost { error: CameraError::File { .. } })));
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let error = first_error(&format!("rtsp://admin:hunter2@127.0.0.1:{port}/sub")).await;
    assert!(
        matches!(&error, CameraError::Unreachable { address, .. } if *address == format!("127.0.0.1:{port}")),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_credentials_name_the_user_and_the_file_to_check() {
    let answer =
        "RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: Digest realm=\"camera\", nonce=\"abc\"\r\n\r\n";
    let error = first_error(&camera_that_answers(answer).await).await.to_string();
    assert_eq!(error, "camera refused user \"admin\": check username and password_file");
}

#[tokio::test]
async fn another_encoding_is_told_with_the_way_to_change_it() {
    let answer = "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nContent-Type: application/sdp\r\nContent-Length: 107\r\n\r\n\
                  v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:track1\r\n";
    let body = answer.split_once("\r\n\r\n").expect("has a body").1;
    assert_eq!(body.len(), 107);
    let error = first_error(&camera_that_answers(answer).await).await;
    assert!(matches!(&error, CameraError::Encoding { encoding } if encoding == "H.265"), "{error:?}");
    assert!(error.to_string().contains("Video → Encoding"), "{error}");
}

#[tokio::test]
async fn a_wrong_path_and_garbage_are_told_apart() {
    let error = first_error(&camera_that_answers("RTSP/1.0 404 Not Found\r\nCSeq: {cseq}\r\n\r\n").await).await;
    assert!(matches!(&error, CameraError::Status { status: 404, path } if path == "/sub"), "{error}");
    for garbage in
        ["\0\u{1}\u{2}HTTP nonsense\r\n\r\n\r\n", "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nContent-Length: 3\r\n\r\nxyz"]
    {
        let error = first_error(&camera_that_answers(garbage).await).await;
        assert!(matches!(error, CameraError::Damaged { .. }), "{error}");
    }
}
