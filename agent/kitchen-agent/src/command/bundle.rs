//! `bundle`: what someone who helps from afar needs to know of this box, in one archive of at most 5 MB, without
//! secrets, pictures and clips. A part that can't be had is noted and left out; the others are there.

mod part;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use kitchen_core::time::{Clock as _, TimeZone, Wall};
use serde_json::json;

use self::part::{PARTS, Part, Source};
use super::{print_json, print_line, refused};
use crate::cli::{BundleArguments, Cli, Exit};
use crate::clock::SystemClock;
use crate::notice::notice;
use crate::text::text;
use crate::{config_file, scrub};

/// Why a part is missing or not whole.
const NOTES: &str = "notes.txt";
const USUAL_ZONE: &str = "Asia/Shanghai";

/// One file of the archive.
struct Content {
    name: &'static str,
    text: String,
}

pub fn run(cli: &Cli, arguments: &BundleArguments) -> Result<Exit> {
    let config = config_file::load(cli).ok();
    let device = config.as_ref().map_or("unknown", |config| config.device.id.as_str());
    let zone = config.as_ref().map(kitchen_core::config::Config::time_zone);
    let zone = zone.or_else(|| TimeZone::named(USUAL_ZONE).ok()).unwrap_or(TimeZone::UTC);
    let now = SystemClock::new().stamp().wall;
    let name = format!("kitchen-agent-bundle-{device}-{}", now.local_text(&zone).replace(' ', "-").replace(':', ""));
    let path = std::path::absolute(arguments.out.clone().unwrap_or_else(|| format!("{name}.tar.gz").into()))?;
    // Made first: a folder that takes no file is told before minutes are spent.
    let file = match File::create(&path) {
        Ok(file) => file,
        Err(error) => {
            let text = text!("bundle-unwritable", path = path.display(), error = error);
            return Ok(refused(&text, Exit::CouldNotCheck));
        }
    };
    let contents = collect(cli, device, now)?;
    let written = write(file, &name, now, &contents).and_then(|()| Ok(path.metadata()?.len()));
    let bytes = written.with_context(|| notice!("file-unwritable", None, path = path.display()))?;
    if cli.json {
        let files: Vec<_> =
            contents.iter().map(|content| json!({ "name": content.name, "bytes": content.text.len() })).collect();
        print_json(&json!({ "path": path, "bytes": bytes, "files": files }))?;
    } else {
        print_line(&text!("bundle-written", path = path.display(), kilobytes = bytes.div_ceil(1000)));
    }
    Ok(Exit::Done)
}

/// Every part, scrubbed, each told as soon as it is there.
fn collect(cli: &Cli, device: &str, now: Wall) -> Result<Vec<Content>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = config_file::path(cli);
    let mut notes = String::new();
    let mut contents = Vec::new();
    let mut add = |name, text: &str| {
        let content = Content { name, text: scrub::text(text).into_owned() };
        if !cli.json {
            print_line(&format!("{:>9}  {name}", content.text.len()));
        }
        contents.push(content);
    };
    let versions = json!({ "agent": env!("CARGO_PKG_VERSION"), "device": device, "made_at": now, "target": target() });
    add("versions.json", &format!("{versions}\n"));
    for Part { name, source, limit_s, keep } in &PARTS {
        let read = match source {
            Source::Configuration => part::file(&config),
            Source::File(path) => part::file(Path::new(path)),
            Source::Own(words) => runtime.block_on(part::own(words, &config, *limit_s)),
            Source::Program(words) => runtime.block_on(part::program(words, *limit_s)),
        };
        if let Some(note) = &read.note {
            notes.push_str(&format!("{name}: {note}\n"));
        }
        if let Some(text) = &read.text {
            let kept = keep.of(text);
            if kept.len() < text.len() {
                notes.push_str(&format!("{name}: {} bytes of {} are here\n", kept.len(), text.len()));
            }
            add(name, kept);
        }
    }
    if !notes.is_empty() {
        add(NOTES, part::Keep::Start.of(&notes));
    }
    Ok(contents)
}

fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

fn write(file: File, folder: &str, now: Wall, contents: &[Content]) -> Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(BufWriter::new(file), Compression::best()));
    for Content { name, text } in contents {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(now.as_unix_millis() / 1000).unwrap_or(0));
        archive.append_data(&mut header, PathBuf::from(folder).join(name), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 5_000_000;

    /// Text that hardly compresses: digits of a simple generator, base 94.
    fn noise(bytes: usize) -> String {
        let mut state = 7_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(33 + u8::try_from((state >> 33) % 94).expect("below 94"))
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    #[test]
    fn a_bundle_whose_every_part_is_as_long_as_it_may_be_keeps_its_limit() {
        let text = noise(6_000_000);
        let longest = |name, keep: &part::Keep| Content { name, text: keep.of(&text).to_owned() };
        let mut contents: Vec<Content> = PARTS.iter().map(|part| longest(part.name, &part.keep)).collect();
        contents.extend([longest(NOTES, &part::Keep::Start), longest("versions.json", &part::Keep::Start)]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bundle.tar.gz");
        let file = File::create(&path).expect("created");
        write(file, "bundle", Wall::from_unix_millis(0), &contents).expect("written");
        let bytes = path.metadata().expect("there").len();
        assert!((3_000_000..=LIMIT).contains(&bytes), "{bytes}");
    }
}
