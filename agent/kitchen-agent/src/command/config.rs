//! `config show` and `config validate`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kitchen_core::config::{Config, ConfigError, ConfigProblem, Origin};
use serde_json::{Value, json};

use super::{print_json, print_line};
use crate::cli::{Cli, Exit};
use crate::text::text;
use crate::{config_file, explain};

pub fn show(cli: &Cli) -> Result<Exit> {
    let path = config_file::path(cli);
    let (text, environment) = (config_file::text(&path)?, config_file::environment());
    let enrolled = config_file::enrolled(&config_file::state_dir_in(&text, &environment));
    let settings =
        Config::settings(&text, &environment, enrolled.as_ref()).with_context(|| config_file::is_wrong(&path))?;
    if cli.json {
        print_json(&json!({ "file": path, "settings": settings }))?;
        return Ok(Exit::Done);
    }
    for setting in settings {
        let origin = match setting.origin {
            Origin::BuiltIn => text!("config-origin-built-in"),
            Origin::Enrolment => text!("config-origin-enrolment"),
            Origin::File => text!("config-origin-file"),
            Origin::Environment => text!("config-origin-environment"),
        };
        print_line(&format!("{:<40} {:<48} {origin}", setting.key, setting.value.to_string()));
    }
    Ok(Exit::Done)
}

pub fn validate(cli: &Cli) -> Result<Exit> {
    let path = config_file::path(cli);
    let (text, environment) = (config_file::text(&path)?, config_file::environment());
    let enrolled = config_file::enrolled(&config_file::state_dir_in(&text, &environment));
    let result = Config::parse_enrolled(&text, &environment, enrolled.as_ref());
    let missing = result.as_ref().map(missing_files).unwrap_or_default();
    let without_effect = result.as_ref().map(Config::without_effect).unwrap_or_default();
    let valid = result.is_ok() && missing.is_empty();
    if cli.json {
        let problems: Vec<Value> = match &result {
            Ok(_) => missing.iter().map(MissingFile::json).collect(),
            Err(ConfigError::Text(text)) => vec![json!({ "message": text })],
            Err(ConfigError::Problems(problems)) => problems.iter().map(problem_json).collect(),
        };
        print_json(&json!({
            "file": path, "valid": valid, "problems": problems, "without_effect": without_effect,
        }))?;
    } else if valid {
        print_line(&text!("config-is-valid", path = path.display()));
        without_effect.iter().for_each(|key| print_line(&indented(&text!("config-without-effect", key = key))));
    } else {
        print_line(&text!("config-is-wrong", path = path.display()));
        let problems: Vec<String> = match &result {
            Ok(_) => missing.iter().map(MissingFile::line).collect(),
            Err(ConfigError::Text(text)) => vec![explain::toml_text(text)],
            Err(ConfigError::Problems(problems)) => problems.iter().map(explain::config_problem).collect(),
        };
        problems.iter().for_each(|problem| print_line(&indented(problem)));
    }
    Ok(if valid { Exit::Done } else { Exit::ProblemFound })
}

fn problem_json(problem: &ConfigProblem) -> Value {
    json!({ "key": problem.key, "found": problem.found, "expected": problem.expected.to_string() })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// A file that the configuration names and that is not there.
struct MissingFile {
    key: String,
    path: PathBuf,
}

impl MissingFile {
    fn json(&self) -> Value {
        let found = format!("no file {}", self.path.display());
        json!({ "key": self.key, "found": found, "expected": "a file that exists" })
    }

    fn line(&self) -> String {
        text!("config-file-missing", key = self.key, path = self.path.display())
    }
}

fn missing_files(config: &Config) -> Vec<MissingFile> {
    let uplink = &config.uplink;
    let mut named = vec![
        ("uplink.ca_file".to_owned(), uplink.ca_file.clone()),
        ("uplink.certificate_file".to_owned(), uplink.certificate_file.clone()),
        ("uplink.key_file".to_owned(), uplink.key_file.clone()),
    ];
    for camera in &config.cameras {
        named.push((format!("camera.{}.password_file", camera.id), camera.password_file.clone()));
        let video = camera.url.strip_prefix("file://").map(PathBuf::from);
        named.push((format!("camera.{}.url", camera.id), video));
    }
    let missing = named.into_iter().filter_map(|(key, path)| Some((key, path.filter(|path| !path.exists())?)));
    missing.map(|(key, path)| MissingFile { key, path }).collect()
}
