//! What a box would hear of the district if another one with a copy of its card had sent the message under the same id:
//! the receipt of bytes that are not its own.

use kitchen_core::wire::{
    AckBody, ClipReceipt, ClipReceiptState, Envelope, Receipt, VERSION, down, sha256_hex, short_digest, split_topic,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;

/// For a publication of a box; `None` for one without a receipt.
pub(super) fn receipt(publish: &Publish) -> Option<Publish> {
    let topic = String::from_utf8_lossy(&publish.topic);
    let (device, leaf) = split_topic(&topic, "up")?;
    let other = sha256_hex(b"another message");
    let levels: Vec<&str> = leaf.split('/').collect();
    let (leaf, body) = match levels.as_slice() {
        ["clip", clip_id, "init" | "fin"] => {
            let (clip_id, state) = ((*clip_id).to_owned(), ClipReceiptState::Stored);
            let leaf = format!("clip/{clip_id}");
            let answer =
                ClipReceipt { v: VERSION, clip_id, state, missing: Vec::new(), reason: None, sha256: Some(other) };
            (leaf, serde_json::to_vec(&answer))
        }
        ["alert", _] | ["record"] => {
            let envelope: Envelope = serde_json::from_slice(&publish.payload).ok()?;
            ("ack".to_owned(), serde_json::to_vec(&acknowledgement(envelope.id.to_string(), &other)))
        }
        ["snapshot", _] => {
            let properties = &publish.properties.as_ref()?.user_properties;
            let id = properties.iter().find(|(name, _)| name == "id").map(|(_, id)| id.clone())?;
            ("ack".to_owned(), serde_json::to_vec(&acknowledgement(id, &other)))
        }
        _ => return None,
    };
    let body = body.expect("a receipt has string keys");
    Some(Publish::new(down(device, &leaf), QoS::AtLeastOnce, body, None))
}

fn acknowledgement(id: String, sha256: &str) -> AckBody {
    AckBody::new(&[Receipt { id, digest: Some(short_digest(sha256)) }], Vec::new())
}
