//! `down/ack` and `down/clip/{clip_id}` as the uplink takes them. The first line is the topic's leaf, the rest the payload.
//! What is read round-trips; no receipt makes the scheduler talk without end or forget what it does not name.

use kitchen_core::outbox::{OutboxKind, Waiting};
use kitchen_core::scheduler::Scheduler;
use kitchen_core::time::{Mono, Wall};
use kitchen_core::wire::{ClipReceiptState, Downlink};

const WAITING: [(&str, OutboxKind); 4] = [
    ("k7f3qa.1.1", OutboxKind::Alert),
    ("k7f3qa.1.2", OutboxKind::Record),
    ("k7f3qa.1.3", OutboxKind::Snapshot),
    ("k7f3qa.1.4", OutboxKind::Clip),
];

pub fn check(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let Ok(leaf) = std::str::from_utf8(&input[..end]) else { return };
    let payload = input.get(end + 1..).unwrap_or_default();
    let Ok(Some(message)) = Downlink::read(leaf, payload) else { return };
    let again = match &message {
        Downlink::Receipts(ack) => serde_json::to_vec(ack),
        Downlink::Answer(answer) => serde_json::to_vec(answer),
    };
    let again = Downlink::read(leaf, &again.expect("has string keys")).expect("its own form is read");
    assert_eq!(again.as_ref(), Some(&message), "written and read again");
    schedule(&message);
}

fn schedule(message: &Downlink) {
    let mut now = Mono::ZERO;
    let mut scheduler = Scheduler::new(1, now);
    let list: Vec<Waiting> = WAITING.iter().map(|(id, kind)| waiting(id, *kind)).collect();
    scheduler.handle_waiting(&list, true, now);
    scheduler.handle_connected(false, now);
    drain(&mut scheduler);
    let named: Vec<&str> = match message {
        Downlink::Receipts(ack) => ack.ids.iter().map(String::as_str).collect(),
        Downlink::Answer(answer) if answer.state == ClipReceiptState::Missing => Vec::new(),
        Downlink::Answer(answer) => vec![&answer.clip_id],
    };
    now = Mono::from_millis(1000);
    for id in &named {
        scheduler.handle_receipt(id, now);
    }
    if let Downlink::Answer(answer) = message {
        scheduler.handle_answer(&answer.clip_id, now);
    }
    drain(&mut scheduler);
    let left = WAITING.iter().filter(|(id, _)| !named.contains(id)).count();
    assert_eq!(scheduler.count(), left, "only what a receipt names is forgotten");
}

fn waiting(id: &str, kind: OutboxKind) -> Waiting {
    let (priority, created) = (kind.priority(1), Wall::from_unix_millis(0));
    Waiting { id: id.to_owned(), kind, priority, tier: 3, bytes: 1000, created, attempts: 0, sent: None, clip: None }
}

fn drain(scheduler: &mut Scheduler) {
    let outputs = std::iter::from_fn(|| scheduler.poll_output()).take(100).count();
    assert!(outputs < 100, "the scheduler has no end of things to do");
}
