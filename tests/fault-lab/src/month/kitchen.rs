//! The box of a simulated month: a real store, the real scheduler, transfer, caps and watch over the clock, driven as
//! the agent's uplink and housekeeping drive them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kitchen_core::caps::DailyCaps;
use kitchen_core::clock_watch::ClockWatch;
use kitchen_core::outbox::{Payload, Waiting};
use kitchen_core::scheduler::{self, Scheduler};
use kitchen_core::time::{Mono, TimeZone};
use kitchen_core::transfer::{self, Transfer};
use kitchen_core::wire::{ClipFin, ClipInit, ClipReceipt, ClipReceiptState, sha256_hex};
use kitchen_store::Store;

use super::receiver::{Down, Up};
use super::world::World;

/// As in the uplink.
const LISTED: usize = 256;
const LIST_AGAIN_BELOW: usize = 32;
const LIST_INTERVAL_MS: u64 = 60_000;
const HEARTBEAT_MS: u64 = 900_000;
/// Messages that the link takes at once.
const LINK_ROOM: usize = 64;
/// Each of the six priorities lists at most so many at a time.
const MOST_KNOWN: usize = 6 * LISTED;

/// A publication that the broker has not confirmed.
#[derive(Debug)]
pub(super) enum UnderWay {
    Message(String),
    Chunk { clip_id: String, offset: u64 },
    Other,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub number: u64,
    pub under_way: BTreeMap<u64, UnderWay>,
    heartbeat_at: Mono,
    list_at: Mono,
}

#[derive(Debug)]
pub(super) struct ClipUnderWay {
    clip_id: String,
    init: ClipInit,
    path: PathBuf,
    transfer: Transfer,
}

/// One run of the agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub store: Store,
    pub scheduler: Scheduler,
    pub clip: Option<ClipUnderWay>,
    pub connection: Option<Connection>,
    is_list_complete: bool,
    pub failures: u32,
    pub connected_at: u64,
    pub caps: DailyCaps,
    pub watch: ClockWatch,
    pub round: u32,
}

impl Agent {
    pub fn new(store: Store, seed: u64, now: Mono, caps: DailyCaps) -> Self {
        Self {
            store,
            scheduler: Scheduler::new(seed, now),
            clip: None,
            connection: None,
            is_list_complete: true,
            failures: 0,
            connected_at: 0,
            caps,
            watch: ClockWatch::default(),
            round: 0,
        }
    }

    /// There is something new in the outbox.
    pub fn wake(&mut self, now: Mono) {
        if let Some(connection) = &mut self.connection {
            connection.list_at = now;
        }
    }

    pub fn begin_connection(&mut self, number: u64, now: Mono) {
        let heartbeat_at = now + std::time::Duration::from_secs(5);
        self.connection = Some(Connection { number, under_way: BTreeMap::new(), heartbeat_at, list_at: now });
    }

    pub fn end_connection(&mut self, now: Mono) {
        self.connection = None;
        self.scheduler.handle_disconnected(now);
        if let Some(clip) = &mut self.clip {
            clip.transfer.handle_disconnected(now);
        }
    }

    pub fn next_timeout(&self) -> Option<Mono> {
        let connection = self.connection.as_ref()?;
        let transfer = self.clip.as_ref().and_then(|clip| clip.transfer.poll_timeout());
        let own = connection.heartbeat_at.min(connection.list_at);
        Some(self.scheduler.poll_timeout().into_iter().chain(transfer).fold(own, Mono::min))
    }

    fn note_receipt(&mut self, now: Mono) {
        if !self.is_list_complete && self.scheduler.count() < LIST_AGAIN_BELOW {
            self.wake(now);
        }
    }
}

/// What this day has brought already, as the agent counts it at its start.
pub(super) fn todays_caps(store: &Store, now: kitchen_core::time::Wall) -> DailyCaps {
    let alerts = store.alerts(200).expect("alerts").into_iter();
    let raised = alerts.map(|alert| (alert.tier, alert.opened_at.start_of_day(&TimeZone::UTC), alert.clip.is_some()));
    DailyCaps::resumed(now.start_of_day(&TimeZone::UTC), raised)
}

impl World {
    /// Everything that is due now.
    pub(super) fn perform_all(&mut self) {
        let now = self.clock.mono();
        let Some(connection) = &mut self.agent_mut().connection else { return };
        if connection.list_at <= now {
            connection.list_at = now + std::time::Duration::from_millis(LIST_INTERVAL_MS);
            self.list();
        }
        let agent = self.agent_mut();
        agent.scheduler.handle_timeout(now);
        let Some(connection) = &mut agent.connection else { return };
        if connection.heartbeat_at <= now {
            connection.heartbeat_at = now + std::time::Duration::from_millis(HEARTBEAT_MS);
            agent.store.next_id().expect("an id for the heartbeat");
        }
        let mut sent = Vec::new();
        while let Some(output) = self.agent_mut().scheduler.poll_output() {
            self.perform(output, &mut sent);
        }
        if !sent.is_empty() {
            let wall = self.clock.stamp().wall;
            self.agent_mut().store.outbox_sent(&sent, wall).expect("attempts are noted");
        }
        self.go_on_with_clip();
    }

    fn list(&mut self) {
        let now = self.clock.mono();
        let agent = self.agent.as_mut().expect("runs");
        let list: Vec<Waiting> = agent.store.outbox_waiting(LISTED).expect("the outbox is read");
        agent.is_list_complete = list.len() < LISTED;
        agent.scheduler.handle_waiting(&list, agent.is_list_complete, now);
        let (count, is_complete) = (agent.scheduler.count(), agent.is_list_complete);
        self.ledger.see_listed(list.iter().map(|waiting| &waiting.id), is_complete);
        self.figures.most_known = self.figures.most_known.max(count);
        if count > MOST_KNOWN {
            self.ledger.find(format!("the scheduler knows {count} messages at once"));
        }
    }

    fn perform(&mut self, output: scheduler::Output, sent: &mut Vec<String>) {
        let now = self.clock.mono();
        match output {
            scheduler::Output::Send { id, .. } => self.send(id, sent),
            scheduler::Output::Pause { id } => {
                if let Some(clip) = self.agent_mut().clip.as_mut().filter(|clip| clip.clip_id == id) {
                    clip.transfer.handle_disconnected(now);
                }
            }
            scheduler::Output::SetAside { id, failures } => {
                let stamp = self.clock.stamp();
                let agent = self.agent_mut();
                agent.clip.take_if(|clip| clip.clip_id == id);
                let reason = format!("failed {failures} times while others got through");
                agent.store.outbox_set_aside(&id, &reason, stamp).expect("set aside");
                self.take_up();
            }
        }
    }

    fn send(&mut self, id: String, sent: &mut Vec<String>) {
        let now = self.clock.mono();
        let agent = self.agent_mut();
        let Some(payload) = agent.store.outbox_load(&id).expect("what waits can be loaded") else {
            agent.scheduler.handle_gone(&id, now);
            return;
        };
        let is_first = self.ledger.see_sent(&id);
        self.figures.sends += 1;
        self.figures.resends += u64::from(!is_first);
        let message = match payload {
            Payload::Record { bytes, .. } => Up::Text { id: id.clone(), bytes },
            Payload::Snapshot { bytes, .. } => Up::Picture { id: id.clone(), bytes },
            Payload::Clip { init, path } => {
                self.ledger.see_loaded(&id, &init.sha256);
                self.begin_clip(&id, init, path);
                sent.push(id);
                return;
            }
        };
        if let Up::Text { bytes, .. } | Up::Picture { bytes, .. } = &message {
            self.ledger.see_loaded(&id, &sha256_hex(bytes));
        }
        if self.publish(message, UnderWay::Message(id.clone())) {
            sent.push(id);
        } else {
            self.agent_mut().scheduler.handle_not_taken(&id, now);
        }
    }

    fn begin_clip(&mut self, id: &str, init: ClipInit, path: PathBuf) {
        let now = self.clock.mono();
        let seed = self.random.u64(..);
        let agent = self.agent_mut();
        // Ids for its two envelopes.
        for _ in 0..2 {
            agent.store.next_id().expect("an id");
        }
        match agent.clip.as_mut().filter(|clip| clip.clip_id == id) {
            Some(clip) => clip.transfer.handle_connected(now),
            None => {
                let transfer = Transfer::new(init.bytes, init.chunk_bytes, seed, now);
                agent.clip = Some(ClipUnderWay { clip_id: id.to_owned(), init, path, transfer });
            }
        }
    }

    fn go_on_with_clip(&mut self) {
        let now = self.clock.mono();
        let agent = self.agent_mut();
        let is_urgent = agent.scheduler.is_urgent();
        let Some(clip) = &mut agent.clip else { return };
        clip.transfer.handle_urgency(is_urgent, now);
        clip.transfer.handle_timeout(now);
        while let Some(clip) = &mut self.agent_mut().clip
            && let Some(output) = clip.transfer.poll_output()
        {
            let clip_id = clip.clip_id.clone();
            match output {
                transfer::Output::SendInit => {
                    let init = clip.init.clone();
                    self.publish(Up::ClipInit(init), UnderWay::Other);
                }
                transfer::Output::SendFin => {
                    let fin = ClipFin { clip_id, bytes: clip.init.bytes, sha256: clip.init.sha256.clone() };
                    self.publish(Up::ClipFin(fin), UnderWay::Other);
                }
                transfer::Output::SendChunk { offset, length } => {
                    let Some(bytes) = read_chunk(&clip.path, offset, length) else {
                        self.give_clip_up();
                        return;
                    };
                    let message = Up::ClipChunk { clip_id: clip_id.clone(), offset, bytes };
                    if !self.publish(message, UnderWay::Chunk { clip_id, offset })
                        && let Some(clip) = &mut self.agent_mut().clip
                    {
                        clip.transfer.handle_refused(offset, now);
                    }
                }
                transfer::Output::Progress => self.agent_mut().scheduler.handle_progress(&clip_id, now),
                transfer::Output::Stuck => self.give_clip_up(),
                transfer::Output::Stored | transfer::Output::Rejected { .. } => self.agent_mut().clip = None,
            }
        }
    }

    fn give_clip_up(&mut self) {
        let now = self.clock.mono();
        let agent = self.agent_mut();
        if let Some(clip) = agent.clip.take() {
            agent.scheduler.handle_refused(&clip.clip_id, now);
        }
    }

    /// Whether the link had room.
    fn publish(&mut self, message: Up, under_way: UnderWay) -> bool {
        let token = self.next_number();
        let agent = self.agent_mut();
        let Some(connection) = &mut agent.connection else { return false };
        if connection.under_way.len() >= LINK_ROOM {
            return false;
        }
        connection.under_way.insert(token, under_way);
        let number = connection.number;
        self.put_on_line(number, token, message);
        true
    }

    /// The broker confirmed or refused.
    pub(super) fn take_confirmation(&mut self, number: u64, token: u64, is_refused: bool) {
        let now = self.clock.mono();
        let Some(agent) = &mut self.agent else { return };
        let Some(connection) = agent.connection.as_mut().filter(|connection| connection.number == number) else {
            return;
        };
        match connection.under_way.remove(&token) {
            Some(UnderWay::Message(id)) if is_refused => agent.scheduler.handle_refused(&id, now),
            Some(UnderWay::Message(id)) => agent.scheduler.handle_transmitted(&id, now),
            Some(UnderWay::Chunk { clip_id, offset }) => {
                if let Some(clip) = agent.clip.as_mut().filter(|clip| clip.clip_id == clip_id) {
                    clip.transfer.handle_confirmed(offset, now);
                }
            }
            Some(UnderWay::Other) | None => {}
        }
        self.perform_all();
    }

    /// The district says something, and the link is up.
    pub(super) fn take_message(&mut self, message: Down) {
        match message {
            Down::Ack(ack) => {
                let stamp = self.clock.stamp();
                for id in &ack.ids {
                    self.ledger.see_receipt(id, &self.receiver);
                }
                let agent = self.agent_mut();
                let noted = agent.store.outbox_receipted(&ack.receipts(), stamp.wall).expect("receipts are noted");
                for id in ack.ids.iter().filter(|id| !noted.still_waiting.contains(id)) {
                    agent.scheduler.handle_receipt(id, stamp.mono);
                }
                agent.note_receipt(stamp.mono);
            }
            Down::Clip(answer) => self.take_answer(&answer),
        }
        self.perform_all();
    }

    fn take_answer(&mut self, answer: &ClipReceipt) {
        let stamp = self.clock.stamp();
        let id = &answer.clip_id;
        match answer.state {
            ClipReceiptState::Stored => {
                self.ledger.see_receipt(id, &self.receiver);
                self.agent_mut().store.outbox_clip_stored(answer, stamp.wall).expect("noted");
            }
            ClipReceiptState::Rejected => {
                self.agent_mut().store.outbox_clip_rejected(answer, stamp).expect("noted");
                self.take_up();
            }
            ClipReceiptState::Missing => {}
        }
        let agent = self.agent_mut();
        if let Some(clip) = agent.clip.as_mut().filter(|clip| clip.clip_id == *id) {
            clip.transfer.handle_answer(answer, stamp.mono);
        }
        match answer.state {
            ClipReceiptState::Missing => agent.scheduler.handle_answer(id, stamp.mono),
            ClipReceiptState::Stored | ClipReceiptState::Rejected => agent.scheduler.handle_receipt(id, stamp.mono),
        }
        agent.note_receipt(stamp.mono);
    }
}

fn read_chunk(path: &Path, offset: u64, length: u32) -> Option<Vec<u8>> {
    let mut chunk = vec![0; usize::try_from(length).ok()?];
    File::open(path).and_then(|file| file.read_exact_at(&mut chunk, offset)).ok()?;
    Some(chunk)
}
