//! A copy of the disk as a power cut left it: the file system's journal is replayed as the next start's kernel would,
//! and its files are taken out. Needs neither root nor a mount.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use kitchen_test_support::system;

/// Smaller than what is worth to be left out.
const PIECE_BYTES: usize = 4096;
/// `e2fsck` says with these bits that it has corrected something.
const CORRECTED: i32 = 0b11;

/// A new, empty file system of so many bytes, made at `path`.
///
/// # Panics
/// Without e2fsprogs.
pub fn make_file_system(path: &Path, bytes: u64) -> Result<Vec<u8>> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("making {}", path.display()))?;
    let mut make = Command::new(system("mke2fs", "e2fsprogs"));
    make.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=4"]);
    // What is made later would be written by a thread of the kernel, between the box's own writes.
    make.args(["-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(path);
    let made = make.output().context("running mke2fs")?;
    ensure!(made.status.success(), "mke2fs failed: {}", said(&made));
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Replays the journal in `image` and takes all files out into `folder`. What is wrong with the file system is an
/// error; a sound disk never leaves one.
///
/// # Panics
/// Without e2fsprogs.
pub fn take_out(image: &[u8], path: &Path, folder: &Path) -> Result<()> {
    write_sparse(image, path)?;
    let mut replay = Command::new(system("e2fsck", "e2fsprogs"));
    let replayed = replay.args(["-y", "-E", "journal_only"]).arg(path).output().context("running e2fsck")?;
    let is_well = replayed.status.code().is_some_and(|code| code & !CORRECTED == 0);
    ensure!(is_well, "the journal can't be replayed: {}", said(&replayed));
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut dump = Command::new(system("debugfs", "e2fsprogs"));
    dump.args(["-R", &format!("rdump / {}", folder.display())]).arg(path);
    let dumped = dump.output().context("running debugfs")?;
    // It ends well whatever happens, and greets on standard error.
    let complaints: Vec<String> = String::from_utf8_lossy(&dumped.stderr)
        .lines()
        .filter(|line| !line.starts_with("debugfs ") && !line.contains("while changing ownership"))
        .map(str::to_owned)
        .collect();
    ensure!(complaints.is_empty(), "files can't be read: {}", complaints.join("; "));
    Ok(())
}

/// The disk at `path`, whose journal was replayed, after the check that comes before it is mounted. The kernel alone
/// refused to mount one of some ten disks whose journal it should have replayed.
///
/// # Panics
/// Without e2fsprogs.
pub fn checked(path: &Path) -> Result<Vec<u8>> {
    let mut check = Command::new(system("e2fsck", "e2fsprogs"));
    // Of a disk that lies nothing may be left to correct.
    check.args(["-f", "-y"]).arg(path).output().context("running e2fsck")?;
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn write_sparse(image: &[u8], path: &Path) -> Result<()> {
    let write = || {
        let file = File::create(path)?;
        file.set_len(image.len() as u64)?;
        for (piece, offset) in image.chunks(PIECE_BYTES).zip((0..).step_by(PIECE_BYTES)) {
            if piece.iter().any(|byte| *byte != 0) {
                file.write_all_at(piece, offset)?;
            }
        }
        std::io::Result::Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn said(output: &Output) -> String {
    format!("{} {}", String::from_utf8_lossy(&output.stdout).trim(), String::from_utf8_lossy(&output.stderr).trim())
}
