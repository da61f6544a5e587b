//! The command line: commands, flags and exit codes. Help's texts stand in the catalogue (`locales/*/help.ftl`), put
//! in by `help.rs`; behaviour in `command/`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the configuration lies when `--config` is not given.
pub const DEFAULT_CONFIG: &str = "/etc/kitchen-agent/agent.toml";

#[derive(Debug, Parser)]
#[command(name = "kitchen-agent", version)]
pub struct Cli {
    /// Configuration file [default: /etc/kitchen-agent/agent.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One JSON document on stdout, or one a line where the command streams
    #[arg(long, global = true)]
    pub json: bool,
    /// Language of texts [default: from LANG]
    #[arg(long, global = true, value_name = "zh|en")]
    pub lang: Option<Language>,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Whether the command runs for long and reports its changes of state.
    #[must_use]
    pub fn is_service(&self) -> bool {
        match &self.command {
            Command::Run => true,
            Command::Enrol(arguments) => arguments.first_boot,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Zh,
    En,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything on this machine: broker, district, a shipped video as the camera, the real pipeline
    Demo(DemoArguments),
    /// The agent; systemd starts it
    Run,
    /// One screen: camera, detector, rules, alerts, outbox, link, disk, versions
    Status {
        /// Refresh as a full-screen view
        #[arg(long)]
        watch: bool,
    },
    /// Recorded videos through the same pipeline, as fast as it goes
    Replay(ReplayArguments),
    /// Detections on still pictures
    Detect(DetectArguments),
    /// The installed models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Alerts on this box
    #[command(subcommand)]
    Alerts(AlertsCommand),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Named checks with the next step
    #[command(after_help = "Examples:\n  kitchen-agent check\n  kitchen-agent check camera link.dns --json")]
    Check {
        /// One check (camera.view) or a group (camera) [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Finds, probes and shows cameras
    #[command(subcommand)]
    Camera(CameraCommand),
    /// What waits to be sent
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// The month in bytes and yuan
    Budget(BudgetArguments),
    /// Gets this box its certificate from the district: with the claim that it came with, once
    #[command(
        after_help = "Examples:\n  sudo kitchen-agent enrol\n  sudo kitchen-agent enrol --claim /media/usb/kitchen-claim.toml\n  \
        sudo kitchen-agent enrol export /media/usb\n  \
        sudo kitchen-agent enrol import /media/usb/kitchen-answer-mh07-000123.json\n\n\
        Keys are made on this box and never leave it. Asked again, it says what it is enrolled as."
    )]
    Enrol(EnrolArguments),
    /// The acceptance test of a site
    Accept(Later),
    /// Agent and model versions
    Update(Later),
    /// Support bundle for whoever helps from afar, at most 5 MB, secrets removed
    #[command(after_help = "Examples:\n  sudo kitchen-agent bundle\n  \
        kitchen-agent bundle --out /tmp/kitchen-12.tar.gz\n\n\
        Prints what is in it. Passwords, keys and credentials are replaced by ***; pictures and clips stay on the box.")]
    Bundle(BundleArguments),
    /// The agent's journal: time, level, message, fields
    #[command(after_help = "Examples:\n  kitchen-agent log -f\n  kitchen-agent log --since 2h --level warn\n  \
        kitchen-agent log --since 2026-11-24 --json")]
    Log(LogArguments),
    /// Checks an exported folder: hashes, signature, chain
    #[command(after_help = "Examples:\n  kitchen-agent verify k7f3qa.17.42 --key evidence-key.pem\n  \
        kitchen-agent verify k7f3qa.17.42 --ca district-ca.pem --json\n\n\
        The key has to come from elsewhere than the folder: from the district, or noted when the box was installed. \
        Exit 0: proven, 1: something is wrong with the folder, 2: it agrees with itself, but nobody vouches for its key.")]
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
pub struct BudgetArguments {
    /// Twelve months at the present rate
    #[arg(long)]
    pub year: bool,
    /// Twelve months with another load or price: alerts_per_day=50, clip_bytes, snapshot_bytes, yuan_per_gb, yuan_per_year
    #[arg(long, value_name = "KEY=VALUE")]
    pub what_if: Vec<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct EnrolArguments {
    /// The claim [default: the one that waits, else kitchen-claim.toml on the boot partition or a mounted stick]
    #[arg(long, value_name = "FILE", global = true)]
    pub claim: Option<PathBuf>,
    /// As the unit kitchen-first-boot does it: looks for a claim, also on sticks, sets the clock, and tries until it is done
    #[arg(long, conflicts_with = "claim")]
    pub first_boot: bool,
    #[command(subcommand)]
    pub command: Option<EnrolCommand>,
}

#[derive(Debug, Subcommand)]
pub enum EnrolCommand {
    /// Without a network: writes the request for the district to a stick
    #[command(after_help = "Example:\n  sudo kitchen-agent enrol export /media/usb\n\n\
        At the district: kitchen-district ca sign FILE. The request holds the claim: keep it to yourself.")]
    Export {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Without a network: takes the district's answer from a stick
    #[command(after_help = "Example:\n  sudo kitchen-agent enrol import /media/usb/kitchen-answer-mh07-000123.json")]
    Import {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Arguments of a command that this version does not have yet: any.
#[derive(Debug, Args)]
pub struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DemoArguments {
    /// End after so many seconds; exit 1 if no alert was acknowledged
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Where pictures, clips and databases go [default: a new folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ReplayArguments {
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// At the pace of the video
    #[arg(long)]
    pub real_time: bool,
    /// Print what each look saw
    #[arg(long)]
    pub detections: bool,
    /// Write annotated pictures of each alert (of each look with --detections)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print what each stage cost
    #[arg(long)]
    pub profile: bool,
    /// When the recording began, for schedules [default: noon of 2026-01-01 in the device's time zone]
    #[arg(long, value_name = "RFC3339")]
    pub start: Option<kitchen_core::time::Wall>,
}

#[derive(Debug, Args)]
pub struct DetectArguments {
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Only this model of the pack
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
}

#[derive(Debug, Args)]
pub struct EvalArguments {
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    #[arg(long, value_name = "NAME")]
    pub model: String,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Name, version, classes, licence
    List,
    /// Hashes and golden outputs, with each engine
    Verify,
    /// Engines timed on this box
    Bench {
        /// Runs of each engine
        #[arg(long, default_value_t = 30, value_name = "N")]
        runs: u32,
    },
    /// Precision and recall against labelled pictures
    #[command(after_help = "Examples:\n  kitchen-agent model eval rats --model objects\n  \
        kitchen-agent model eval heads --model head_attributes --json\n\n\
        For a detector DIR holds images/, labels/ in YOLO's format and classes.txt; for a classifier one folder a class.")]
    Eval(EvalArguments),
}

#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Newest first
    List {
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// All of one alert: records with their times, boxes, files
    #[command(after_help = "Example:\n  kitchen-agent alerts show k7f3qa.17.42\n\n\
        The beginning of an id is enough where it is the only one.")]
    Show { id: String },
    /// Pictures, clip and evidence into a folder that can be verified anywhere, with a page for any browser
    #[command(after_help = "Example:\n  sudo kitchen-agent alerts export k7f3qa.17.42 /media/usb/k7f3qa.17.42\n\n\
        The folder is new or empty. It is signed with the box's evidence key, which only root and the agent may read. \
        Check it with kitchen-agent verify.")]
    Export {
        id: String,
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// With the original picture too, in which nobody's face is blurred
        #[arg(long)]
        original: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// What waits, in the order in which it is sent; set-aside messages last
    #[command(after_help = "Example:\n  kitchen-agent outbox list --limit 20")]
    List {
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// One message with its topic and, where it is JSON, what it says
    #[command(after_help = "Example:\n  kitchen-agent outbox show k7f3qa.17.42 --json\n\n\
        The beginning of an id is enough where it is the only one.")]
    Show { id: String },
    /// Sends a set-aside message again
    #[command(after_help = "Example:\n  kitchen-agent outbox requeue k7f3qa.17.42\n\n\
        Its attempts are counted from zero. It is sent as soon as its turn comes.")]
    Requeue { id: String },
    /// Gives a message up for good; the district is told
    #[command(after_help = "Example:\n  kitchen-agent outbox drop k7f3qa.17.42\n\n\
        The alert, its picture and its clip stay on the box. A record tells the district what it will never get.")]
    Drop { id: String },
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The public key that the box is trusted by: PEM, or its 32 bytes in base64
    #[arg(long, value_name = "FILE", conflicts_with = "ca")]
    pub key: Option<PathBuf>,
    /// The authority that vouches for the box's key by the certificate in the folder
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BundleArguments {
    /// Where to write it [default: kitchen-agent-bundle-DEVICE-TIME.tar.gz in this folder]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct LogArguments {
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// From then on: 2h, 30min, 3d, today, "2026-11-24 08:00"
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what is at least so grave
    #[arg(long, value_name = "error|warn|info|debug", default_value = "debug", hide_default_value = true)]
    pub level: LogLevel,
    /// At most so many lines, the newest [default: 200; with --since all]
    #[arg(long, value_name = "N")]
    pub lines: Option<usize>,
    /// The journal in this folder, e.g. of another box's card
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// The configuration in force and where each value comes from
    Show,
    /// All that is wrong with it
    Validate,
    /// Against the defaults
    Diff(Later),
}

#[derive(Debug, Subcommand)]
pub enum CameraCommand {
    /// Cameras on this network
    Discover(Later),
    /// What a stream is and how it should be set
    #[command(after_help = "Examples:\n  kitchen-agent camera probe stove\n  \
        kitchen-agent camera probe rtsp://192.168.8.64/Streaming/Channels/102 --username admin --password-file FILE")]
    Probe {
        /// An address, or the id of a configured camera
        #[arg(value_name = "URL|ID")]
        camera: String,
        #[arg(long, value_name = "NAME")]
        username: Option<String>,
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// One picture as JPEG
    Snapshot {
        /// The id of a configured camera [default: the only one]
        #[arg(value_name = "ID")]
        camera: Option<String>,
        #[arg(long, value_name = "FILE", default_value = "snapshot.jpg")]
        out: PathBuf,
    },
    /// A piece of the local recording as MP4
    #[command(after_help = "Examples:\n  kitchen-agent camera clip stove --from 08:30 --to 08:31 --out lunch.mp4\n  \
        kitchen-agent camera clip --from 10min --to 9min\n  \
        kitchen-agent camera clip --from '2026-11-24 08:30' --to '2026-11-24 08:30:20' --json\n\n\
        At most nine minutes. It begins with the keyframe before; pictures are not encoded anew.")]
    Clip(ClipArguments),
    /// A picture refreshed twice a second, in the terminal or as a page on this machine
    #[command(after_help = "Examples:\n  sudo kitchen-agent camera live stove\n  \
        sudo kitchen-agent camera live stove --listen 127.0.0.1:8090\n\n\
        From a laptop: ssh -L 8090:127.0.0.1:8090 BOX, then http://127.0.0.1:8090/ in its browser. Ctrl-C ends it.")]
    Live {
        /// The id of a configured camera [default: the only one]
        #[arg(value_name = "ID")]
        camera: Option<String>,
        /// Serve a page on this loopback address instead of drawing in the terminal
        #[arg(long, value_name = "127.0.0.1:PORT")]
        listen: Option<std::net::SocketAddr>,
    },
}

#[derive(Debug, Args)]
pub struct ClipArguments {
    /// The id of a camera [default: the only one]
    #[arg(value_name = "ID")]
    pub camera: Option<String>,
    /// First picture: 10min (ago), 08:30, "2026-11-24 08:30:05"
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// End, written in the same ways
    #[arg(long, value_name = "TIME")]
    pub to: String,
    #[arg(long, value_name = "FILE", default_value = "clip.mp4")]
    pub out: PathBuf,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    ProblemFound,
    CouldNotCheck,
    WrongUse,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::ProblemFound => 1,
            Exit::CouldNotCheck => 2,
            Exit::WrongUse => 64,
        })
    }
}

/// Attached to an error that is a found problem rather than a check that could not be made.
#[derive(Debug)]
pub struct Problem;

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("problem found")
    }
}

/// The exit code of a failed command: a problem of what was looked at, or a check that could not be made.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    let is_problem = error.is::<kitchen_core::config::ConfigError>()
        || error.is::<kitchen_vision::detect::ModelError>()
        || error.is::<kitchen_vision::camera::CameraError>()
        || error.is::<Problem>();
    if is_problem { Exit::ProblemFound } else { Exit::CouldNotCheck }
}
