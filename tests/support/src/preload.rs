//! Libraries that stand between a program and libc: a clock that is wrong, a disk that fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::repository;

/// Compiles the C file `source`, named from the repository's root, into `folder`; the path for `LD_PRELOAD`.
///
/// # Panics
/// Without a C compiler.
#[must_use]
pub fn preload(source: &str, folder: &Path) -> PathBuf {
    let source = repository().join(source);
    let library = folder.join(source.file_stem().expect("a file")).with_extension("so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let status = compiler.status().expect("a C compiler: apt install gcc");
    assert!(status.success(), "{} does not compile", source.display());
    library
}
