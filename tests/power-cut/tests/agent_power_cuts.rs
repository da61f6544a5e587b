//! The agent of a box whose power is cut at random writes, with a real broker and a real district outside: its store
//! opens again, and holds everything that the agent had logged as stored or the district had received.
//!
//! `AGENT_POWER_CUTS` sets how many cuts there are (36), `POWER_CUT_SEED` repeats the disk and the choice of cuts.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use kitchen_core::wire::MessageId;
use kitchen_power_cut::guest::{Console, Machine, Programs};
use kitchen_power_cut::told::Told;
use kitchen_power_cut::trial::{Tally, Trial};
use kitchen_power_cut::{check, copied_disk, number};
use kitchen_test_support::{AgentConfig, District, Mosquitto, built, repository, target, videos};

const DISK_BYTES: u64 = 96 << 20;
/// After so many cuts, and a clip, the box starts from what the last one left. Each start closes the alerts of the one before and opens its own.
const CUTS_A_BOOT: usize = 50;
/// An emulated processor takes its time from one alert to the next.
const WRITES_A_CUT: u64 = 3;
const WORKLOAD: &str = include_str!("../guest/agent");

/// A box with the agent, its configuration and what that names.
fn trial(folder: &Path, broker: &Mosquitto, seed: u64) -> Trial {
    let config = AgentConfig::new(check::DEVICE, folder)
        .uplink(broker)
        .set("device.state_dir", "/disk/state")
        .set("uplink.keepalive_s", 10)
        .set("uplink.heartbeat_s", 60)
        .camera("stove", "file:///stove.mp4")
        .camera("door", "file:///door.mp4")
        // Seconds pass from one look of the detector to the next on an emulated processor.
        .camera("yard", &format!("file://{}", videos::people().display()))
        .set("clip.pre_s", 2)
        .set("clip.post_s", 2)
        .rule("camera_offline", "window_s = 1\ncool_down_s = 1")
        .rule("intrusion", "score = 0.5\nwindow_s = 20\ncool_down_s = 1\nevidence = \"clip\"")
        .write();
    let programs = Programs::new(&folder.join("memory"), WORKLOAD).unwrap();
    programs.add_program(&built("kitchen-agent")).unwrap();
    // Everything lies where it lies here, so that the configuration is right there too.
    let identity = broker.device(check::DEVICE).unwrap();
    let files = [identity.ca, identity.certificate, identity.key, config.clone(), videos::people()];
    for file in files.into_iter().chain(models()) {
        programs.add(&file, file.to_str().unwrap().trim_start_matches('/')).unwrap();
    }
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables = vec![variable("mount_options", "data=ordered"), variable("config", config.to_str().unwrap())];
    Trial::new(&programs, Machine { memory_mb: 1024, variables, network: true }, folder, seed).unwrap()
}

fn models() -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![repository().join("models")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// What the agent had logged and the district had received.
fn known(console: &str, district: &District) -> BTreeSet<String> {
    let fields = console.split_whitespace().filter_map(|word| word.strip_prefix("alert="));
    let logged = fields.filter(|id| id.parse::<MessageId>().is_ok()).map(str::to_owned);
    let received = district.events().into_iter().filter_map(|event| {
        let id = match event["event"].as_str()? {
            "alert" | "record" | "snapshot" => &event["id"],
            "clip" => &event["clip_id"],
            _ => return None,
        };
        Some(id.as_str()?.to_owned())
    });
    logged.chain(received).collect()
}

#[test]
#[ignore = "minutes of emulation: tests/long.sh runs it"]
fn what_the_agent_stored_or_sent_survives_a_power_cut_at_any_write() {
    let (cuts, seed) = (number("AGENT_POWER_CUTS", 36), number("POWER_CUT_SEED", u64::from(std::process::id())));
    println!("AGENT_POWER_CUTS={cuts} POWER_CUT_SEED={seed}");
    let cuts = usize::try_from(cuts).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let district = District::start(&broker);
    let mut trial = trial(directory.path(), &broker, seed);
    trial.writes_a_cut = WRITES_A_CUT;
    let mut disk = copied_disk::make_file_system(&directory.path().join("new-disk"), DISK_BYTES).unwrap();
    let (mut said, mut tally, began) = (String::new(), Tally::default(), Instant::now());
    while tally.cuts < cuts {
        let last = (tally.cuts + CUTS_A_BOOT).min(cuts);
        let clips = district.events_of("clip").len();
        let hear = |console: &Console| {
            let said = format!("{said}{}", console.text());
            let known = known(&said, &district);
            (said, known)
        };
        let left = trial.run(disk, hear, |cut, files| {
            let told = Told { known: cut.witnessed.1.clone(), ..Told::default() };
            let found = match files {
                Ok(files) => check::findings(&files.join("state/store"), &told),
                Err(error) => vec![format!("{error:#}")],
            };
            if !found.is_empty() {
                let kept = target().join(format!("power-cut/agent-lost-{seed}-{}.disk", tally.cuts + 1));
                fs::write(&kept, &cut.disk).unwrap();
                println!("cut {}, {}: {found:#?}", tally.cuts + 1, kept.display());
            }
            tally.add(cut, found);
            // However slow the machine is, each boot shall see an alert with its picture and its clip.
            let is_enough = tally.cuts >= last && district.events_of("clip").len() > clips;
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let left = left.unwrap();
        (disk, said) = (left.disk, left.witnessed.0);
        trial.seed += 1;
    }
    println!(
        "{} cuts in {:.0} s, {} of them with unflushed data; {} alerts, {} pictures and {} clips at the district, {} messages \
         known before the last cut; {} cuts lost something",
        tally.cuts,
        began.elapsed().as_secs_f64(),
        tally.with_unflushed,
        district.messages("alert.opened").len(),
        district.events_of("snapshot").len(),
        district.events_of("clip").len(),
        known(&said, &district).len(),
        tally.losses.len(),
    );
    assert!(tally.losses.is_empty(), "{} of {} cuts lost something, see above", tally.losses.len(), tally.cuts);
}
