//! `kitchen-district batch`: its command line, what it prints, its exit code.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kitchen_district::batch::{self, Batch, BatchError, BatchOptions};
use serde_json::{Value, json};

/// Of `--json`.
const VERSION: u32 = 1;
/// Work that takes less shows no bar.
const SHORT: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

pub const EXAMPLE: &str = "\
Example:
  kitchen-district batch sites.csv --store /var/lib/kitchen-ca --out batch-7 --expires 90d

  sites.csv, UTF-8, one row a box, the header in English or Chinese (标签,乡镇,餐饮单位,许可证号,摄像头,序列号):
    label,town,restaurant,licence,camera,serial
    mh07-000123,青山镇,老王火锅,JY13301000001,灶台,

Exit codes: 0 made, 1 problems in SITES.csv, 2 could not, 64 wrong use";

#[derive(Debug, Args)]
pub struct BatchArguments {
    /// One row a box: label, town, restaurant, licence, camera and, if known, serial
    #[arg(value_name = "SITES.csv")]
    pub sites: PathBuf,
    /// The authority's folder
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kitchen-ca")]
    pub store: PathBuf,
    /// A new or empty folder for what is made; it will hold secrets
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How long the claims can be used: `90d`, `12h`
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = duration)]
    pub expires: Duration,
    /// The batch's name: a-z, 0-9 and - [default: the day and four letters]
    #[arg(long, value_name = "NAME", value_parser = batch_name)]
    pub batch: Option<String>,
    /// A Chinese font for the labels [default: one that is installed]
    #[arg(long, value_name = "FILE")]
    pub font: Option<PathBuf>,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = humantime::parse_duration(text).ok();
    found
        .filter(|found| (SHORTEST..=LONGEST).contains(found))
        .ok_or_else(|| "write 1h to 3650d, such as 90d".to_owned())
}

fn batch_name(text: &str) -> Result<String, String> {
    let wrong = || "write 1 to 32 of a-z, 0-9 and -".to_owned();
    if batch::is_batch_name(text) { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// Makes the batch and says what became of it.
///
/// # Errors
/// When nothing can be printed.
pub fn run(options: &BatchOptions, json: bool) -> anyhow::Result<ExitCode> {
    let mut bar = LateBar::default();
    let made = batch::make(options, |done, total| bar.show(done, total));
    bar.clear();
    match made {
        Ok(made) => {
            print_made(&made, json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            print_error(&error, json)?;
            Ok(ExitCode::from(if error.is_in_sites() { 1 } else { 2 }))
        }
    }
}

fn print_made(made: &Batch, json: bool) -> anyhow::Result<()> {
    let Batch { batch, boxes, sheets, expires, folder } = made;
    if json {
        let mut document = serde_json::to_value(made)?;
        document["v"] = VERSION.into();
        return print_document(&document);
    }
    let folder = folder.display();
    writeln!(
        std::io::stdout().lock(),
        "batch {batch}: {boxes} boxes, {sheets} sheets of labels, claims good until {expires}\n\
         written to {folder}; claims/ holds secrets\n\
         next: kitchen-district ca import {folder}/manifest.json --store DIR, then as {folder}/README.txt says"
    )?;
    Ok(())
}

fn print_error(error: &BatchError, json: bool) -> anyhow::Result<()> {
    let mut text = error.to_string();
    // A table's error says its source itself.
    if !error.is_in_sites()
        && let Some(source) = std::error::Error::source(error)
    {
        text = format!("{text} ({source})");
    }
    if json {
        print_document(&json!({ "v": VERSION, "error": text, "problems": error.problems() }))?;
    }
    let mut stderr = std::io::stderr().lock();
    if !json {
        for problem in error.problems() {
            writeln!(stderr, "{problem}")?;
        }
    }
    writeln!(stderr, "kitchen-district: {text}")?;
    Ok(())
}

fn print_document(document: &Value) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{document}")?;
    Ok(())
}

/// A progress bar that comes when the work turns out to be long, where somebody looks.
struct LateBar {
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Default for LateBar {
    fn default() -> Self {
        Self { began: Instant::now(), bar: None }
    }
}

impl LateBar {
    fn show(&mut self, done: usize, total: usize) {
        if self.bar.is_none() && self.began.elapsed() > SHORT && std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta}").expect("a valid template");
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            self.bar = Some(bar.with_style(style));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
