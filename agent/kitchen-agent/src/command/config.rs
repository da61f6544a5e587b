//! `config show` and `config validate`.

use anyhow::{Context as _, Result};
use kitchen_core::config::{Config, ConfigError, Origin};
use serde_json::json;

use super::{print_json, print_line};
use crate::cli::{Cli, Exit};
use crate::config_file;

pub fn show(cli: &Cli) -> Result<Exit> {
    let path = config_file::path(cli);
    let settings = Config::settings(&config_file::text(&path)?, &config_file::environment())
        .with_context(|| format!("{} is wrong", path.display()))?;
    if cli.json {
        print_json(&json!({ "file": path, "settings": settings }))?;
        return Ok(Exit::Done);
    }
    for setting in settings {
        let origin = match setting.origin {
            Origin::BuiltIn => "built-in",
            Origin::File => "file",
            Origin::Environment => "environment",
        };
        print_line(&format!("{:<40} {:<48} {origin}", setting.key, setting.value.to_string()));
    }
    Ok(Exit::Done)
}

pub fn validate(cli: &Cli) -> Result<Exit> {
    let path = config_file::path(cli);
    let result = Config::parse(&config_file::text(&path)?, &config_file::environment());
    let (valid, problems, without_effect) = match &result {
        Ok(config) => {
            let missing = missing_files(config);
            (missing.is_empty(), missing, config.without_effect())
        }
        Err(ConfigError::Text(text)) => (false, vec![json!({ "message": text })], Vec::new()),
        Err(ConfigError::Problems(problems)) => {
            let problems = problems
                .iter()
                .map(|problem| json!({ "key": problem.key, "found": problem.found, "expected": problem.expected.to_string() }));
            (false, problems.collect(), Vec::new())
        }
    };
    if cli.json {
        print_json(&json!({
            "file": path, "valid": valid, "problems": problems, "without_effect": without_effect,
        }))?;
    } else if valid {
        print_line(&format!("{}: valid", path.display()));
        without_effect.iter().for_each(|key| print_line(&format!("  {key}: accepted, without effect in this version")));
    } else {
        print_line(&format!("{}: wrong", path.display()));
        problems.iter().for_each(|problem| print_line(&indented(problem)));
    }
    Ok(if valid { Exit::Done } else { Exit::ProblemFound })
}

fn indented(problem: &serde_json::Value) -> String {
    let text = |key: &str| problem[key].as_str().unwrap_or_default();
    let line = match problem.get("message") {
        Some(_) => text("message").to_owned(),
        None => format!("{}: found {}, expected {}", text("key"), text("found"), text("expected")),
    };
    line.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Files that the configuration names and that are not there.
fn missing_files(config: &Config) -> Vec<serde_json::Value> {
    let uplink = &config.uplink;
    let mut named = vec![
        ("uplink.ca_file".to_owned(), uplink.ca_file.clone()),
        ("uplink.certificate_file".to_owned(), uplink.certificate_file.clone()),
        ("uplink.key_file".to_owned(), uplink.key_file.clone()),
    ];
    for camera in &config.cameras {
        named.push((format!("camera.{}.password_file", camera.id), camera.password_file.clone()));
        let video = camera.url.strip_prefix("file://").map(std::path::PathBuf::from);
        named.push((format!("camera.{}.url", camera.id), video));
    }
    let missing = named.into_iter().filter_map(|(key, path)| Some((key, path.filter(|path| !path.exists())?)));
    missing
        .map(|(key, path)| json!({ "key": key, "found": format!("no file {}", path.display()), "expected": "a file that exists" }))
        .collect()
}
