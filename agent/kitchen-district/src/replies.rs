//! What the district says to the boxes: receipts, gathered for a moment by device, and answers about clips.
//! A reply that can't be sent is dropped: the box sends its message again and gets another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kitchen_core::wire::{AckBody, ClipReceipt, Receipt, down};
use kitchen_uplink::{Publication, Publisher};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::debug;

/// How long receipts are gathered into one message.
const GATHERING: Duration = Duration::from_millis(50);
const IDS_IN_ONE: usize = 200;

#[derive(Debug)]
pub enum Reply {
    Receipt { device: String, receipt: Receipt, is_conflict: bool },
    Answer { device: String, answer: ClipReceipt },
}

/// Publishes replies until their source ends.
pub async fn run(mut replies: mpsc::Receiver<Reply>, publisher: watch::Receiver<Option<Publisher>>) {
    let mut gathered: BTreeMap<String, Gathered> = BTreeMap::new();
    let mut flush_at = None;
    loop {
        let reply = match flush_at {
            None => replies.recv().await,
            Some(at) => match tokio::time::timeout_at(at, replies.recv()).await {
                Ok(reply) => reply,
                Err(_) => {
                    flush_at = None;
                    for (device, gathered) in std::mem::take(&mut gathered) {
                        acknowledge(&publisher, &device, gathered).await;
                    }
                    continue;
                }
            },
        };
        match reply {
            Some(Reply::Receipt { device, receipt, is_conflict }) => {
                let gathered = gathered.entry(device).or_default();
                if is_conflict {
                    gathered.conflicts.insert(receipt.id.clone());
                }
                gathered.receipts.insert(receipt);
                flush_at.get_or_insert_with(|| Instant::now() + GATHERING);
            }
            Some(Reply::Answer { device, answer }) => {
                let payload = serde_json::to_vec(&answer).expect("an answer has string keys");
                send(&publisher, down(&device, &format!("clip/{}", answer.clip_id)), payload).await;
            }
            None => break,
        }
    }
    for (device, gathered) in gathered {
        acknowledge(&publisher, &device, gathered).await;
    }
}

/// What one device is told together.
#[derive(Default)]
struct Gathered {
    receipts: BTreeSet<Receipt>,
    conflicts: BTreeSet<String>,
}

async fn acknowledge(publisher: &watch::Receiver<Option<Publisher>>, device: &str, gathered: Gathered) {
    let receipts: Vec<Receipt> = gathered.receipts.into_iter().collect();
    for receipts in receipts.chunks(IDS_IN_ONE) {
        let conflicts = receipts.iter().map(|receipt| &receipt.id).filter(|id| gathered.conflicts.contains(*id));
        let body = AckBody::new(receipts, conflicts.cloned().collect());
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
