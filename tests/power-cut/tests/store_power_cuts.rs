//! The store of a box whose power is cut at random writes: it opens again, nothing had to be set aside, and everything
//! that it had called durable is there. Three controls lose what they shall: a disk that lies, a file system that does
//! not flush, a program that does not sync.
//!
//! `POWER_CUTS` sets how many cuts there are (50), `POWER_CUT_SEED` repeats a run's disk and choice of cuts.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use kitchen_power_cut::guest::{Console, Machine, Programs};
use kitchen_power_cut::told::Told;
use kitchen_power_cut::trial::{Tally, Trial};
use kitchen_power_cut::volatile_disk::Honesty;
use kitchen_power_cut::{check, copied_disk, number};
use kitchen_test_support::{built, target};

const DISK_BYTES: u64 = 48 << 20;
/// After so many cuts the box starts from what the last one left.
const CUTS_A_BOOT: usize = 50;
/// A control goes on until it has lost something, and gives up at last.
const CONTROL_CUTS: usize = 8;
const CONTROL_CUTS_AT_MOST: usize = 120;
const NO_SYNC: &str = "tests/power-cut/no_sync.c";
const WORKLOAD: &str = "LD_PRELOAD=$preload /bin/kitchen-store-workload /disk/store";

/// A box with the workload, on the mount options and with the library loaded before it.
fn trial(folder: &Path, mount_options: &str, preload: &str, seed: u64) -> Trial {
    let programs = Programs::new(&folder.join("memory"), WORKLOAD).unwrap();
    programs.add_program(&built("kitchen-store-workload")).unwrap();
    programs.add_preload(NO_SYNC).unwrap();
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables = vec![variable("mount_options", mount_options), variable("preload", preload)];
    let machine = Machine { memory_mb: 256, variables, network: false };
    Trial::new(&programs, machine, folder, seed).unwrap()
}

fn new_disk(folder: &Path) -> Vec<u8> {
    copied_disk::make_file_system(&folder.join("new-disk"), DISK_BYTES).unwrap()
}

/// What is wrong after a cut at which the box had said `console`.
fn findings(console: &str, files: Result<&Path>) -> Vec<String> {
    match files {
        Ok(files) => check::findings(&files.join("store"), &Told::of(console)),
        Err(error) => vec![format!("{error:#}")],
    }
}

#[test]
fn what_the_store_called_durable_survives_a_power_cut_at_any_write() {
    let (cuts, seed) = (number("POWER_CUTS", 50), number("POWER_CUT_SEED", u64::from(std::process::id())));
    println!("POWER_CUTS={cuts} POWER_CUT_SEED={seed}");
    let cuts = usize::try_from(cuts).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut trial = trial(directory.path(), "data=ordered", "", seed);
    let (mut disk, mut said, mut tally) = (new_disk(directory.path()), String::new(), Tally::default());
    let began = Instant::now();
    while tally.cuts < cuts {
        let last = (tally.cuts + CUTS_A_BOOT).min(cuts);
        let hear = |console: &Console| format!("{said}{}", console.text());
        let left = trial.run(disk, hear, |cut, files| {
            let found = findings(&cut.witnessed, files);
            if !found.is_empty() {
                let kept = target().join(format!("power-cut/lost-{seed}-{}.disk", tally.cuts + 1));
                fs::write(&kept, &cut.disk).unwrap();
                println!("cut {}, {}: {found:#?}", tally.cuts + 1, kept.display());
            }
            tally.add(cut, found);
            if tally.cuts == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // The next boot begins where this one was cut off.
        let left = left.unwrap();
        (disk, said) = (left.disk, left.witnessed);
        trial.seed += 1;
    }
    let told = Told::of(&said);
    println!(
        "{cuts} cuts in {:.0} s, {} of them with unflushed data; told durable: {} alerts, {} records, {} clips; \
         {} messages left the outbox, {} files and alerts were removed; {} cuts lost something",
        began.elapsed().as_secs_f64(),
        tally.with_unflushed,
        told.alerts.len(),
        told.records.len() + told.details.len(),
        told.clips.len(),
        told.yielded.len(),
        told.tidied,
        tally.losses.len(),
    );
    assert!(told.count() > 0, "the box had called something durable");
    assert!(tally.with_unflushed > 0, "some cuts had something to take");
    assert!(tally.losses.is_empty(), "{} of {cuts} cuts lost something, see above", tally.losses.len());
}

/// One that shows no loss would mean that the test above can't see one.
fn loses(what: &str, honesty: Honesty, mount_options: &str, preload: &str, writes_a_cut: u64) {
    let seed = number("POWER_CUT_SEED", u64::from(std::process::id()));
    let directory = tempfile::tempdir().unwrap();
    let mut trial = trial(directory.path(), mount_options, preload, seed);
    (trial.honesty, trial.writes_a_cut) = (honesty, writes_a_cut);
    let mut tally = Tally::default();
    let hear = |console: &Console| console.text();
    let last = trial.run(new_disk(directory.path()), hear, |cut, files| {
        // Only what was called durable can be lost.
        let has_told = Told::of(&cut.witnessed).count() > 0;
        tally.add(cut, if has_told { findings(&cut.witnessed, files) } else { Vec::new() });
        let enough = if tally.losses.is_empty() { CONTROL_CUTS_AT_MOST } else { CONTROL_CUTS };
        if tally.cuts >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let told = Told::of(&last.unwrap().witnessed).count();
    let (cuts, losses) = (tally.cuts, tally.losses.len());
    println!("{what}: {losses} of {cuts} cuts lost something, told durable: {told}, POWER_CUT_SEED={seed}");
    let Some((cut, found)) = tally.losses.first() else { panic!("{what}: nothing was lost") };
    println!("{what}: the first loss, at cut {cut}: {}", found[0].lines().next().unwrap_or_default());
}

#[test]
fn a_disk_that_lies_about_its_flushes_is_noticed() {
    loses("a lying disk", Honesty::Lying, "data=ordered", "", 20);
}

#[test]
fn a_file_system_that_does_not_flush_is_noticed() {
    loses("barrier=0", Honesty::Honest, "data=ordered,barrier=0", "", 20);
}

#[test]
fn a_program_that_does_not_sync_is_noticed() {
    // It writes only when the kernel finds that it is time: every second here.
    loses("no sync", Honesty::Honest, "data=ordered,commit=1", "/lib/no_sync.so", 2);
}
