//! The named checks: what each needs is data here, what each finds comes from one file a subject, in parallel.
//! Only the root of a trouble fails: what depends on a failed check is skipped and says on which.

mod budget;
mod camera;
mod detector;
mod enrolment;
mod link;
mod machine;
mod recording;
mod store;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kitchen_core::config::{Config, ConfigError};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::control::{self, AgentState};
use crate::fault::Fault;
use crate::text::text;

/// All checks together take no longer.
const LIMIT: Duration = Duration::from_secs(19);

macro_rules! checks {
    ($($name:ident = $text:literal needs [$($need:ident),*] excused_by [$($excuse:ident),*],)*) => {
        /// A check's name. The order is that of the lines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name { $($name,)* }

        impl Name {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Without these it can't be made.
            const fn needs(self) -> &'static [Self] {
                match self { $(Self::$name => &[$(Self::$need,)*],)* }
            }

            /// It can be made without these, but if it fails beside one of them, that one is the cause.
            const fn excused_by(self) -> &'static [Self] {
                match self { $(Self::$name => &[$(Self::$excuse,)*],)* }
            }
        }
    };
}

checks! {
    Config = "config" needs [] excused_by [],
    Clock = "clock" needs [Config] excused_by [],
    Disk = "disk" needs [Config] excused_by [],
    Memory = "memory" needs [Config] excused_by [],
    Temperature = "temperature" needs [Config] excused_by [],
    Power = "power" needs [Config] excused_by [],
    CameraReach = "camera.reach" needs [Config] excused_by [],
    CameraAuth = "camera.auth" needs [CameraReach] excused_by [],
    CameraCodec = "camera.codec" needs [CameraAuth] excused_by [],
    CameraRate = "camera.rate" needs [CameraCodec] excused_by [],
    CameraView = "camera.view" needs [CameraRate] excused_by [],
    DetectorLoad = "detector.load" needs [Config] excused_by [],
    DetectorSpeed = "detector.speed" needs [DetectorLoad] excused_by [Temperature, Power],
    Database = "database" needs [Config] excused_by [Disk],
    Recording = "recording" needs [Config] excused_by [Disk, Database],
    Enrolment = "enrolment" needs [Config] excused_by [],
    LinkRoute = "link.route" needs [Config] excused_by [],
    LinkDns = "link.dns" needs [LinkRoute] excused_by [],
    BrokerTls = "broker.tls" needs [LinkDns, Clock, CertificateExpiry, Enrolment] excused_by [],
    BrokerAuth = "broker.auth" needs [BrokerTls] excused_by [],
    BrokerRoundtrip = "broker.roundtrip" needs [BrokerAuth, Disk, Database] excused_by [],
    CertificateExpiry = "certificate.expiry" needs [Config] excused_by [Clock],
    Budget = "budget" needs [Config] excused_by [],
    Service = "service" needs [Config] excused_by [Disk, DetectorLoad, Database],
}

impl Name {
    const fn is_of_camera(self) -> bool {
        matches!(self, Self::CameraReach | Self::CameraAuth | Self::CameraCodec | Self::CameraRate | Self::CameraView)
    }

    /// The checks that `text` names: one by its whole name, or a group by its first word.
    #[must_use]
    pub fn named(text: &str) -> Vec<Self> {
        let names = |name: &&Self| name.as_str() == text || name.as_str().split('.').next() == Some(text);
        Self::ALL.iter().filter(names).copied().collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Warn,
    Fail,
    Skipped,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub verdict: Verdict,
    pub fault: Option<Fault>,
    pub found: String,
    pub expected: Option<String>,
    /// It should have been made, but could not: neither healthy nor a problem.
    pub is_unchecked: bool,
}

impl Finding {
    fn new(verdict: Verdict, fault: Option<Fault>, found: impl Into<String>, expected: Option<String>) -> Self {
        Self { verdict, fault, found: found.into(), expected, is_unchecked: false }
    }

    pub fn ok(found: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, None, found, None)
    }

    pub fn warn(fault: Fault, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, Some(fault), found, Some(expected.into()))
    }

    pub fn fail(fault: Fault, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, Some(fault), found, Some(expected.into()))
    }

    /// There is nothing to check on this box.
    pub fn absent(found: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, None, found, None)
    }

    pub fn unchecked(found: impl Into<String>) -> Self {
        Self { is_unchecked: true, ..Self::absent(found) }
    }
}

/// The fault that a failure of a camera is.
#[must_use]
pub fn fault_of_camera(error: &kitchen_vision::camera::CameraError) -> Fault {
    camera::fault(error).1
}

/// One line of the outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: Name,
    pub camera: Option<String>,
    pub finding: Finding,
    pub took: Duration,
    /// The failed check because of which this one was skipped.
    pub because_of: Option<Name>,
}

/// What the subjects work on.
struct Context {
    config: Config,
    agent: AgentState,
    socket: PathBuf,
}

/// Where a subject tells its findings; clones go to all subjects.
#[derive(Clone)]
struct Reports {
    sender: mpsc::UnboundedSender<Check>,
    camera: Option<String>,
    began: Instant,
}

impl Reports {
    /// The time is counted from the finding before.
    fn tell(&mut self, name: Name, finding: Finding) {
        let took = self.began.elapsed();
        self.began = Instant::now();
        // Nobody waits any more: the limit has passed.
        let _ = self.sender.send(Check { name, camera: self.camera.clone(), finding, took, because_of: None });
    }

    fn fresh(&self) -> Self {
        Self { began: Instant::now(), ..self.clone() }
    }

    fn of_camera(&self, camera: &str) -> Self {
        Self { camera: Some(camera.to_owned()), ..self.fresh() }
    }
}

/// Makes the checks in `wanted` and those that they need; the answer holds the wanted ones and every one that failed.
pub async fn run(path: PathBuf, configuration: Result<Config, anyhow::Error>, wanted: BTreeSet<Name>) -> Vec<Check> {
    let needed = with_needs(&wanted);
    let (sender, mut told) = mpsc::unbounded_channel();
    let mut reports = Reports { sender, camera: None, began: Instant::now() };
    let mut cameras = Vec::new();
    match configuration {
        Err(error) => reports.tell(Name::Config, config_fault(&path, &error)),
        Ok(config) => {
            reports.tell(Name::Config, Finding::ok(path.display().to_string()));
            cameras = config.cameras.iter().map(|camera| camera.id.clone()).collect();
            let all = Box::pin(all_subjects(config, needed.clone(), reports.fresh()));
            let _ = tokio::time::timeout(LIMIT, all).await;
        }
    }
    drop(reports);
    let mut found = Vec::new();
    while let Ok(check) = told.try_recv() {
        found.push(check);
    }
    let mut checks = resolve(&found, &cameras, &needed);
    checks.retain(|check| wanted.contains(&check.name) || check.finding.verdict == Verdict::Fail);
    checks
}

async fn all_subjects(config: Config, needed: BTreeSet<Name>, reports: Reports) {
    let socket = control::socket_path(&config.device.state_dir);
    let asked = socket.clone();
    let agent = tokio::task::spawn_blocking(move || control::agent_state(&asked)).await.unwrap_or(AgentState::Silent);
    let context = Arc::new(Context { config, agent, socket });
    let wants = |names: &[Name]| names.iter().any(|name| needed.contains(name));
    let mut subjects = tokio::task::JoinSet::new();
    if wants(&[Name::CameraReach]) {
        for index in 0..context.config.cameras.len() {
            let camera = &context.config.cameras[index];
            subjects.spawn(camera::check(Arc::clone(&context), index, reports.of_camera(&camera.id)));
        }
    }
    if wants(&[Name::DetectorLoad]) {
        subjects.spawn(detector::check(Arc::clone(&context), reports.fresh()));
    }
    // The box and its store are quick; what goes out to the broker builds on them.
    let box_is_sound = machine::check(&context, &reports).await;
    if wants(&[Name::LinkRoute]) {
        link::check(&context, box_is_sound, reports.fresh()).await;
    }
    while subjects.join_next().await.is_some() {}
}

fn config_fault(path: &std::path::Path, error: &anyhow::Error) -> Finding {
    let problems = error.chain().find_map(|cause| cause.downcast_ref::<ConfigError>());
    let Some(problems) = problems else {
        let cause = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
        let found = cause.map_or_else(|| path.display().to_string(), |cause| format!("{}: {cause}", path.display()));
        return Finding::fail(Fault::ConfigUnreadable, found, text!("check-config-readable"));
    };
    let found = match problems {
        ConfigError::Text(text) => text.lines().map(str::trim).collect::<Vec<_>>().join(" "),
        ConfigError::Problems(problems) => {
            let one = |problem: &kitchen_core::config::ConfigProblem| format!("{} = {}", problem.key, problem.found);
            problems.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    };
    let expected = match problems {
        ConfigError::Problems(problems) if problems.len() == 1 => problems[0].expected.to_string(),
        _ => text!("check-config-valid"),
    };
    Finding::fail(Fault::ConfigWrong, format!("{}: {found}", path.display()), expected)
}

/// `wanted` and all that it builds on.
fn with_needs(wanted: &BTreeSet<Name>) -> BTreeSet<Name> {
    let mut all = wanted.clone();
    let mut open: Vec<Name> = wanted.iter().copied().collect();
    while let Some(name) = open.pop() {
        open.extend(name.needs().iter().chain(name.excused_by()).filter(|need| all.insert(**need)));
    }
    all
}

/// All checks of `names` in their order, one a camera for those of cameras: what was found, or why it was skipped.
fn resolve(found: &[Check], cameras: &[String], names: &BTreeSet<Name>) -> Vec<Check> {
    let mut pending: Vec<(Name, Option<String>)> = Vec::new();
    for name in names {
        if name.is_of_camera() {
            pending.extend(cameras.iter().map(|camera| (*name, Some(camera.clone()))));
        } else {
            pending.push((*name, None));
        }
    }
    let mut done: Vec<Check> = Vec::new();
    // What a check builds on may stand below it: go round until all that can be said is said.
    while !pending.is_empty() {
        let is_known = |needed: &Name, done: &[Check]| {
            !names.contains(needed)
                || done.iter().any(|check| check.name == *needed)
                || needed.is_of_camera() && cameras.is_empty()
        };
        let (ready, later): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .partition(|(name, _)| name.needs().iter().chain(name.excused_by()).all(|need| is_known(need, &done)));
        assert!(!ready.is_empty(), "no check needs itself");
        let resolved: Vec<Check> = ready.into_iter().map(|(name, camera)| one(name, camera, found, &done)).collect();
        done.extend(resolved);
        pending = later;
    }
    let place = |check: &Check| cameras.iter().position(|camera| Some(camera) == check.camera.as_ref());
    done.sort_by_key(|check| (check.name, place(check)));
    done
}

fn one(name: Name, camera: Option<String>, found: &[Check], done: &[Check]) -> Check {
    let is_same = |check: &&Check| check.camera.is_none() || camera.is_none() || check.camera == camera;
    let cause = |names: &[Name]| {
        let mut others = names.iter().filter_map(|need| done.iter().filter(is_same).find(|check| check.name == *need));
        others.find_map(|check| match check.finding.verdict {
            Verdict::Fail => Some(check.name),
            _ => check.because_of,
        })
    };
    let own = found.iter().filter(is_same).find(|check| check.name == name);
    let took = own.map_or(Duration::ZERO, |check| check.took);
    let is_healthy = own.is_some_and(|check| matches!(check.finding.verdict, Verdict::Ok));
    let because_of = cause(name.needs()).or_else(|| cause(name.excused_by()).filter(|_| !is_healthy));
    if let Some(root) = because_of {
        let finding = Finding::absent(text!("check-skipped", name = root.as_str()));
        return Check { name, camera, finding, took, because_of };
    }
    let finding = own.map_or_else(|| Finding::unchecked(text!("check-unfinished")), |check| check.finding.clone());
    Check { name, camera, finding, took, because_of: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: Name, finding: Finding) -> Check {
        Check { name, camera: None, finding, took: Duration::ZERO, because_of: None }
    }

    fn fine(names: &[Name]) -> Vec<Check> {
        names.iter().map(|name| told(*name, Finding::ok("fine"))).collect()
    }

    fn all() -> BTreeSet<Name> {
        Name::ALL.iter().copied().collect()
    }

    fn of(checks: &[Check], name: Name) -> &Check {
        checks.iter().find(|check| check.name == name).expect("every check has a line")
    }

    #[test]
    fn a_wrong_configuration_is_all_that_fails() {
        let found = vec![told(Name::Config, Finding::fail(Fault::ConfigWrong, "", ""))];
        let checks = resolve(&found, &[], &all());
        let failed: Vec<Name> =
            checks.iter().filter(|check| check.finding.verdict == Verdict::Fail).map(|check| check.name).collect();
        assert_eq!(failed, [Name::Config]);
        for check in checks.iter().filter(|check| check.name != Name::Config) {
            assert_eq!(check.because_of, Some(Name::Config), "{:?}", check.name);
        }
    }

    #[test]
    fn one_camera_s_trouble_is_not_another_s() {
        let cameras = ["stove".to_owned(), "door".to_owned()];
        let names = [Name::CameraReach, Name::CameraAuth, Name::CameraCodec, Name::CameraRate, Name::CameraView];
        let mut found = fine(&[Name::Config]);
        for camera in &cameras {
            found.extend(fine(&names).into_iter().map(|check| Check { camera: Some(camera.clone()), ..check }));
        }
        found[2].finding = Finding::fail(Fault::CameraCredentials, "", "");
        let checks = resolve(&found, &cameras, &with_needs(&names.into()));
        let skipped = checks.iter().filter(|check| check.because_of == Some(Name::CameraAuth));
        let skipped: Vec<_> = skipped.map(|check| (check.name, check.camera.as_deref())).collect();
        let of_stove = [Name::CameraCodec, Name::CameraRate, Name::CameraView].map(|name| (name, Some("stove")));
        assert_eq!(skipped, of_stove);
        let lines: Vec<_> = checks.iter().map(|check| (check.name, check.camera.as_deref())).collect();
        assert_eq!(
            lines[..3],
            [(Name::Config, None), (Name::CameraReach, Some("stove")), (Name::CameraReach, Some("door"))]
        );
    }

    #[test]
    fn a_certificate_that_can_t_be_read_is_the_cause_of_no_tls_although_its_line_stands_below() {
        let mut found = fine(Name::ALL);
        found.retain(|check| !matches!(check.name, Name::BrokerTls | Name::BrokerAuth | Name::BrokerRoundtrip));
        let key = found.iter_mut().find(|check| check.name == Name::CertificateExpiry).expect("listed");
        key.finding = Finding::fail(Fault::KeyUnreadable, "", "");
        let checks = resolve(&found, &[], &all());
        for name in [Name::BrokerTls, Name::BrokerAuth, Name::BrokerRoundtrip] {
            assert_eq!(of(&checks, name).because_of, Some(Name::CertificateExpiry));
        }
        let names: Vec<Name> = checks.iter().map(|check| check.name).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn an_agent_that_runs_all_the_same_is_not_skipped_and_one_that_can_t_run_is_not_blamed() {
        let mut found = fine(Name::ALL);
        let disk = found.iter_mut().find(|check| check.name == Name::Disk).expect("listed");
        disk.finding = Finding::fail(Fault::DiskFull, "", "");
        assert_eq!(of(&resolve(&found, &[], &all()), Name::Service).finding, Finding::ok("fine"));
        let service = found.iter_mut().find(|check| check.name == Name::Service).expect("listed");
        service.finding = Finding::fail(Fault::AgentDown, "", "");
        assert_eq!(of(&resolve(&found, &[], &all()), Name::Service).because_of, Some(Name::Disk));
    }

    #[test]
    fn what_told_nothing_could_not_be_checked() {
        let checks = resolve(&fine(&[Name::Config]), &[], &all());
        assert!(of(&checks, Name::LinkRoute).finding.is_unchecked);
        assert_eq!(of(&checks, Name::LinkRoute).because_of, None);
    }

    #[test]
    fn a_group_or_one_check_can_be_named() {
        assert_eq!(Name::named("camera").len(), 5);
        assert_eq!(Name::named("link.dns"), [Name::LinkDns]);
        assert!(Name::named("cam").is_empty());
        let needs = with_needs(&BTreeSet::from([Name::LinkDns]));
        assert_eq!(needs, BTreeSet::from([Name::Config, Name::LinkRoute, Name::LinkDns]));
    }
}
