//! Where a claim may lie: the boot partition, sticks that somebody has mounted, and sticks that nobody has; those are
//! mounted here for as long as this program runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::health;

/// What sticks are formatted with.
const FILE_SYSTEMS: &[&str] = &["vfat", "exfat", "ext4"];

/// A folder in which files of an installer may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    pub folder: PathBuf,
}

/// The folders that are there without doing anything.
#[must_use]
pub fn mounted() -> Vec<PathBuf> {
    let boot = root("KITCHEN_AGENT_BOOT", "/boot");
    let media = root("KITCHEN_AGENT_MEDIA", "/media");
    let mut folders = vec![boot.join("firmware"), boot];
    for below in [media.clone(), PathBuf::from("/run/media")] {
        for folder in children(&below) {
            folders.extend(children(&folder));
            folders.push(folder);
        }
    }
    folders.push(media);
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Sticks that were mounted here, by their device.
#[derive(Debug, Default)]
pub struct Media {
    mounts: BTreeMap<String, PathBuf>,
}

impl Media {
    /// Everywhere a claim may lie at the moment.
    pub fn all(&mut self) -> Vec<Medium> {
        self.mount_sticks();
        let sticks = self.mounts.values().cloned();
        mounted().into_iter().chain(sticks).map(|folder| Medium { folder }).collect()
    }

    fn mount_sticks(&mut self) {
        let there = sticks(&health::sysfs());
        let gone: Vec<String> = self.mounts.keys().filter(|name| !there.contains(name)).cloned().collect();
        for name in gone {
            if let Some(folder) = self.mounts.remove(&name) {
                let _ = unmount(&folder, UnmountFlags::DETACH);
            }
        }
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for name in there {
            let device = format!("/dev/{name}");
            let is_mounted = table.lines().any(|line| line.split(' ').next() == Some(&device));
            if is_mounted || self.mounts.contains_key(&name) {
                continue;
            }
            let folder = health::run().join("kitchen-first-boot").join(&name);
            if mount_at(&device, &folder) {
                tracing::info!(device, "stick mounted");
                self.mounts.insert(name, folder);
            }
        }
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        for folder in self.mounts.values() {
            let _ = unmount(folder, UnmountFlags::DETACH);
        }
    }
}

fn mount_at(device: &str, folder: &Path) -> bool {
    if fs::create_dir_all(folder).is_err() {
        return false;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::SYNCHRONOUS;
    FILE_SYSTEMS.iter().any(|kind| mount(device, folder, *kind, flags, None).is_ok())
}

/// Partitions of USB disks, and USB disks without partitions.
fn sticks(sysfs: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for disk in children(&sysfs.join("block")) {
        let is_usb = fs::canonicalize(&disk).is_ok_and(|path| path.to_string_lossy().contains("/usb"));
        if !is_usb {
            continue;
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let parts: Vec<String> = children(&disk)
            .iter()
            .filter(|part| part.join("partition").exists())
            .filter_map(|part| name(part))
            .collect();
        if parts.is_empty() { found.extend(name(&disk)) } else { found.extend(parts) }
    }
    found
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn root(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| default.into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn partitions_of_usb_disks_are_sticks_and_the_card_is_none() {
        let sysfs = tempfile::tempdir().expect("a folder");
        let disk = |place: &str, name: &str, partitions: &[&str]| {
            let folder = sysfs.path().join("devices").join(place).join(name);
            for partition in partitions {
                fs::create_dir_all(folder.join(partition)).expect("made");
                fs::write(folder.join(partition).join("partition"), "1").expect("written");
            }
            fs::create_dir_all(&folder).expect("made");
            fs::create_dir_all(sysfs.path().join("block")).expect("made");
            symlink(&folder, sysfs.path().join("block").join(name)).expect("linked");
        };
        disk("platform/mmc", "mmcblk0", &["mmcblk0p1", "mmcblk0p2"]);
        disk("pci/usb1/1-1", "sda", &["sda1"]);
        disk("pci/usb2/2-1", "sdb", &[]);
        assert_eq!(sticks(sysfs.path()), ["sda1", "sdb"]);
    }
}
