//! `model list`, `verify` and `bench`: the pack on this box.

use anyhow::Result;
use kitchen_core::config::{Config, EngineChoice};
use kitchen_core::detection::Label;
use kitchen_vision::detect::{GoldenReport, Manifest, Network};
use serde_json::{Value, json};

use super::{print_json, print_line};
use crate::cli::{Cli, Exit};
use crate::engine_choice::{self, ENGINES, Measured};
use crate::text::text;
use crate::{config_file, explain, pack};

pub fn list(cli: &Cli) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    let models_dir = config_file::models_dir(&config);
    let mut models = Vec::new();
    for name in pack::names(&models_dir)? {
        let manifest = Manifest::read(&models_dir.join(&name))?;
        let labels: Vec<&str> = manifest.labels().into_iter().map(Label::as_str).collect();
        if !cli.json {
            let (input, licence) = (manifest.input, &manifest.licence);
            let size = format!("{}×{}", input.width, input.height);
            let (version, labels) = (&manifest.version, labels.join(" "));
            print_line(&format!("{name} {version}  {size}  {labels}  {licence}"));
        }
        models.push(json!({
            "name": name, "version": manifest.version, "labels": labels, "sha256": manifest.sha256,
            "licence": manifest.licence, "data_rights": manifest.data_rights,
        }));
    }
    if cli.json {
        print_json(&json!({ "models_dir": models_dir, "models": models }))?;
    }
    Ok(Exit::Done)
}

pub fn verify(cli: &Cli) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    let models_dir = config_file::models_dir(&config);
    let mut all_ok = true;
    let mut models = Vec::new();
    for name in pack::names(&models_dir)? {
        let mut engines = Vec::new();
        for engine in ENGINES {
            let (result, said) = verify_engine(&config, &name, engine);
            all_ok &= result["ok"] == true;
            if !cli.json {
                print_line(&format!("{name:<15} {:<6} {said}", result["engine"].as_str().unwrap_or_default()));
            }
            engines.push(result);
        }
        models.push(json!({ "name": name, "engines": engines }));
    }
    if cli.json {
        print_json(&json!({ "ok": all_ok, "models": models }))?;
    }
    Ok(if all_ok { Exit::Done } else { Exit::ProblemFound })
}

/// As JSON, and in the chosen language.
fn verify_engine(config: &Config, name: &str, engine: EngineChoice) -> (Value, String) {
    let verified = Network::load(&config_file::models_dir(config), name, engine, config.detector.threads)
        .and_then(|mut network| network.verify_golden());
    match verified {
        Ok(GoldenReport { max_difference, tolerance, ok }) => {
            let said = if ok {
                text!("model-differs-little", difference = max_difference)
            } else {
                text!("model-differs", difference = max_difference, tolerance = tolerance)
            };
            (json!({ "engine": engine, "ok": ok, "max_difference": max_difference, "tolerance": tolerance }), said)
        }
        Err(error) => {
            let notice = explain::model(&error);
            let code = notice.code;
            let said = format!("✗ {}{notice}", code.map_or_else(String::new, |code| format!("[{code}] ")));
            (json!({ "engine": engine, "ok": false, "error": error.to_string(), "code": code }), said)
        }
    }
}

/// Times the engines and keeps the best for `engine = "auto"`.
pub fn bench(cli: &Cli, runs: u32) -> Result<Exit> {
    let config = config_file::load_or_default(cli)?;
    let models_dir = config_file::models_dir(&config);
    let mut results = Vec::new();
    for name in pack::names(&models_dir)? {
        let measured = engine_choice::measure(&config, &name, runs, None)?;
        if config_file::is_given(cli) {
            engine_choice::keep(&config, &name, &measured);
        }
        let best = engine_choice::best(&measured).cloned();
        for one in measured {
            let is_best = best.as_ref().is_some_and(|best| best.choice == one.choice);
            if !cli.json {
                print_line(&bench_line(&one, is_best));
            }
            let mut result = serde_json::to_value(&one)?;
            result["chosen"] = json!(is_best);
            results.push(result);
        }
    }
    if cli.json {
        print_json(&json!({ "bench": results }))?;
    }
    Ok(Exit::Done)
}

fn bench_line(one: &Measured, is_best: bool) -> String {
    let golden = if one.golden { text!("model-golden-right") } else { text!("model-golden-wrong") };
    let (median, least) = (format!("{:.1}", one.median_ms), format!("{:.1}", one.least_ms));
    let times = text!("model-timed", median = median, least = least);
    let engine = json!(one.choice.engine);
    let threads = text!("model-threads", count = one.choice.threads);
    let chosen = if is_best { text!("model-chosen") } else { String::new() };
    format!("{:<15} {:<6} {threads}  {times}  {golden}{chosen}", one.model, engine.as_str().unwrap_or_default())
}
