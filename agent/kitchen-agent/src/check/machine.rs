//! The box itself: clock, disk, memory, temperature, power, the service; with the store's checks, which are as quick.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kitchen_core::time::Wall;

use super::{Context, Finding, Name, Reports, Verdict, budget, enrolment, link, recording, store};
use crate::control::AgentState;
use crate::fault::Fault;
use crate::health::{self, Memory, Power};
use crate::text::text;
use crate::{clock, status};

const MEGABYTE: u64 = 1_000_000;
/// Below this nothing but the next alerts fits.
const DISK_FULL: u64 = 16 * MEGABYTE;
const DISK_LOW: u64 = 300 * MEGABYTE;
const MEMORY_SHORT: u64 = 40 * MEGABYTE;
const MEMORY_LOW: u64 = 120 * MEGABYTE;
/// The boards that are used throttle themselves from 80 to 85 °C.
const HOT_C: f32 = 85.0;
const WARM_C: f32 = 75.0;
const MANY_RESTARTS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether the way to the broker can be tried: clock, disk, store and the box's certificate are sound.
pub(super) async fn check(context: &Context, reports: &Reports) -> bool {
    let state_dir = context.config.device.state_dir.clone();
    let mut reports = reports.fresh();
    let disk = disk(&state_dir);
    let mut is_sound = disk.verdict != Verdict::Fail;
    reports.tell(Name::Disk, disk);
    reports.tell(Name::Memory, memory(health::memory(&health::proc())));
    reports.tell(Name::Temperature, temperature(health::temperature_c(&health::sysfs())));
    reports.tell(Name::Power, power(health::power(&health::sysfs())));
    let looked = tokio::task::spawn_blocking(move || store::look(&state_dir.join("store"))).await;
    let saved_time = match looked {
        Ok((database, saved_time)) => {
            is_sound &= database.verdict != Verdict::Fail;
            reports.tell(Name::Database, database);
            saved_time
        }
        Err(_) => None,
    };
    let clock = clock(clock::now(), saved_time).await;
    is_sound &= clock.verdict != Verdict::Fail;
    reports.tell(Name::Clock, clock);
    let enrolment = enrolment::look(&context.config);
    is_sound &= enrolment.verdict != Verdict::Fail;
    reports.tell(Name::Enrolment, enrolment);
    let certificate = link::certificate(&context.config);
    is_sound &= certificate.verdict != Verdict::Fail;
    reports.tell(Name::CertificateExpiry, certificate);
    reports.tell(Name::Recording, recording::look(&context.config, &context.agent));
    reports.tell(Name::Budget, budget::look(&context.config, &context.agent));
    reports.tell(Name::Service, service(&context.agent).await);
    is_sound
}

async fn clock(now: Wall, saved: Option<Wall>) -> Finding {
    let built = clock::built();
    let floor = saved.map_or(built, |saved| saved.max(built));
    if now < floor {
        return Finding::fail(Fault::ClockWrong, now.to_string(), text!("check-clock-not-before", time = floor));
    }
    if clock::is_synchronised() || timedatectl_says_so().await {
        return Finding::ok(text!("check-clock-synchronised", time = now));
    }
    let found = if clock::has_own_clock() {
        text!("check-clock-own", time = now)
    } else {
        text!("check-clock-free", time = now)
    };
    Finding::warn(Fault::ClockWrong, found, text!("check-clock-expected"))
}

async fn timedatectl_says_so() -> bool {
    output("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]).await.is_some_and(|text| text.trim() == "yes")
}

/// What a program of the system prints; nothing when it is not there, fails or hangs.
async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    let command = command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn disk(state_dir: &Path) -> Finding {
    let folder = state_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let Some(disk) = status::disk(folder) else {
        return Finding::unchecked(text!("check-disk-unknown", path = folder.display()));
    };
    let expected = text!("check-disk-expected", megabytes = DISK_LOW / MEGABYTE);
    let found = text!("check-disk-found", megabytes = disk.free_bytes / MEGABYTE, path = state_dir.display());
    let tried = if folder == state_dir { try_to_write(state_dir) } else { Ok(()) };
    if let Err(error) = tried {
        let fault = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Fault::DiskFull,
            std::io::ErrorKind::ReadOnlyFilesystem => Fault::DiskReadOnly,
            _ => Fault::StateUnwritable,
        };
        let expected = if fault == Fault::DiskFull { expected } else { text!("check-disk-writable") };
        return Finding::fail(fault, format!("{}: {error}", state_dir.display()), expected);
    }
    match disk.free_bytes {
        ..DISK_FULL => Finding::fail(Fault::DiskFull, found, expected),
        DISK_FULL..DISK_LOW => Finding::warn(Fault::DiskFull, found, expected),
        _ => Finding::ok(found),
    }
}

/// A small file, written, synced and removed.
fn try_to_write(folder: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let path: PathBuf = folder.join(format!(".check-{}", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(&[b'k'; 32 * 1024])?;
        file.sync_all()
    };
    let outcome = write();
    // It may never have been made.
    let _ = std::fs::remove_file(&path);
    outcome
}

fn memory(memory: Option<Memory>) -> Finding {
    let Some(Memory { available, total }) = memory else { return Finding::absent(text!("check-no-sensor")) };
    let found = text!("check-memory-found", available = available / MEGABYTE, total = total / MEGABYTE);
    let expected = text!("check-memory-expected", megabytes = MEMORY_LOW / MEGABYTE);
    match available {
        ..MEMORY_SHORT => Finding::fail(Fault::MemoryShort, found, expected),
        MEMORY_SHORT..MEMORY_LOW => Finding::warn(Fault::MemoryShort, found, expected),
        _ => Finding::ok(found),
    }
}

fn temperature(degrees: Option<f32>) -> Finding {
    let Some(degrees) = degrees else { return Finding::absent(text!("check-no-sensor")) };
    let found = format!("{degrees:.0} °C");
    let expected = text!("check-temperature-expected", degrees = WARM_C);
    if degrees >= HOT_C {
        Finding::fail(Fault::TooHot, found, expected)
    } else if degrees >= WARM_C {
        Finding::warn(Fault::TooHot, found, expected)
    } else {
        Finding::ok(found)
    }
}

fn power(power: Option<Power>) -> Finding {
    let expected = || text!("check-power-expected");
    match power {
        None => Finding::absent(text!("check-no-sensor")),
        Some(Power { too_low_now: true, .. }) => {
            Finding::fail(Fault::Undervoltage, text!("check-power-low-now"), expected())
        }
        Some(Power { too_low_since_boot: true, .. }) => {
            Finding::warn(Fault::Undervoltage, text!("check-power-was-low"), expected())
        }
        Some(_) => Finding::ok(text!("check-power-good")),
    }
}

async fn service(agent: &AgentState) -> Finding {
    let shown = output("systemctl", &["show", "kitchen-agent", "-p", "ActiveState,UnitFileState,NRestarts"]).await;
    let property = |name: &str| {
        let shown = shown.as_deref()?;
        shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let restarts: u32 = property("NRestarts").and_then(|count| count.parse().ok()).unwrap_or(0);
    let expected = || text!("check-service-expected");
    match agent {
        AgentState::Up(_) if restarts >= MANY_RESTARTS => {
            Finding::warn(Fault::AgentRestarts, text!("check-service-restarts", count = restarts), expected())
        }
        AgentState::Up(report) => {
            Finding::ok(text!("check-service-up", version = report.agent, minutes = report.uptime_s / 60))
        }
        AgentState::Silent => Finding::fail(Fault::AgentDown, text!("check-service-silent"), expected()),
        AgentState::NotForUs => Finding::unchecked(text!("check-service-refused")),
        AgentState::Down if property("UnitFileState").as_deref() == Some("enabled") => {
            let state = property("ActiveState").unwrap_or_default();
            Finding::fail(Fault::AgentDown, text!("check-service-state", state = state), expected())
        }
        // Before its installation is finished nobody expects it to run.
        AgentState::Down => Finding::warn(Fault::AgentDown, text!("check-service-not-installed"), expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clock_before_the_last_saved_time_or_the_program_s_own_date_is_wrong() {
        let wall = |text: &str| text.parse::<Wall>().expect("literal");
        for (now, saved) in [
            ("2027-03-01T00:00:00Z", Some("2027-03-01T00:00:01Z")),
            ("2020-01-01T00:00:00Z", None),
            ("2020-01-01T00:00:00Z", Some("2019-01-01T00:00:00Z")),
        ] {
            let found = clock(wall(now), saved.map(wall)).await;
            assert_eq!((found.verdict, found.fault), (Verdict::Fail, Some(Fault::ClockWrong)), "{now}");
        }
        let found = clock(wall("2030-01-01T00:00:00Z"), Some(wall("2029-01-01T00:00:00Z"))).await;
        assert_ne!(found.verdict, Verdict::Fail);
    }

    #[test]
    fn what_the_kernel_measures_is_judged() {
        assert_eq!(temperature(Some(90.0)).fault, Some(Fault::TooHot));
        assert_eq!(temperature(Some(80.0)).verdict, Verdict::Warn);
        assert_eq!(temperature(Some(50.0)).verdict, Verdict::Ok);
        assert_eq!(power(Some(Power { too_low_now: true, too_low_since_boot: true })).verdict, Verdict::Fail);
        assert_eq!(power(Some(Power { too_low_now: false, too_low_since_boot: true })).verdict, Verdict::Warn);
        assert_eq!(memory(Some(Memory { available: 10 * MEGABYTE, total: 900 * MEGABYTE })).verdict, Verdict::Fail);
        assert_eq!(memory(None).verdict, Verdict::Skipped);
    }
}
