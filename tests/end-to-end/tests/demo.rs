//! The newcomer's first command, with nothing beside the checkout.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use kitchen_test_support::{built, ffprobe, in_english, repository, run};

#[test]
fn the_demo_shows_an_alert_with_snapshot_and_clip() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(built("kitchen-agent"));
    command.args(["demo", "--seconds", "60"]).current_dir(repository());
    in_english(&mut command);
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    let finished = run(&mut command).expect_code(0);
    let names = ["intrusion", "Person outside working hours"];
    assert!(names.iter().any(|name| finished.stdout.contains(name)), "{finished:#?}");
    let paths = existing_paths(&finished.stdout);
    let named = |extensions: &[&str]| -> PathBuf {
        let found = paths.iter().find(|path| {
            path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
        });
        found.unwrap_or_else(|| panic!("no existing {extensions:?} is named: {finished:#?}")).clone()
    };
    image::open(named(&["jpg", "jpeg"])).unwrap();
    assert_eq!(ffprobe(&named(&["mp4"]))["streams"][0]["codec_name"], "h264");
}

fn existing_paths(text: &str) -> Vec<PathBuf> {
    let words = text.split_whitespace().map(|word| word.trim_matches(|c: char| "\"'(),;".contains(c)));
    words
        .map(|word| word.strip_prefix("file://").unwrap_or(word))
        .map(PathBuf::from)
        .filter(|path| Path::is_file(path))
        .collect()
}
