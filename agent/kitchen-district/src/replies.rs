//! What the district says to the boxes: receipts, gathered for a moment by device, and answers about clips.
//! A reply that can't be sent is dropped: the box sends its message again and gets another.

use std::collections::BTreeMap;
use std::time::Duration;

use kitchen_core::wire::{AckBody, ClipReceipt, VERSION, down};
use kitchen_uplink::{Publication, Publisher};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::debug;

/// How long receipts are gathered into one message.
const GATHERING: Duration = Duration::from_millis(50);
const IDS_IN_ONE: usize = 200;

#[derive(Debug)]
pub enum Reply {
    Receipt { device: String, id: String },
    Answer { device: String, answer: ClipReceipt },
}

/// Publishes replies until their source ends.
pub async fn run(mut replies: mpsc::Receiver<Reply>, publisher: watch::Receiver<Option<Publisher>>) {
    let mut receipts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut flush_at = None;
    loop {
        let reply = match flush_at {
            None => replies.recv().await,
            Some(at) => match tokio::time::timeout_at(at, replies.recv()).await {
                Ok(reply) => reply,
                Err(_) => {
                    flush_at = None;
                    for (device, ids) in std::mem::take(&mut receipts) {
                        acknowledge(&publisher, &device, &ids).await;
                    }
                    continue;
                }
            },
        };
        match reply {
            Some(Reply::Receipt { device, id }) => {
                let ids = receipts.entry(device).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
                flush_at.get_or_insert_with(|| Instant::now() + GATHERING);
            }
            Some(Reply::Answer { device, answer }) => {
                let payload = serde_json::to_vec(&answer).expect("an answer has string keys");
                send(&publisher, down(&device, &format!("clip/{}", answer.clip_id)), payload).await;
            }
            None => break,
        }
    }
    for (device, ids) in receipts {
        acknowledge(&publisher, &device, &ids).await;
    }
}

async fn acknowledge(publisher: &watch::Receiver<Option<Publisher>>, device: &str, ids: &[String]) {
    for ids in ids.chunks(IDS_IN_ONE) {
        let body = AckBody { v: VERSION, ids: ids.to_vec() };
        let payload = serde_json::to_vec(&body).expect("an acknowledgement has string keys");
        send(publisher, down(device, "ack"), payload).await;
    }
}

async fn send(publisher: &watch::Receiver<Option<Publisher>>, topic: String, payload: Vec<u8>) {
    let link = publisher.borrow().clone();
    let Some(link) = link else {
        debug!(topic, "no link for a reply");
        return;
    };
    if let Err(error) = link.publish_when_free(Publication::new(topic.clone(), payload)).await {
        debug!(topic, %error, "a reply was not sent");
    }
}
