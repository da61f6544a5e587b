//! Counts what a check allocates in Rust code, and fails where a small input costs much.

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// Bytes that each byte of an input may cost: a JSON array of small numbers costs some thirty.
const PER_BYTE: usize = 1024;
const MB: usize = 1024 * 1024;

/// Runs `check`, one at a time: the count is the process's.
pub fn bounded(allowed_mb: usize, input_bytes: usize, check: impl FnOnce()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = COUNTED.current_usage();
    COUNTED.reset_peak_usage();
    check();
    let used = COUNTED.peak_usage().saturating_sub(before);
    let allowed = allowed_mb * MB + input_bytes * PER_BYTE;
    assert!(used <= allowed, "{input_bytes} bytes of input cost {} MB, {allowed_mb} are allowed", used / MB);
}
