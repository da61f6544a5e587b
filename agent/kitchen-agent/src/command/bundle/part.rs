//! The parts of a support bundle: files of the system, other programs, and this program's own commands, each run as a
//! child with a time limit, so that one that hangs or fails leaves the others as they are.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Bytes of an ordinary part. Together all parts stay below 5 MB, even where nothing can be compressed.
const PART: usize = 200_000;
const JOURNAL: usize = 2_000_000;
/// No file is read further.
const LONGEST_FILE: u64 = 4_000_000;

pub(super) struct Part {
    pub name: &'static str,
    pub source: Source,
    pub limit_s: u64,
    pub keep: Keep,
}

pub(super) enum Source {
    /// The text of the configuration file.
    Configuration,
    File(&'static str),
    /// A command of this program.
    Own(&'static [&'static str]),
    Program(&'static [&'static str]),
}

/// What is kept of a part that is too long.
pub(super) enum Keep {
    Start,
    End,
    Journal,
}

impl Keep {
    pub fn of<'a>(&self, text: &'a str) -> &'a str {
        match self {
            Self::Start => &text[..text.floor_char_boundary(PART)],
            Self::End => &text[text.ceil_char_boundary(text.len().saturating_sub(PART))..],
            Self::Journal if text.len() > JOURNAL => {
                let end = &text[text.ceil_char_boundary(text.len() - JOURNAL)..];
                end.split_once('\n').map_or(end, |(_, whole_lines)| whole_lines)
            }
            Self::Journal => text,
        }
    }
}

const fn part(name: &'static str, source: Source) -> Part {
    Part { name, source, limit_s: 20, keep: Keep::Start }
}

pub(super) const PARTS: [Part; 14] = [
    part("agent.toml", Source::Configuration),
    part("config.json", Source::Own(&["config", "show", "--json"])),
    part("config-validate.json", Source::Own(&["config", "validate", "--json"])),
    part("status.json", Source::Own(&["status", "--json"])),
    Part { limit_s: 120, ..part("check.json", Source::Own(&["check", "--json"])) },
    part("models.json", Source::Own(&["model", "list", "--json"])),
    part("outbox.json", Source::Own(&["outbox", "list", "--json", "--limit", "500"])),
    part("alerts.json", Source::Own(&["alerts", "list", "--json", "--limit", "200"])),
    Part { keep: Keep::Journal, ..part("journal.jsonl", Source::Own(&["log", "--json", "--lines", "10000"])) },
    part("meminfo.txt", Source::File("/proc/meminfo")),
    part("df.txt", Source::Program(&["df", "-h", "-T"])),
    part("uname.txt", Source::Program(&["uname", "-a"])),
    part("os-release.txt", Source::File("/etc/os-release")),
    Part { keep: Keep::End, ..part("dmesg.txt", Source::Program(&["dmesg", "--level=emerg,alert,crit,err,warn"])) },
];

/// What a source gave.
#[derive(Default)]
pub(super) struct Given {
    pub text: Option<String>,
    /// Why it is missing or incomplete.
    pub note: Option<String>,
}

pub(super) fn file(path: &Path) -> Given {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut bytes));
    match read {
        Ok(_) => Given { text: Some(String::from_utf8_lossy(&bytes).into_owned()), note: None },
        Err(error) => Given { text: None, note: Some(format!("can't read {}: {error}", path.display())) },
    }
}

/// A command of this same program, on the same configuration.
pub(super) async fn own(words: &[&str], config: &Path, limit_s: u64) -> Given {
    let program = std::env::current_exe().unwrap_or_else(|_| "kitchen-agent".into());
    let mut command = Command::new(program);
    command.args(words).args(["--lang", "en", "--config"]).arg(config);
    finished(command, &format!("kitchen-agent {}", words.join(" ")), limit_s).await
}

pub(super) async fn program(words: &[&str], limit_s: u64) -> Given {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("LC_ALL", "C");
    finished(command, &words.join(" "), limit_s).await
}

async fn finished(mut command: Command, shown: &str, limit_s: u64) -> Given {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(Duration::from_secs(limit_s), command.output()).await {
        Err(_) => return Given { text: None, note: Some(format!("{shown} did not end within {limit_s} s")) },
        Ok(Err(error)) => return Given { text: None, note: Some(format!("{shown} can't be run: {error}")) },
        Ok(Ok(output)) => output,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let is_quiet = output.status.success() && said.trim().is_empty();
    Given {
        text: (!output.stdout.is_empty()).then(|| String::from_utf8_lossy(&output.stdout).into_owned()),
        note: (!is_quiet).then(|| format!("{shown} ended with {}: {}", output.status, said.trim())),
    }
}
