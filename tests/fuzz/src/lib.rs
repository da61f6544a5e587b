//! What must hold for any input from outside, one function a target: bytes come in, a panic is what was found.
//! The fuzzer calls them (`libfuzzer/`), and so does an ordinary test with the corpus.

#[cfg(feature = "vision")]
mod access_units;
mod configuration;
mod district;
mod downlink;
#[cfg(feature = "vision")]
mod manifest;
mod memory;
#[cfg(feature = "vision")]
mod mp4;
#[cfg(feature = "vision")]
mod parameter_sets;
mod receiving;
mod scratch;
mod transfer;

use std::panic::{PanicHookInfo, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

/// One door for input from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its corpus' folder and of the fuzzer's program.
    pub name: &'static str,
    pub check: fn(&[u8]),
    /// What an input may cost beyond a multiple of its own size.
    pub memory_mb: usize,
    /// Changed inputs that the test makes of the corpus: about a second's work.
    pub mutants: usize,
}

pub const TARGETS: &[Target] = &[
    #[cfg(feature = "vision")]
    Target { name: "access_units", check: access_units::check, memory_mb: 256, mutants: 300 },
    Target { name: "configuration", check: configuration::check, memory_mb: 8, mutants: 1000 },
    Target { name: "district", check: district::check, memory_mb: 16, mutants: 200 },
    Target { name: "downlink", check: downlink::check, memory_mb: 4, mutants: 20_000 },
    #[cfg(feature = "vision")]
    Target { name: "manifest", check: manifest::check, memory_mb: 4, mutants: 5000 },
    #[cfg(feature = "vision")]
    Target { name: "mp4", check: mp4::check, memory_mb: 32, mutants: 2000 },
    #[cfg(feature = "vision")]
    Target { name: "parameter_sets", check: parameter_sets::check, memory_mb: 4, mutants: 20_000 },
    Target { name: "receiving", check: receiving::check, memory_mb: 4, mutants: 10_000 },
    Target { name: "transfer", check: transfer::check, memory_mb: 4, mutants: 10_000 },
];

impl Target {
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        TARGETS.iter().copied().find(|target| target.name == name).expect("a name of the table")
    }

    /// What does not hold. Panics are told nowhere else: the reader of MP4 files panics on purpose and is caught, and a
    /// backtrace of it would cost more memory than the input.
    #[must_use]
    pub fn failure(&self, input: &[u8]) -> Option<String> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| std::panic::set_hook(Box::new(remember)));
        catch_unwind(|| self.run(input)).err()?;
        Some(LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Checks one input, and what it costs.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn run(&self, input: &[u8]) {
        memory::bounded(self.memory_mb, input.len(), || (self.check)(input));
    }
}

/// For the fuzzer, which takes any panic as its find: only what is found ends the process.
pub fn fuzz(name: &str, input: &[u8]) {
    if let Some(found) = Target::named(name).failure(input) {
        eprintln!("{found}");
        std::process::abort();
    }
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn remember(panic: &PanicHookInfo<'_>) {
    *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
}

/// The lines of a text, and what stands in each after its first word.
fn commands(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(' ').or(Some((line, "")))).filter(|(name, _)| !name.is_empty())
}

/// Whole numbers, separated by spaces; what is none is left out.
fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}
