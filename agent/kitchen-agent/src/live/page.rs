//! The view as a page for browsers on this machine: it asks for a JPEG twice a second. Answers only who came to a
//! loopback address under a loopback name, so that no other machine and no foreign site sees a kitchen.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::debug;

use super::{Scene, View};
use crate::scrub;
use crate::text::{self, text};

const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// Browsers keep several connections each.
const CONNECTIONS: usize = 64;
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// Before a listener that fails (too many open files) is tried again.
const PAUSE: Duration = Duration::from_millis(200);

type Answer = Response<Full<Bytes>>;

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, view: View, camera: &str) {
    let page: Arc<str> = html(camera).into();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "no connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (view, page) = (view.clone(), Arc::clone(&page));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &view, &page);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, view: &View, page: &str) -> Answer {
    if !is_for_loopback(request) {
        return plain(StatusCode::FORBIDDEN, "text/plain", text!("live-foreign").into());
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::new());
    }
    match request.uri().path() {
        "/" => plain(StatusCode::OK, "text/html", page.to_owned().into()),
        "/page.js" => plain(StatusCode::OK, "text/javascript", SCRIPT.into()),
        "/page.css" => plain(StatusCode::OK, "text/css", STYLE.into()),
        "/picture.jpg" => picture(view),
        "/state" => plain(StatusCode::OK, "application/json", state(&view.scene()).to_string().into()),
        _ => plain(StatusCode::NOT_FOUND, "text/plain", Bytes::new()),
    }
}

/// The picture, or why there is none: an old one is never shown as if it were the present.
fn picture(view: &View) -> Answer {
    let scene = view.scene();
    if let Scene::Online(shot) = &scene
        && let Some(jpeg) = shot.jpeg()
    {
        return plain(StatusCode::OK, "image/jpeg", jpeg);
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, "text/plain", in_words(&scene).into())
}

/// One line for people.
#[must_use]
pub fn in_words(scene: &Scene) -> String {
    match scene {
        Scene::Opening => text!("live-opening"),
        Scene::Online(shot) => text!("live-online", width = shot.frame.width, height = shot.frame.height),
        Scene::Lost(why) => {
            let code = why.code.map_or_else(String::new, |code| format!("{code} "));
            let next = why.next_step().map_or_else(String::new, |next| format!(" → {next}"));
            let said = text!("live-lost", why = format!("{code}{why}{next}"));
            scrub::text(&said).into_owned()
        }
    }
}

/// The same for programs; `state` is `opening`, `online` or `offline`.
#[must_use]
pub fn state(scene: &Scene) -> serde_json::Value {
    let value = match scene {
        Scene::Opening => json!({ "state": "opening" }),
        Scene::Online(shot) => json!({ "state": "online", "width": shot.frame.width, "height": shot.frame.height }),
        Scene::Lost(why) => {
            json!({ "state": "offline", "code": why.code, "problem": why.to_string(), "next_step": why.next_step() })
        }
    };
    scrub::value(value)
}

/// Whether the browser was told a name that means this machine: a foreign name that points here is an attack.
fn is_for_loopback<B>(request: &Request<B>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let from_elsewhere = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    host.is_some_and(is_loopback_host) && !from_elsewhere
}

fn is_loopback_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() && !name.contains(':') => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn plain(status: StatusCode, kind: &str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_str(&format!("{kind}; charset=utf-8"));
    let kind = kind.unwrap_or_else(|_| HeaderValue::from_static("text/plain"));
    let policy = "default-src 'none'; img-src 'self' blob:; script-src 'self'; style-src 'self'; connect-src 'self'; \
                  frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ] {
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn html(camera: &str) -> String {
    let language = match text::language() {
        crate::cli::Language::Zh => "zh",
        crate::cli::Language::En => "en",
    };
    HTML.replace("{language}", language)
        .replace("{title}", &escaped(&text!("live-title", camera = camera)))
        .replace("{opening}", &escaped(&text!("live-opening")))
        .replace("{ended}", &escaped(&text!("live-ended")))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["127.0.0.1", "127.0.0.1:8090", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8090", "127.8.8.8:1"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in
            ["", "kitchen.example", "kitchen.example:80", "192.168.8.2:8090", "localhost.example", "0.0.0.0:80", "[::]"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_cameras_name_can_not_become_markup() {
        let page = html("<script>\"&");
        assert!(page.contains("&lt;script&gt;&quot;&amp;") && !page.contains("<script>\""), "{page}");
    }
}
