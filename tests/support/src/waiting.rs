//! Waiting for a condition with a bound: the only place in the tests that sleeps.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);

/// Returns as soon as `condition` holds; panics with `what` after `bound`.
#[track_caller]
pub fn wait_until(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(bound, what, || condition().then_some(()));
}

/// The first value that `look` finds; panics with `what` after `bound`.
#[track_caller]
pub fn wait_for<T>(bound: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < bound, "not within {bound:?}: {what}");
        std::thread::sleep(POLL);
    }
}
