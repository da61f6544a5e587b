//! `agent.toml` with overrides as `config validate` and `config show` take them. After a line `#environment` each line is
//! a variable, `NAME=VALUE`. What is accepted is accepted again as it is shown; what is refused names a line or a key.

use kitchen_core::config::{Config, ConfigError, ENVIRONMENT_PREFIX};
use kitchen_core::time::LocalTime;

const MARK: &str = "\n#environment\n";

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (file, variables) = text.split_once(MARK).unwrap_or((text, ""));
    let environment: Vec<(String, String)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match Config::parse(file, &environment) {
        Ok(config) => is_usable(&config, file, &environment),
        Err(error) => names_a_place(&error),
    }
}

fn is_usable(config: &Config, file: &str, environment: &[(String, String)]) {
    let shown = toml::to_string(config).expect("a configuration is made of TOML's types");
    let again = Config::parse(&shown, &[]).expect("what is in force is accepted");
    assert_eq!(again, *config, "shown and read again");
    assert!(!Config::settings(file, environment, None).expect("accepted before").is_empty());
    let _ = (config.without_effect(), config.time_zone());
    for settings in config.rule_settings() {
        let _ = settings.is_active(LocalTime { weekday: 6, minute: 1439 });
        for area in config.cameras.iter().flat_map(|camera| settings.areas(camera)) {
            let _ = area.contains([0.5, 0.5]);
        }
    }
}

fn names_a_place(error: &ConfigError) {
    match error {
        ConfigError::Problems(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.key.is_empty()), "{error}");
        }
        ConfigError::Text(text) => {
            let places = ["line ", "`", "too deep"];
            assert!(places.iter().any(|place| text.contains(place)), "no line and no key: {text}");
        }
    }
}
