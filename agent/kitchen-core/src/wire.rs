//! The contract with the district as types: ids, topics, envelopes, bodies and receipts.
//! Everything that is sent or received in JSON is read and written here and nowhere else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::budget::{BudgetStep, Yuan};
use crate::evidence::Hash;
use crate::time::{Mono, Stamp, TimeQuality, Wall};

/// The contract's major version, also a topic level.
pub const VERSION: u8 = 1;
/// Bytes in one chunk of a clip.
pub const CHUNK_BYTES: u32 = 32_768;

/// Store `.` boot `.` sequence: needs no clock and never repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// Six letters and digits made with the database.
    pub store: String,
    pub boot: u32,
    pub sequence: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.store, self.boot, self.sequence)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no message id such as k7f3qa.17.42")]
pub struct MessageIdError(String);

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let wrong = || MessageIdError(text.to_owned());
        let mut parts = text.split('.');
        let (Some(store), Some(boot), Some(sequence), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let is_store = store.len() == 6 && store.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let id = Self {
            store: store.to_owned(),
            boot: boot.parse().map_err(|_| wrong())?,
            sequence: sequence.parse().map_err(|_| wrong())?,
        };
        // Its one spelling only: the id is a file name and a topic level elsewhere.
        if is_store && id.to_string() == text { Ok(id) } else { Err(wrong()) }
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whether `id` may be a device id: one whole topic level, `[a-z0-9-]{3,48}`.
#[must_use]
pub fn is_device_id(id: &str) -> bool {
    (3..=48).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// `kitchen/v1/{device}/up/{leaf}`.
#[must_use]
pub fn up(device: &str, leaf: &str) -> String {
    format!("kitchen/v{VERSION}/{device}/up/{leaf}")
}

/// `kitchen/v1/{device}/down/{leaf}`.
#[must_use]
pub fn down(device: &str, leaf: &str) -> String {
    format!("kitchen/v{VERSION}/{device}/down/{leaf}")
}

/// Device and leaf of a topic `kitchen/v1/{device}/{direction}/{leaf…}`.
#[must_use]
pub fn split_topic<'t>(topic: &'t str, direction: &str) -> Option<(&'t str, &'t str)> {
    let rest = topic.strip_prefix("kitchen/v1/")?;
    let (device, rest) = rest.split_once('/')?;
    let leaf = rest.strip_prefix(direction)?.strip_prefix('/')?;
    (is_device_id(device) && !leaf.is_empty()).then_some((device, leaf))
}

/// What surrounds every JSON body below `up/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub v: u8,
    pub id: MessageId,
    #[serde(rename = "type")]
    pub kind: String,
    pub device: String,
    pub time: Wall,
    pub time_quality: TimeQuality,
    pub uptime_ms: Mono,
    pub body: Value,
}

impl Envelope {
    #[must_use]
    pub fn new(id: MessageId, kind: &str, device: &str, stamp: Stamp, body: Value) -> Self {
        Self {
            v: VERSION,
            id,
            kind: kind.to_owned(),
            device: device.to_owned(),
            time: stamp.wall,
            time_quality: stamp.quality,
            uptime_ms: stamp.mono,
            body,
        }
    }

    /// The bytes that are stored and sent, the same at every resend.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope has string keys and finite numbers")
    }
}

/// Which run of a box speaks: of two bodies of `state` of one store the larger `n` is the newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub store: String,
    pub n: u64,
}

/// Where the kitchen is, as the installer wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub name: String,
    #[serde(default)]
    pub licence: String,
    #[serde(default)]
    pub town: String,
}

/// Whether a rule can fire on this box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    On,
    Off,
    /// No installed model is good enough for it.
    Unavailable,
}

/// Body of `up/state`: birth, and as the will death.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateBody {
    pub online: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When a box that is off on purpose will be back at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    pub session: Session,
    pub agent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    #[serde(default)]
    pub config_version: u64,
    #[serde(default)]
    pub site: Site,
    #[serde(default)]
    pub rules: std::collections::BTreeMap<String, RuleState>,
    /// The public part of the box's evidence key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_key: Option<String>,
    /// The serial number of the board that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
}

/// One camera in a heartbeat; counts are since the agent started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraHealth {
    pub id: String,
    /// `online`, `connecting` or `offline`.
    pub state: String,
    pub frames: u64,
    pub analysed: u64,
    pub dropped: u64,
}

/// What waits to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxHealth {
    pub count: u64,
    pub bytes: u64,
    pub oldest_s: u64,
}

/// The newest link of a store's evidence chain, told so that a box that is rewritten later is found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    pub store: String,
    /// Links of this store so far.
    pub count: u64,
    pub hash: Hash,
}

/// Body of `up/heartbeat`. What is not measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatBody {
    pub cameras: Vec<CameraHealth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<OutboxHealth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts_today: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_head: Option<ChainHead>,
    /// How often each stage of the agent failed and was started again since the agent's start.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub restarts: std::collections::BTreeMap<String, u64>,
    /// Absent where nothing is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingHealth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetHealth>,
}

/// The month's traffic so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetHealth {
    pub step: BudgetStep,
    pub bytes: u64,
    pub yuan: Yuan,
}

/// How the rolling recording fares: of all cameras together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingHealth {
    /// `on`, `failing` or `stalled`.
    pub state: String,
    /// Seconds of video held.
    pub held_s: u64,
    /// Interruptions that the box is to blame for, and the pictures left out by them, since the agent's start.
    pub gaps: u64,
    pub dropped: u64,
}

/// `down/ack`: ids that the district has stored durably.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AckBody {
    pub v: u8,
    pub ids: Vec<String>,
    /// The [`short_digest`] of what was stored, in the order of `ids`: a copied card gives its ids to other messages too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// Those of `ids` that the district already held with other bytes; it holds both now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
}

impl AckBody {
    #[must_use]
    pub fn new(receipts: &[Receipt], conflicts: Vec<String>) -> Self {
        let ids = receipts.iter().map(|receipt| receipt.id.clone()).collect();
        let digests: Option<Vec<String>> = receipts.iter().map(|receipt| receipt.digest.clone()).collect();
        Self { v: VERSION, ids, digests: digests.unwrap_or_default(), conflicts }
    }

    /// Each id with its digest, where there is one for each.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        let digests = if self.digests.len() == self.ids.len() { self.digests.as_slice() } else { &[] };
        let receipt = |(index, id): (usize, &String)| Receipt { id: id.clone(), digest: digests.get(index).cloned() };
        self.ids.iter().enumerate().map(receipt).collect()
    }
}

/// The district has stored the message `id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    pub id: String,
    /// Of the bytes that were stored; a district may leave it out.
    pub digest: Option<String>,
}

impl Receipt {
    /// Without a digest.
    #[must_use]
    pub fn of(id: &str) -> Self {
        Self { id: id.to_owned(), digest: None }
    }

    /// Whether it can be for a message whose SHA-256 is that.
    #[must_use]
    pub fn is_for(&self, sha256: &str) -> bool {
        self.digest.as_ref().is_none_or(|digest| *digest == short_digest(sha256))
    }
}

/// What the district says of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipReceiptState {
    Missing,
    Stored,
    Rejected,
}

/// `down/clip/{clip_id}`; ranges are `[from, to)` in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipReceipt {
    pub v: u8,
    pub clip_id: String,
    pub state: ClipReceiptState,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<[u64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of the clip that is meant, as its `init` says; a district may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl ClipReceipt {
    /// Whether it can be about the clip with that SHA-256.
    #[must_use]
    pub fn is_for(&self, sha256: &str) -> bool {
        self.sha256.as_ref().is_none_or(|named| named == sha256)
    }
}

/// What a box takes from the district.
#[derive(Clone, Debug, PartialEq)]
pub enum Downlink {
    /// `down/ack`.
    Receipts(AckBody),
    /// `down/clip/{clip_id}`.
    Answer(ClipReceipt),
}

/// Why a message of the district is left.
#[derive(Debug, thiserror::Error)]
pub enum DownlinkError {
    #[error("an acknowledgement of the district can't be read")]
    Receipts(#[source] serde_json::Error),
    #[error("an answer of the district can't be read")]
    Answer(#[source] serde_json::Error),
    #[error("an answer names another clip than its topic, {topic}")]
    OtherClip { topic: String },
}

impl Downlink {
    /// Reads a message by the leaf of its topic, as [`split_topic`] gives it; `None` for leaves of later versions.
    ///
    /// # Errors
    /// When the payload is not what the leaf promises.
    pub fn read(leaf: &str, payload: &[u8]) -> Result<Option<Self>, DownlinkError> {
        if leaf == "ack" {
            return serde_json::from_slice(payload)
                .map(|ack| Some(Self::Receipts(ack)))
                .map_err(DownlinkError::Receipts);
        }
        let Some(clip_id) = leaf.strip_prefix("clip/") else { return Ok(None) };
        let answer: ClipReceipt = serde_json::from_slice(payload).map_err(DownlinkError::Answer)?;
        if answer.clip_id != clip_id {
            return Err(DownlinkError::OtherClip { topic: clip_id.to_owned() });
        }
        Ok(Some(Self::Answer(answer)))
    }
}

/// Body of `up/clip/{clip_id}/init`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipInit {
    pub clip_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
    pub bytes: u64,
    pub sha256: String,
    pub chunk_bytes: u32,
    pub media_type: String,
    pub codec: String,
    pub width: u32,
    pub height: u32,
    pub start: Wall,
    pub duration_ms: u64,
    pub priority: u8,
    pub expires: Wall,
}

/// Body of `up/clip/{clip_id}/fin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipFin {
    pub clip_id: String,
    pub bytes: u64,
    pub sha256: String,
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 as lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(bytes))
}

/// The first eight digits: enough to tell two messages apart that came by one id, and no protection against forgery.
#[must_use]
pub fn short_digest(sha256: &str) -> String {
    sha256.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id: MessageId = "k7f3qa.17.42".parse().expect("contract's example");
        assert_eq!(id, MessageId { store: "k7f3qa".into(), boot: 17, sequence: 42 });
        for wrong in ["", "k7f3qa.17", "k7f3qa.017.42", "K7f3qa.1.1", "k7f3qa.1.1.1", "../../a.1.1", "k7f3qa.+1.1"] {
            assert!(wrong.parse::<MessageId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_acknowledgement_with_or_without_digests_is_read() {
        let plain: AckBody = serde_json::from_str(r#"{"v":1,"ids":["k7f3qa.17.42"]}"#).expect("contract's example");
        assert_eq!(plain.receipts(), [Receipt::of("k7f3qa.17.42")]);
        assert!(plain.receipts()[0].is_for("anything"));

        let receipt = Receipt { id: "k7f3qa.17.42".into(), digest: Some("0123abcd".into()) };
        let body = AckBody::new(std::slice::from_ref(&receipt), Vec::new());
        let json = serde_json::to_string(&body).expect("string keys");
        assert_eq!(json, r#"{"v":1,"ids":["k7f3qa.17.42"],"digests":["0123abcd"]}"#);
        assert_eq!(
            serde_json::from_str::<AckBody>(&json).expect("own format").receipts(),
            std::slice::from_ref(&receipt)
        );
        assert!(receipt.is_for("0123abcdef"));
        assert!(!receipt.is_for("0123abceef"));
        let too_few = AckBody { ids: vec!["a".into(), "b".into()], ..body };
        assert!(too_few.receipts().iter().all(|receipt| receipt.digest.is_none()));
    }

    #[test]
    fn topics_split_into_device_and_leaf() {
        assert_eq!(up("mh07-000123", "state"), "kitchen/v1/mh07-000123/up/state");
        assert_eq!(split_topic("kitchen/v1/mh07-000123/up/clip/a/init", "up"), Some(("mh07-000123", "clip/a/init")));
        assert_eq!(split_topic("kitchen/v1/mh07-000123/down/ack", "up"), None);
        assert_eq!(split_topic("kitchen/v2/mh07-000123/up/state", "up"), None);
        assert_eq!(split_topic("kitchen/v1/MH/up/state", "up"), None);
    }

    #[test]
    fn an_envelope_reads_as_the_contract_shows_it() {
        let stamp = Stamp {
            mono: Mono::from_millis(8_123_450),
            wall: "2026-11-24T05:12:31.250Z".parse().expect("literal"),
            quality: TimeQuality::Ntp,
        };
        let id = "k7f3qa.17.42".parse().expect("literal");
        let envelope = Envelope::new(id, "alert.opened", "mh07-000123", stamp, Value::Object(Default::default()));
        let expected = r#"{"v":1,"id":"k7f3qa.17.42","type":"alert.opened","device":"mh07-000123","time":"2026-11-24T05:12:31.250Z","time_quality":"ntp","uptime_ms":8123450,"body":{}}"#;
        assert_eq!(String::from_utf8(envelope.to_bytes()).expect("utf-8"), expected);
        assert_eq!(serde_json::from_str::<Envelope>(expected).expect("own format"), envelope);
    }
}
