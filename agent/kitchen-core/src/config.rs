//! `agent.toml` as validated types: text comes in, a configuration or located errors go out.
//! Precedence built-in < enrolment < file < environment. Never reads a file or the environment itself.

mod check;
mod enrolled;
mod expected;
mod origin;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::check::{ConfigError, ConfigProblem};
pub use self::enrolled::{Enrolled, IdentityFiles};
pub use self::expected::Expected;
pub use self::origin::{Origin, Setting};
use crate::budget::Decimal;
use crate::rules::{EvidenceKind, RuleId};
use crate::schedule::Schedule;
use crate::time::{LocalTime, TimeZone};
use crate::wire::Site;
use crate::zone::Area;

/// Environment variables with this prefix override the file: `KITCHEN_AGENT__UPLINK__BROKER`.
pub const ENVIRONMENT_PREFIX: &str = "KITCHEN_AGENT__";

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub device: DeviceConfig,
    #[serde(default, rename = "camera")]
    pub cameras: Vec<CameraConfig>,
    #[serde(default)]
    pub detector: DetectorConfig,
    #[serde(default)]
    pub rules: BTreeMap<RuleId, RuleConfig>,
    #[serde(default)]
    pub clip: ClipConfig,
    #[serde(default)]
    pub recording: RecordingConfig,
    #[serde(default)]
    pub storage: StorageConfig,
    #[serde(default)]
    pub privacy: PrivacyConfig,
    #[serde(default)]
    pub uplink: UplinkConfig,
    #[serde(default)]
    pub budget: BudgetConfig,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Equals the certificate's CN.
    pub id: String,
    #[serde(default)]
    pub site: Site,
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    #[serde(default = "time_zone")]
    pub time_zone: String,
    #[serde(default = "language")]
    pub language: String,
}

fn state_dir() -> PathBuf {
    "/var/lib/kitchen-agent".into()
}

fn time_zone() -> String {
    "Asia/Shanghai".into()
}

fn language() -> String {
    "zh".into()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    pub id: String,
    /// `rtsp://…` or `file:///….mp4`.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    #[serde(default)]
    pub transport: Transport,
    #[serde(default = "analyse_fps")]
    pub analyse_fps: f32,
    #[serde(default, rename = "zone", skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Zone>,
    #[serde(default, rename = "privacy_mask", skip_serializing_if = "Vec::is_empty")]
    pub privacy_masks: Vec<PrivacyMask>,
}

fn analyse_fps() -> f32 {
    2.0
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// Corners as fractions of the picture, in order.
pub type Polygon = Vec<[f32; 2]>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    pub id: String,
    pub polygon: Polygon,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyMask {
    pub polygon: Polygon,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorConfig {
    pub models_dir: PathBuf,
    pub engine: EngineChoice,
    pub threads: u32,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self { models_dir: "/usr/share/kitchen-agent/models".into(), engine: EngineChoice::Auto, threads: 1 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    Auto,
    Tract,
    Rten,
}

/// What the file says of one rule; the catalogue's defaults hold for what is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cool_down_s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    pub pre_s: u32,
    pub post_s: u32,
    pub max_bytes: u64,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self { pre_s: 5, post_s: 5, max_bytes: 700_000 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingConfig {
    pub enabled: bool,
    pub quota_gb: f64,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self { enabled: true, quota_gb: 8.0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    pub clips_gb: f64,
    pub snapshots_gb: f64,
    pub database_mb: u32,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { clips_gb: 2.0, snapshots_gb: 0.5, database_mb: 256 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    pub blur_bystanders: bool,
}

impl Default for PrivacyConfig {
    fn default() -> Self {
        Self { blur_bystanders: true }
    }
}

/// What a month may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    pub yuan_per_year: Decimal,
    pub reserve_fraction: f64,
    pub start_day: u8,
    pub free: Vec<String>,
    pub package_gb: Decimal,
    pub package_yuan: Decimal,
    /// Of a month, free windows counted: there the operator cuts the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_stop_gb: Option<Decimal>,
    #[serde(rename = "tariff")]
    pub tariffs: Vec<Tariff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            yuan_per_year: Decimal::whole(1000),
            reserve_fraction: 0.10,
            start_day: 1,
            free: Vec::new(),
            package_gb: Decimal::default(),
            package_yuan: Decimal::default(),
            hard_stop_gb: None,
            tariffs: Vec::new(),
            interface: None,
        }
    }
}

/// A step of the tariff, cumulative within the month; without `up_to_gb` it is the last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_gb: Option<Decimal>,
    pub yuan_per_gb: Decimal,
}

/// The network interface whose bytes are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UplinkConfig {
    /// `mqtts://host:port`; `mqtt://` on loopback only. Empty: nothing is sent.
    pub broker: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    pub keepalive_s: u32,
    pub heartbeat_s: u32,
    /// The district's Ed25519 key in base64; empty: only harmless commands are obeyed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command_key: String,
}

impl Default for UplinkConfig {
    fn default() -> Self {
        Self {
            broker: String::new(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            keepalive_s: 300,
            heartbeat_s: 900,
            command_key: String::new(),
        }
    }
}

/// One rule as it is in force: the catalogue's defaults with what the file says.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSettings {
    pub rule: RuleId,
    pub enabled: bool,
    pub score: Option<f32>,
    pub window: Duration,
    pub cool_down: Duration,
    /// None: the whole picture. Else these zones, on the cameras that have them.
    pub zones: Option<Vec<String>>,
    pub schedule: Schedule,
    pub evidence: EvidenceKind,
}

impl RuleSettings {
    #[must_use]
    pub fn is_active(&self, local: LocalTime) -> bool {
        self.schedule.contains(local)
    }

    /// The areas of `camera` that this rule watches.
    #[must_use]
    pub fn areas(&self, camera: &CameraConfig) -> Vec<Area> {
        let Some(wanted) = &self.zones else { return vec![Area::whole_picture()] };
        let zones = camera.zones.iter().filter(|zone| wanted.contains(&zone.id));
        zones.map(|zone| Area::zone(&zone.id, zone.polygon.clone())).collect()
    }
}

impl Config {
    /// Reads the text of `agent.toml` and overrides it with `environment` (names with their prefix, and values).
    ///
    /// # Errors
    /// All that is wrong with it, each with its key, what was found and what is expected.
    pub fn parse(text: &str, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        Self::parse_enrolled(text, environment, None)
    }

    /// As [`Config::parse`], with what the box's enrolment says below the file.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_enrolled(
        text: &str,
        environment: &[(String, String)],
        enrolled: Option<&Enrolled>,
    ) -> Result<Self, ConfigError> {
        let merged = origin::merged(text, environment, enrolled)?;
        let config = Self::deserialize(merged).map_err(ConfigError::from_toml)?;
        check::check(&config, enrolled)?;
        Ok(config)
    }

    /// Every value in force with where it comes from, in the order of the file.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn settings(
        text: &str,
        environment: &[(String, String)],
        enrolled: Option<&Enrolled>,
    ) -> Result<Vec<Setting>, ConfigError> {
        let config = Self::parse_enrolled(text, environment, enrolled)?;
        Ok(origin::settings(&config, text, environment, enrolled))
    }

    /// Every rule of the catalogue as it is in force.
    #[must_use]
    pub fn rule_settings(&self) -> Vec<RuleSettings> {
        RuleId::all().map(|rule| self.settings_of(rule)).collect()
    }

    fn settings_of(&self, rule: RuleId) -> RuleSettings {
        let defaults = rule.defaults();
        let configured = self.rules.get(&rule);
        let chosen = configured.cloned().unwrap_or_default();
        let schedule = chosen.schedule.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default();
        // Everybody at work would be an intruder: the rule waits until the installer has written its section.
        let by_default = rule != RuleId::Intrusion || configured.is_some();
        RuleSettings {
            rule,
            enabled: chosen.enabled.unwrap_or(by_default),
            score: defaults.score.map(|score| chosen.score.unwrap_or(score)),
            window: Duration::from_secs(u64::from(chosen.window_s.unwrap_or(defaults.window_s))),
            cool_down: Duration::from_secs(u64::from(chosen.cool_down_s.unwrap_or(defaults.cool_down_s))),
            zones: chosen.zones,
            schedule,
            evidence: chosen.evidence.unwrap_or(defaults.evidence),
        }
    }

    /// Sections and keys that are accepted and checked, but that this version does not act on yet.
    #[must_use]
    pub fn without_effect(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut note = |differs: bool, key: &str| {
            if differs {
                keys.push(key.to_owned());
            }
        };
        note(!self.uplink.command_key.is_empty(), "uplink.command_key");
        keys
    }

    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        TimeZone::named(&self.device.time_zone).expect("checked when the configuration was read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[device]\nid = \"mh07-000123\"\n";
    const CAMERA: &str = "[[camera]]\nid = \"stove\"\nurl = \"rtsp://192.168.8.64/1\"\n";

    fn error(text: &str) -> String {
        Config::parse(text, &[]).expect_err("is wrong").to_string()
    }

    #[test]
    fn the_least_file_has_the_defaults() {
        let config = Config::parse(LEAST, &[]).expect("valid");
        assert_eq!(config.device.time_zone, "Asia/Shanghai");
        assert_eq!((config.uplink.keepalive_s, config.uplink.heartbeat_s), (300, 900));
        let phone = &config.rule_settings()[RuleId::Phone as usize];
        assert_eq!((phone.score, phone.window.as_secs(), phone.enabled), (Some(0.65), 10, true));
        assert!(!config.rule_settings()[RuleId::Intrusion as usize].enabled);
    }

    #[test]
    fn a_rule_takes_what_the_file_says_and_keeps_the_other_defaults() {
        let text = format!("{LEAST}{CAMERA}[rules.intrusion]\nschedule = \"22:00-05:00\"\nscore = 0.5\n");
        let config = Config::parse(&text, &[]).expect("valid");
        let intrusion = &config.rule_settings()[RuleId::Intrusion as usize];
        assert_eq!((intrusion.enabled, intrusion.score, intrusion.window.as_secs()), (true, Some(0.5), 10));
        assert!(!intrusion.is_active(LocalTime { weekday: 0, minute: 720 }));
    }

    #[test]
    fn unknown_keys_are_errors_with_their_line() {
        let message = error(&format!("{LEAST}{CAMERA}frames = 3\n"));
        assert!(message.contains("line 6") && message.contains("frames"), "{message}");
        assert!(error(&format!("{LEAST}[rules.no_hats]\n")).contains("no_hats"));
    }

    #[test]
    fn wrong_values_name_key_found_and_expected() {
        let zone = |polygon: &str| format!("{LEAST}{CAMERA}[[camera.zone]]\nid = \"z\"\npolygon = {polygon}\n");
        let message = error(&zone("[[0.1, 0.2], [0.9, 0.2]]"));
        assert!(message.contains("camera.stove.zone.z.polygon") && message.contains("at least 3"), "{message}");
        assert!(error(&zone("[[0.1, 0.2], [1.9, 0.2], [0.5, 0.5]]")).contains("0..1"));
        assert!(error(&zone("[[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]]")).contains("cross"));
        let message = error(&format!("{LEAST}[rules.phone]\nscore = 65.0\nschedule = \"9-14\"\nzones = [\"bar\"]\n"));
        for part in ["rules.phone.score", "65", "rules.phone.schedule", "rules.phone.zones", "bar"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(error("[device]\nid = \"MH 07\"\n").contains("device.id"));
        assert!(error(&format!("{LEAST}[uplink]\nbroker = \"mqtt://broker.example\"\n")).contains("mqtts://"));
    }

    #[test]
    fn credentials_in_a_url_are_refused_without_being_repeated() {
        let text = format!("{LEAST}[[camera]]\nid = \"a\"\nurl = \"rtsp://admin:secret1@192.168.8.64/1\"\n");
        let message = error(&text);
        assert!(message.contains("password_file") && !message.contains("secret1"), "{message}");
    }

    #[test]
    fn a_line_with_a_url_is_told_by_its_number_only() {
        let message = error(&format!("{LEAST}[[camera]]\nid = \"a\"\nurl = rtsp://admin:secret1@192.168.8.64/1\n"));
        assert!(message.contains("line 5") && !message.contains("secret1"), "{message}");
        let environment = [("KITCHEN_AGENT__CAMERA".to_owned(), "rtsp://admin:secret1@192.168.8.64/1".to_owned())];
        let message = Config::parse(LEAST, &environment).expect_err("no list").to_string();
        assert!(message.contains("`camera`") && !message.contains("secret1"), "{message}");
    }

    #[test]
    fn numbers_that_are_none_are_refused_wherever_they_stand() {
        let text = "[recording]\nquota_gb = inf\n[budget]\nyuan_per_year = -5\nstart_day = 32\nfree = [\"night\"]\n\
                    reserve_fraction = 1.5\n[[budget.tariff]]\nyuan_per_gb = -1.0\n";
        let message = error(&format!("{LEAST}{text}"));
        for key in
            ["recording.quota_gb", "yuan_per_year", "start_day", "free", "reserve_fraction", "tariff.0.yuan_per_gb"]
        {
            assert!(message.contains(key), "{key}: {message}");
        }
        assert!(error(&format!("{LEAST}[budget]\npackage_gb = nan\n")).contains("package_gb = nan"));
    }

    #[test]
    fn steps_of_a_tariff_rise_and_only_the_last_has_no_end() {
        let steps = |ends: &[&str]| {
            let step = |end: &&str| format!("[[budget.tariff]]\n{end}\nyuan_per_gb = 5.0\n");
            Config::parse(&format!("{LEAST}{}", ends.iter().map(step).collect::<String>()), &[])
        };
        assert!(steps(&["up_to_gb = 1", "up_to_gb = 2.5", ""]).is_ok());
        for wrong in [["up_to_gb = 2", "up_to_gb = 2"], ["", "up_to_gb = 2"], ["up_to_gb = 0", ""]] {
            let message = steps(&wrong).expect_err("no tariff").to_string();
            assert!(
                message.contains("budget.tariff") && message.contains("above that of the step before"),
                "{message}"
            );
        }
    }

    #[test]
    fn what_lies_too_deep_is_refused() {
        let keys = vec!["a"; 10_000];
        assert!(error(&format!("{LEAST}{} = 1\n", keys.join("."))).contains("too deep"));
        let environment = [(format!("{ENVIRONMENT_PREFIX}{}", keys.join("__")), "1".to_owned())];
        assert!(matches!(Config::parse(LEAST, &environment), Err(ConfigError::Problems(_))));
    }

    #[test]
    fn the_environment_overrides_the_file_and_says_so() {
        let environment = [
            ("KITCHEN_AGENT__UPLINK__BROKER".to_owned(), "mqtts://other.example:8883".to_owned()),
            ("KITCHEN_AGENT__UPLINK__KEEPALIVE_S".to_owned(), "60".to_owned()),
        ];
        let text = format!("{LEAST}[uplink]\nbroker = \"mqtts://broker.example:8883\"\nheartbeat_s = 300\n");
        let config = Config::parse(&text, &environment).expect("valid");
        assert_eq!(config.uplink.broker, "mqtts://other.example:8883");
        assert_eq!((config.uplink.keepalive_s, config.uplink.heartbeat_s), (60, 300));
        let settings = Config::settings(&text, &environment, None).expect("valid");
        let origin = |key: &str| settings.iter().find(|setting| setting.key == key).map(|setting| setting.origin);
        assert_eq!(origin("uplink.broker"), Some(Origin::Environment));
        assert_eq!(origin("uplink.heartbeat_s"), Some(Origin::File));
        assert_eq!(origin("clip.pre_s"), Some(Origin::BuiltIn));
        let unknown = [("KITCHEN_AGENT__UPLINK__BROKERS".to_owned(), "x".to_owned())];
        let message = Config::parse(LEAST, &unknown).expect_err("unknown").to_string();
        assert!(message.contains("brokers"), "{message}");
    }

    #[test]
    fn an_enrolment_fills_in_what_the_file_leaves_empty_and_the_file_wins() {
        let enrolment = crate::enrolment::Enrolment::unsigned(
            "mh07-000123".to_owned(),
            Site { name: "老王火锅".to_owned(), ..Site::default() },
            String::new(),
            crate::enrolment::BrokerAccess { url: "mqtts://broker.example".to_owned(), ca: String::new() },
            String::new(),
            crate::enrolment::Authority { url: String::new(), key: String::new(), ca: String::new() },
            crate::time::Wall::from_unix_millis(0),
        );
        let files = IdentityFiles { ca: "/i/ca".into(), certificate: "/i/pem".into(), key: "/i/key".into() };
        let enrolled = Enrolled::by_enrolment(&enrolment, files);
        let package = "[device]\nid = \"\"\nsite = { name = \"\" }\n[uplink]\nbroker = \"\"\nkeepalive_s = 60\n";
        let config = Config::parse_enrolled(package, &[], Some(&enrolled)).expect("valid");
        assert_eq!((config.device.id.as_str(), config.device.site.name.as_str()), ("mh07-000123", "老王火锅"));
        assert_eq!((config.uplink.broker.as_str(), config.uplink.keepalive_s), ("mqtts://broker.example", 60));
        assert_eq!(config.uplink.key_file, Some("/i/key".into()));
        assert_eq!(Config::parse_enrolled("", &[], Some(&enrolled)).expect("nothing else is needed").cameras, []);
        let own = package.replace("broker = \"\"", "broker = \"mqtts://other.example\"");
        let config = Config::parse_enrolled(&own, &[], Some(&enrolled)).expect("valid");
        assert_eq!(config.uplink.broker, "mqtts://other.example");
        let settings = Config::settings(&own, &[], Some(&enrolled)).expect("valid");
        let origin = |key: &str| settings.iter().find(|setting| setting.key == key).map(|setting| setting.origin);
        let origins = ["device.id", "uplink.broker", "uplink.heartbeat_s", "uplink.ca_file"].map(origin);
        let [enrolment, file, built_in] = [Origin::Enrolment, Origin::File, Origin::BuiltIn].map(Some);
        assert_eq!(origins, [enrolment, file, built_in, enrolment]);
        let other = package.replace("id = \"\"", "id = \"mh07-000124\"");
        let error = Config::parse_enrolled(&other, &[], Some(&enrolled)).expect_err("another box").to_string();
        assert!(error.contains("device.id") && error.contains("mh07-000123"), "{error}");
    }
}
