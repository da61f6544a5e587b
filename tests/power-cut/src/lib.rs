//! A box whose power is cut: an emulated x86 machine on a disk with a volatile write cache. At random writes a copy of
//! the disk is taken as a cut at that moment would leave it; it must hold everything that the box had called durable.

pub mod check;
pub mod copied_disk;
pub mod guest;
mod nbd_server;
pub mod told;
pub mod trial;
pub mod volatile_disk;

/// The number in the variable `name` of the environment.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
