//! Folders for what only reads files; in memory where the system has such a place, for the fuzzer's speed.

use std::path::Path;

use tempfile::TempDir;

/// Removed when dropped.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    TempDir::with_prefix_in("kitchen-fuzz-", parent).expect("a temporary folder")
}
