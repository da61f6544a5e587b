//! What types alone can't tell of a configuration: ranges, references, shapes. All problems at once.

use std::fmt;

use super::expected::Expected;
use super::{BudgetConfig, CameraConfig, Config, Enrolled, Polygon};
use crate::budget::Decimal;
use crate::schedule::Schedule;
use crate::time::TimeZone;
use crate::wire::is_device_id;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    pub key: String,
    pub found: String,
    pub expected: Expected,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.key, self.found, self.expected)
    }
}

/// Why a configuration can't be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no TOML, or a key or a type is wrong; the message shows the line.
    #[error("{0}")]
    Text(String),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<ConfigProblem>),
}

impl ConfigError {
    #[expect(clippy::needless_pass_by_value, reason = "used as a function of map_err")]
    pub(super) fn from_toml(error: toml::de::Error) -> Self {
        let shown = error.to_string();
        let text = match (error.span(), shown.split_once('\n')) {
            _ if error.message() == "recursion limit" => format!("{shown}: tables or lists lie too deep in each other"),
            // The shown line may hold a secret such as a URL with a password: then only its number is told.
            (Some(_), Some((place, _))) if shown.contains("://") => {
                format!("{place}\n{}", without_url(error.message()))
            }
            _ => shown.replace(error.message(), &without_url(error.message())),
        };
        Self::Text(text.trim_end().to_owned())
    }

    pub(super) fn one(key: &str, found: &str, expected: Expected) -> Self {
        Self::Problems(vec![ConfigProblem { key: key.into(), found: format!("{found:?}"), expected }])
    }
}

/// A message of the reader without the value that it quotes, where this is a URL.
fn without_url(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last && message[first..last].contains("://") => {
            format!("{}…{}", &message[..=first], &message[last..])
        }
        _ => message.to_owned(),
    }
}

#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    /// Notes a problem unless `holds`.
    fn require(&mut self, holds: bool, key: impl fmt::Display, found: impl fmt::Debug, expected: Expected) {
        if !holds {
            let (key, found) = (key.to_string(), format!("{found:?}"));
            self.0.push(ConfigProblem { key, found, expected });
        }
    }
}

pub(super) fn check(config: &Config, enrolled: Option<&Enrolled>) -> Result<(), ConfigError> {
    let mut problems = Problems::default();
    if let Some(enrolled) =
        enrolled.filter(|enrolled| is_device_id(&config.device.id) && enrolled.device != config.device.id)
    {
        let expected = Expected::EnrolledId(enrolled.device.clone());
        problems.require(false, "device.id", &config.device.id, expected);
    }
    check_device(config, &mut problems);
    for camera in &config.cameras {
        check_camera(camera, config, &mut problems);
    }
    check_rules(config, &mut problems);
    check_uplink(config, &mut problems);
    check_budget(&config.budget, &mut problems);
    let clip = config.clip;
    problems.require(clip.pre_s <= 30, "clip.pre_s", clip.pre_s, Expected::Seconds(0, 30));
    problems.require((1..=30).contains(&clip.post_s), "clip.post_s", clip.post_s, Expected::Seconds(1, 30));
    problems.require(clip.max_bytes >= 50_000, "clip.max_bytes", clip.max_bytes, Expected::AtLeast(50_000));
    let storage = config.storage;
    for (key, gigabytes) in [("storage.clips_gb", storage.clips_gb), ("storage.snapshots_gb", storage.snapshots_gb)] {
        problems.require((0.01..=1000.0).contains(&gigabytes), key, gigabytes, Expected::Between("0.01", "1000"));
    }
    let quota = config.recording.quota_gb;
    problems.require((0.0..=10_000.0).contains(&quota), "recording.quota_gb", quota, Expected::Between("0", "10000"));
    let megabytes = storage.database_mb;
    let expected = Expected::Between("16", "4000");
    problems.require((16..=4000).contains(&megabytes), "storage.database_mb", megabytes, expected);
    let threads = config.detector.threads;
    problems.require((1..=16).contains(&threads), "detector.threads", threads, Expected::Between("1", "16"));
    if problems.0.is_empty() { Ok(()) } else { Err(ConfigError::Problems(problems.0)) }
}

fn check_device(config: &Config, problems: &mut Problems) {
    let device = &config.device;
    let id = &device.id;
    problems.require(is_device_id(id), "device.id", id, Expected::DeviceId);
    let zone = &device.time_zone;
    problems.require(TimeZone::named(zone).is_ok(), "device.time_zone", zone, Expected::TimeZone);
    let language = device.language.as_str();
    problems.require(matches!(language, "zh" | "en"), "device.language", language, Expected::Language);
    problems.require(device.state_dir.is_absolute(), "device.state_dir", &device.state_dir, Expected::AbsolutePath);
}

fn check_camera(camera: &CameraConfig, config: &Config, problems: &mut Problems) {
    let key = format!("camera.{}", camera.id);
    let named = |id: &str| {
        !id.is_empty() && id.len() <= 32 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    problems.require(named(&camera.id), format!("{key}.id"), &camera.id, Expected::Name);
    let same = config.cameras.iter().filter(|other| other.id == camera.id).count();
    problems.require(same == 1, format!("{key}.id"), &camera.id, Expected::OwnName);
    check_url(&format!("{key}.url"), &camera.url, problems);
    if let Some(url) = &camera.main_url {
        check_url(&format!("{key}.main_url"), url, problems);
    }
    let fps = camera.analyse_fps;
    problems.require((0.1..=30.0).contains(&fps), format!("{key}.analyse_fps"), fps, Expected::Between("0.1", "30"));
    for zone in &camera.zones {
        problems.require(named(&zone.id), format!("{key}.zone.id"), &zone.id, Expected::Name);
        check_polygon(&format!("{key}.zone.{}.polygon", zone.id), &zone.polygon, problems);
    }
    for (number, mask) in camera.privacy_masks.iter().enumerate() {
        check_polygon(&format!("{key}.privacy_mask.{number}.polygon"), &mask.polygon, problems);
    }
}

fn check_url(key: &str, url: &str, problems: &mut Problems) {
    let rest = url.strip_prefix("rtsp://").or_else(|| url.strip_prefix("file:///"));
    if has_credentials(url) {
        refuse_credentials(key, Expected::UrlWithoutCredentials, problems);
    } else {
        let expected = Expected::CameraUrl;
        problems.require(rest.is_some_and(|rest| !rest.is_empty()), key, url, expected);
    }
}

/// Whether a URL has a user part. A password may hold `/`, so that any `@` counts; in a path it is written `%40`.
fn has_credentials(url: &str) -> bool {
    url.contains('@') && !url.starts_with("file:///")
}

/// Without what was found: it is secret.
fn refuse_credentials(key: &str, expected: Expected, problems: &mut Problems) {
    let (key, found) = (key.to_owned(), "credentials in the URL".to_owned());
    problems.0.push(ConfigProblem { key, found, expected });
}

fn check_polygon(key: &str, polygon: &Polygon, problems: &mut Problems) {
    let count = polygon.len();
    problems.require(count >= 3, key, count, Expected::Corners);
    let inside = |corner: &&[f32; 2]| !corner.iter().all(|value| (0.0..=1.0).contains(value));
    if let Some(corner) = polygon.iter().find(inside) {
        problems.require(false, key, corner, Expected::Fractions);
    }
    problems.require(!crosses_itself(polygon), key, "edges that cross", Expected::NoCrossing);
    let area: f32 = edges(polygon).map(|([x1, y1], [x2, y2])| x1 * y2 - x2 * y1).sum::<f32>().abs() / 2.0;
    problems.require(count < 3 || area > 1e-5, key, "corners on one line", Expected::Area);
}

fn edges(polygon: &Polygon) -> impl Iterator<Item = ([f32; 2], [f32; 2])> + '_ {
    (0..polygon.len()).map(|index| (polygon[index], polygon[(index + 1) % polygon.len()]))
}

fn crosses_itself(polygon: &Polygon) -> bool {
    let side =
        |[ax, ay]: [f32; 2], [bx, by]: [f32; 2], [px, py]: [f32; 2]| (bx - ax) * (py - ay) - (by - ay) * (px - ax);
    let cross = |(a, b), (c, d)| side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0;
    let edges: Vec<_> = edges(polygon).collect();
    edges.iter().enumerate().any(|(index, &first)| edges[index + 1..].iter().any(|&second| cross(first, second)))
}

fn check_rules(config: &Config, problems: &mut Problems) {
    let is_zone = |id: &String| config.cameras.iter().any(|camera| camera.zones.iter().any(|zone| zone.id == *id));
    for (rule, chosen) in &config.rules {
        let key = |leaf: &str| format!("rules.{rule}.{leaf}");
        if let Some(score) = chosen.score {
            problems.require((0.0..=1.0).contains(&score), key("score"), score, Expected::Between("0", "1"));
        }
        if let Some(window) = chosen.window_s {
            problems.require((1..=3600).contains(&window), key("window_s"), window, Expected::Seconds(1, 3600));
        }
        if let Some(cool_down) = chosen.cool_down_s {
            problems.require(cool_down <= 7 * 86_400, key("cool_down_s"), cool_down, Expected::Seconds(0, 7 * 86_400));
        }
        if let Some(Err(why)) = chosen.schedule.as_ref().map(|schedule| schedule.parse::<Schedule>()) {
            let found = chosen.schedule.as_deref().unwrap_or_default();
            problems.require(false, key("schedule"), found, Expected::Schedule(why));
        }
        for zone in chosen.zones.iter().flatten().filter(|zone| !is_zone(zone)) {
            problems.require(false, key("zones"), zone, Expected::ZoneId);
        }
    }
}

fn check_budget(budget: &BudgetConfig, problems: &mut Problems) {
    let mut amount = |key: &str, found: Decimal| {
        let holds = (Decimal::whole(0)..=Decimal::whole(1_000_000)).contains(&found);
        let found = format_args!("{found}");
        problems.require(holds, format!("budget.{key}"), found, Expected::Between("0", "1000000"));
    };
    amount("yuan_per_year", budget.yuan_per_year);
    amount("package_gb", budget.package_gb);
    amount("package_yuan", budget.package_yuan);
    amount("hard_stop_gb", budget.hard_stop_gb.unwrap_or_default());
    for (number, tariff) in budget.tariffs.iter().enumerate() {
        amount(&format!("tariff.{number}.up_to_gb"), tariff.up_to_gb.unwrap_or_default());
        amount(&format!("tariff.{number}.yuan_per_gb"), tariff.yuan_per_gb);
    }
    check_steps(budget, problems);
    let reserve = budget.reserve_fraction;
    let expected = Expected::Between("0", "1");
    problems.require((0.0..=1.0).contains(&reserve), "budget.reserve_fraction", reserve, expected);
    let day = budget.start_day;
    problems.require((1..=31).contains(&day), "budget.start_day", day, Expected::Between("1", "31"));
    for free in &budget.free {
        if let Err(why) = free.parse::<Schedule>() {
            problems.require(false, "budget.free", free, Expected::Schedule(why));
        }
    }
    if let Some(interface) = &budget.interface {
        let name = &interface.name;
        let is_name = (1..16).contains(&name.len()) && !name.contains(['/', ' ']) && name != "." && name != "..";
        problems.require(is_name, "budget.interface.name", name, Expected::InterfaceName);
    }
}

/// Each step ends beyond the one before it, and only the last may have no end.
fn check_steps(budget: &BudgetConfig, problems: &mut Problems) {
    let mut reached = Some(Decimal::default());
    for (number, tariff) in budget.tariffs.iter().enumerate() {
        let goes_on = reached.is_some_and(|reached| tariff.up_to_gb.is_none_or(|end| end > reached));
        let found = tariff.up_to_gb.map_or_else(|| "none".to_owned(), |end| end.to_string());
        problems.require(
            goes_on,
            format!("budget.tariff.{number}.up_to_gb"),
            format_args!("{found}"),
            Expected::Rising,
        );
        reached = tariff.up_to_gb;
    }
}

fn check_uplink(config: &Config, problems: &mut Problems) {
    let uplink = &config.uplink;
    let broker = uplink.broker.as_str();
    let host = broker.strip_prefix("mqtt://").map(|rest| rest.rsplit_once(':').map_or(rest, |(host, _)| host));
    let loopback = host.is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    let expected = Expected::Broker;
    let valid = broker.is_empty() || broker.strip_prefix("mqtts://").is_some_and(|host| !host.is_empty()) || loopback;
    if has_credentials(broker) {
        refuse_credentials("uplink.broker", Expected::BrokerWithoutCredentials, problems);
    } else {
        problems.require(valid, "uplink.broker", broker, expected);
    }
    let pair = uplink.certificate_file.is_some() == uplink.key_file.is_some();
    problems.require(pair, "uplink.certificate_file", &uplink.certificate_file, Expected::BothFiles);
    let keepalive = uplink.keepalive_s;
    problems.require((10..=3600).contains(&keepalive), "uplink.keepalive_s", keepalive, Expected::Seconds(10, 3600));
    let heartbeat = uplink.heartbeat_s;
    problems.require(
        (10..=86_400).contains(&heartbeat),
        "uplink.heartbeat_s",
        heartbeat,
        Expected::Seconds(10, 86_400),
    );
}
