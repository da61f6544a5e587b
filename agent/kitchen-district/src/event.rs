//! What the district tells whoever listens: one value an event, also as a line of text and a JSON document.
//! Told after it is durable, once for each message, however often it came.

use std::path::PathBuf;

use kitchen_core::time::Wall;
use serde::Serialize;
use serde_json::Value;

/// `record` and `state` are whole envelopes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DistrictEvent {
    Alert {
        device: String,
        id: String,
        #[serde(rename = "type")]
        kind: String,
        rule: String,
        received_at: Wall,
        record: Value,
    },
    Record {
        device: String,
        id: String,
        #[serde(rename = "type")]
        kind: String,
        received_at: Wall,
        record: Value,
    },
    Command {
        device: String,
        id: String,
        command_id: String,
        received_at: Wall,
        record: Value,
    },
    Snapshot {
        device: String,
        id: String,
        alert_id: String,
        sha256: String,
        bytes: u64,
        received_at: Wall,
        path: PathBuf,
    },
    Clip {
        device: String,
        clip_id: String,
        alert_id: Option<String>,
        bytes: u64,
        received_at: Wall,
        path: PathBuf,
    },
    ClipRejected {
        device: String,
        clip_id: String,
        reason: String,
        received_at: Wall,
    },
    State {
        device: String,
        online: bool,
        received_at: Wall,
        state: Value,
    },
    Heartbeat {
        device: String,
        received_at: Wall,
        heartbeat: Value,
    },
    Reported {
        device: String,
        received_at: Wall,
        reported: Value,
    },
    /// A box's evidence is not as it should be; `id` names the record that shows it.
    Alarm {
        device: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        reason: String,
        received_at: Wall,
    },
    /// The same id came with other bytes: a cloned or restored card. Both are kept.
    Conflict {
        device: String,
        id: String,
        received_at: Wall,
    },
}

impl DistrictEvent {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Alert { device, id, kind, rule, received_at, .. } => {
                format!("{received_at} {device} {kind} {rule} {id}")
            }
            Self::Record { device, id, kind, received_at, .. } => format!("{received_at} {device} record {kind} {id}"),
            Self::Command { device, command_id, received_at, .. } => {
                format!("{received_at} {device} command {command_id}")
            }
            Self::Snapshot { device, alert_id, received_at, path, .. } => {
                format!("{received_at} {device} snapshot of {alert_id} {}", path.display())
            }
            Self::Clip { device, clip_id, received_at, path, .. } => {
                format!("{received_at} {device} clip {clip_id} {}", path.display())
            }
            Self::ClipRejected { device, clip_id, reason, received_at } => {
                format!("{received_at} {device} clip {clip_id} rejected: {reason}")
            }
            Self::State { device, online, received_at, .. } => {
                format!("{received_at} {device} {}", if *online { "online" } else { "offline" })
            }
            Self::Heartbeat { device, received_at, .. } => format!("{received_at} {device} heartbeat"),
            Self::Reported { device, received_at, .. } => format!("{received_at} {device} reported its configuration"),
            Self::Alarm { device, id, reason, received_at } => {
                let of = id.as_ref().map_or_else(String::new, |id| format!(" of {id}"));
                format!("{received_at} {device} ALARM: evidence{of}: {reason}")
            }
            Self::Conflict { device, id, received_at } => {
                format!("{received_at} {device} conflict: {id} came with other bytes, is its card a copy?")
            }
        }
    }

    /// One JSON document without a line break.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("an event has string keys and finite numbers")
    }
}
