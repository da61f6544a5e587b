//! Where programs lie: the project's own beside the test's executable, the system's in the search path.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Finished;

/// The checkout.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Cargo's target folder, of which the running test is a part.
#[must_use]
pub fn target() -> PathBuf {
    profile().parent().expect("a profile's folder lies in the target folder").to_owned()
}

/// A program of this workspace, built with the same profile as the test.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let path = profile().join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace --bins`", path.display());
    path
}

/// A program of the system; panics naming the Debian `package` that brings it.
#[must_use]
pub fn system(name: &str, package: &str) -> PathBuf {
    let search = env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in sbin, which is not in everybody's search path.
    let folders = env::split_paths(&search).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: apt-get install {package}, or run tests/run.sh"))
}

/// Runs a program to its end.
#[must_use]
pub fn run(command: &mut Command) -> Finished {
    let output = command.output().unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
    Finished::from(output)
}

fn profile() -> PathBuf {
    let executable = env::current_exe().expect("a running test has a path");
    let folder = executable.parent().expect("a file lies in a folder");
    if folder.ends_with("deps") { folder.parent().expect("deps lies in the profile's folder") } else { folder }
        .to_owned()
}
