//! `camera live`: a page on loopback and a picture in a terminal, of a real camera with a password.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kitchen_test_support::{AgentConfig, Process, RtspCamera, videos, wait_for, wait_until};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(30);

fn config(directory: &Path, camera: &RtspCamera) -> AgentConfig {
    AgentConfig::new("mh07-000123", directory).rtsp_camera("stove", &camera.url("people"))
}

/// The program with a page on a port of its own choosing.
fn serve(config: &AgentConfig) -> (Process, String) {
    config.write();
    let command = config.command(&["camera", "live", "stove", "--listen", "127.0.0.1:0", "--json"]);
    let mut process = Process::start("live", command, config.directory());
    let address = wait_for(BOUND, "the page's address", || {
        process.assert_running();
        let line = lines(&process).into_iter().find(|line| line["type"] == "listening")?;
        Some(line["url"].as_str()?.trim_start_matches("http://").trim_end_matches('/').to_owned())
    });
    (process, address)
}

fn lines(process: &Process) -> Vec<Value> {
    process.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Status, head and body of one request.
fn get(address: &str, path: &str, host: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, answer[end + 4..].to_vec())
}

#[test]
fn the_page_shows_pictures_to_several_viewers_and_tells_a_loss() {
    let directory = tempfile::tempdir().unwrap();
    let mut camera = RtspCamera::start(&[("people", &videos::people())]);
    let (mut live, address) = serve(&config(directory.path(), &camera));

    let picture = || get(&address, "/picture.jpg", &address);
    wait_until(BOUND, "a picture", || picture().0 == 200);
    let (_, head, first) = picture();
    let image = image::load_from_memory_with_format(&first, image::ImageFormat::Jpeg).unwrap();
    assert_eq!((image.width(), image.height()), (640, 360));
    assert!(head.contains("no-store") && head.contains("cross-origin-resource-policy: same-origin"), "{head}");
    let other_viewer = TcpStream::connect(&address).unwrap();
    wait_until(BOUND, "the picture is refreshed beside a silent viewer", || picture().2 != first);
    drop(other_viewer);
    let (status, head, page) = get(&address, "/", "localhost:1");
    assert_eq!((status, head.contains("text/html")), (200, true), "{head}");
    assert!(String::from_utf8(page).unwrap().contains("stove"));

    camera.kill();
    wait_until(BOUND, "an old picture is not shown", || picture().0 == 503);
    wait_until(BOUND, "the loss is told on stdout", || lines(&live).iter().any(|line| line["state"] == "offline"));
    camera.restart();
    wait_until(BOUND, "the picture is back", || picture().0 == 200);
    assert!(!live.stdout().contains(RtspCamera::PASSWORD) && !live.stderr().contains(RtspCamera::PASSWORD));
    assert!(live.terminate(BOUND).success());
}

#[test]
fn neither_foreign_names_nor_other_addresses_see_the_kitchen() {
    let directory = tempfile::tempdir().unwrap();
    let camera = RtspCamera::start(&[("people", &videos::people())]);
    let config = config(directory.path(), &camera);
    let (mut live, address) = serve(&config);
    for host in ["kitchen.example", "192.168.8.2:8090", ""] {
        for path in ["/", "/picture.jpg", "/state"] {
            assert_eq!(get(&address, path, host).0, 403, "{path} for {host:?}");
        }
    }
    assert!(live.terminate(BOUND).success());
    let refused = config.run(&["camera", "live", "stove", "--listen", "0.0.0.0:0"]);
    let _ = refused.expect_code(2);
}

#[test]
fn a_terminal_shows_the_picture_and_gets_its_screen_back_at_ctrl_c() {
    let directory = tempfile::tempdir().unwrap();
    let camera = RtspCamera::start(&[("people", &videos::people())]);
    let config = config(directory.path(), &camera);
    config.write();
    let live = config.command(&["camera", "live"]);
    let words = std::iter::once(live.get_program()).chain(live.get_args()).map(|word| word.to_string_lossy());
    let line = words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let seen = directory.path().join("screen");
    // `script` gives the program a terminal of its own; a shell that stayed around it would take the Ctrl-C too.
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &format!("stty cols 80 rows 24; exec {line}")]).arg(&seen);
    terminal.envs(live.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let screen = || String::from_utf8_lossy(&std::fs::read(&seen).unwrap_or_default()).into_owned();

    wait_until(BOUND, "a picture in colour", || screen().matches('▀').count() >= 80 && screen().contains("48;2;"));
    terminal.stdin.as_mut().unwrap().write_all(&[3]).unwrap();
    let ended = wait_for(BOUND, "it ends", || terminal.try_wait().unwrap());
    assert!(ended.success(), "{ended:?}");
    let screen = screen();
    assert!(screen.contains("\x1b[?1049h") && screen.rfind("\x1b[?1049l") > screen.rfind('▀'), "the screen as before");
    assert!(screen.contains("\x1b[?25h") && !screen.contains(RtspCamera::PASSWORD));
}
