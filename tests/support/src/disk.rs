//! A small file system of its own in memory, which fills up and turns read-only as a real one does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{run, system};

/// Unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// `options` as those of a tmpfs, e.g. `size=24m`.
    #[must_use]
    pub fn mount(folder: &Path, options: &str) -> Self {
        assert_root_user();
        fs::create_dir_all(folder).expect("a folder for the disk");
        let mut mount = Command::new(system("mount", "mount"));
        mount.args(["-t", "tmpfs", "-o", options, "kitchen-test"]).arg(folder);
        let _ = run(&mut mount).expect_code(0);
        Self(folder.to_owned())
    }

    pub fn make_read_only(&self) {
        let mut mount = Command::new(system("mount", "mount"));
        let _ = run(mount.args(["-o", "remount,ro"]).arg(&self.0)).expect_code(0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

pub fn assert_root_user() {
    let own = fs::metadata("/proc/self").expect("proc");
    let is_root = std::os::unix::fs::MetadataExt::uid(&own) == 0;
    assert!(is_root, "this test mounts a disk: run it as root, e.g. sudo tests/run.sh");
}
