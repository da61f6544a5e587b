//! Real servers for the tests: a broker, cameras, the agent and the district's end as processes that can be
//! killed, stopped and started again, with their certificates, videos and configuration.
//! Everything panics with what to do about it: a missing server is a failure, never a skip.

mod agent;
mod agent_config;
mod alert_body;
mod authority;
mod browser;
mod bureau;
mod camera;
mod certificates;
mod disk;
mod district;
mod journal;
mod media;
mod mosquitto;
mod network;
mod new_clip;
mod preload;
mod process;
mod program;
mod stored_alert;
pub mod videos;
mod waiting;

pub use agent::Agent;
pub use agent_config::{AgentConfig, in_english};
pub use alert_body::alert_body;
pub use authority::{Authority, claim_of};
pub use browser::Browser;
pub use bureau::Bureau;
pub use camera::{Breakage, RtspCamera};
pub use certificates::{Certificates, Identity};
pub use disk::{Disk, assert_root_user};
pub use district::District;
pub use journal::Journal;
pub use media::{assert_plays_from_the_start, ffprobe, shown_at_ms};
pub use mosquitto::{Mosquitto, free_port};
pub use network::{Counted, Network};
pub use new_clip::new_clip;
pub use preload::preload;
pub use process::{Finished, Process};
pub use program::{built, repository, run, system, target};
pub use stored_alert::stored_alert;
pub use waiting::{wait_for, wait_until};
