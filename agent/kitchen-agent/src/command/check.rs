//! `check`: the named checks, a line each, the next step below what is wrong.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::{print_json, print_line};
use crate::check::{self, Check, Name, Verdict};
use crate::cli::{Cli, Exit};
use crate::config_file;
use crate::text::text;

pub fn run(cli: &Cli, names: &[String]) -> Result<Exit> {
    let mut wanted = BTreeSet::new();
    for text in names {
        let named = Name::named(text);
        if named.is_empty() {
            let known: Vec<&str> = Name::ALL.iter().map(|name| name.as_str()).collect();
            eprintln!("kitchen-agent: {}", text!("check-unknown", name = text, known = known.join(" ")));
            return Ok(Exit::WrongUse);
        }
        wanted.extend(named);
    }
    if wanted.is_empty() {
        wanted.extend(Name::ALL);
    }
    kitchen_uplink::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let checks = runtime.block_on(check::run(config_file::path(cli), config_file::load(cli), wanted));
    // A check that hangs in the kernel holds up nobody.
    runtime.shutdown_background();
    let exit = exit(&checks);
    if cli.json {
        let lines: Vec<Value> = checks.iter().map(as_json).collect();
        print_json(&json!({ "checks": lines, "ok": exit == Exit::Done }))?;
    } else {
        checks.iter().flat_map(lines).for_each(|line| print_line(&line));
        print_line(&summary(&checks));
    }
    Ok(exit)
}

fn exit(checks: &[Check]) -> Exit {
    if checks.iter().any(|check| check.finding.verdict == Verdict::Fail) {
        Exit::ProblemFound
    } else if checks.iter().any(|check| check.finding.is_unchecked) {
        Exit::CouldNotCheck
    } else {
        Exit::Done
    }
}

fn as_json(check: &Check) -> Value {
    let Check { name, camera, finding, took, because_of } = check;
    let mut value = json!({
        "name": name.as_str(),
        "result": finding.verdict,
        "found": finding.found,
        "expected": finding.expected,
        "next_step": finding.fault.map(|fault| fault.next_step()),
        "ms": kitchen_core::time::millis(*took),
    });
    if let Some(camera) = camera {
        value["camera"] = json!(camera);
    }
    if let Some(fault) = finding.fault {
        value["code"] = json!(fault);
    }
    if let Some(cause) = because_of {
        value["because_of"] = json!(cause.as_str());
    }
    value
}

fn lines(check: &Check) -> Vec<String> {
    let finding = &check.finding;
    let mark = match finding.verdict {
        Verdict::Ok => "✓",
        Verdict::Warn => "!",
        Verdict::Fail => "✗",
        Verdict::Skipped => "–",
    };
    let name = match &check.camera {
        Some(camera) => format!("{} {camera}", check.name.as_str()),
        None => check.name.as_str().to_owned(),
    };
    let Some(fault) = finding.fault else { return vec![format!("{mark} {name:<20} {}", finding.found)] };
    // A title names what has failed; what only may fail is said by what was found.
    let mut lines = if finding.verdict == Verdict::Warn {
        vec![format!("{mark} {name:<20} {}", finding.found)]
    } else {
        let found = text!("check-line-found", text = finding.found);
        vec![format!("{mark} {name:<20} {fault} {}", fault.title()), format!("    {found}")]
    };
    if let Some(expected) = &finding.expected {
        lines.push(format!("    {}", text!("check-line-expected", text = expected)));
    }
    lines.push(format!("  → {}", fault.next_step()));
    lines
}

fn summary(checks: &[Check]) -> String {
    let count = |verdict: Verdict| checks.iter().filter(|check| check.finding.verdict == verdict).count();
    let failed = count(Verdict::Fail);
    let warned = count(Verdict::Warn);
    if failed > 0 {
        text!("check-summary-failed", failed = failed, warned = warned)
    } else if checks.iter().any(|check| check.finding.is_unchecked) {
        text!("check-summary-unchecked")
    } else if warned > 0 {
        text!("check-summary-warned", warned = warned)
    } else {
        text!("check-summary-good")
    }
}
