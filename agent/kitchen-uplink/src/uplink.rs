//! The box's shell around scheduler and transfer: the outbox goes out, receipts come in, presence is told.
//! Never removes a message by itself: the district's `down/ack` and `down/clip` do.

mod clips;
mod connection;
mod presence;
mod spending;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kitchen_core::budget::Hold;
use kitchen_core::outbox::{OutboxKind, Payload};
use kitchen_core::scheduler::{Output, Scheduler};
use kitchen_core::time::{Clock, Mono, Wall, millis};
use kitchen_core::wire::{AckBody, ClipInit, Downlink, Session, down, up};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::clip::ClipUnderWay;
use crate::explain::{LinkReason, LinkTrouble, chain};
use crate::gate::Gate;
use crate::mqtt::{Link, LinkEvent, LinkOptions, Message, Publication, PublishError, Will};
use crate::outbox::{Outbox, OutboxError, Presence, blocking};
use crate::reconnect::Reconnect;
use crate::tls::LinkError;
use connection::{Connection, End, Ended, Part, UnderWay};
use presence::FAREWELL;

/// Messages that the scheduler knows at once, at most.
const LISTED: usize = 256;
const LIST_AGAIN_BELOW: usize = 32;
const LIST_INTERVAL: Duration = Duration::from_secs(60);
const FIRST_HEARTBEAT: Duration = Duration::from_secs(5);
/// The loop goes round at least so often, so that one that hangs is found.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
const WILL_DELAY_S: u32 = 60;
const LIMIT_HOLDS: Duration = Duration::from_secs(6 * 3600);

/// How the box reaches the district.
#[derive(Debug)]
pub struct UplinkOptions {
    /// `client_id` is the device id; the subscriptions are set here.
    pub link: LinkOptions,
    pub heartbeat_s: u32,
    /// Told at each change, for `status`.
    pub status: watch::Sender<LinkStatus>,
    /// Ends the wait before the next connection: somebody stands at the box and wants to know now.
    pub hurry: Arc<Notify>,
    /// Ends the connection for a new one: there is another certificate.
    pub reconnect: Arc<Notify>,
    /// Counts what passes, and says what may.
    pub gate: Arc<dyn Gate>,
}

/// The link as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// `None`: not connected.
    pub connected_since: Option<Wall>,
    /// How often the box has been connected since the agent's start.
    pub connections: u64,
    /// Why the last connection failed, or what the broker refused; kept until the next lasting success.
    pub last_error: Option<LinkTrouble>,
    pub last_receipt: Option<Wall>,
    /// The district has acknowledged nothing for 10 minutes.
    pub is_district_silent: bool,
    /// Not connected on purpose, until then at the latest: the month's money.
    pub resting_until: Option<Wall>,
    /// What waits though the link is there, and why.
    pub held: BTreeMap<String, Hold>,
}

/// Keeps the box connected and its outbox going until `cancel` turns true. `wake` tells of new messages.
///
/// # Errors
/// When the options can't lead to a connection whatever the network does.
pub async fn run(
    options: UplinkOptions,
    outbox: Arc<dyn Outbox>,
    presence: Arc<dyn Presence>,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    cancel: watch::Receiver<bool>,
) -> Result<(), LinkError> {
    options.link.validate()?;
    let device = options.link.client_id.clone();
    let mut link_options = options.link;
    link_options.subscriptions = vec![down(&device, "ack"), down(&device, "clip/+")];
    let keepalive_s = link_options.keepalive_s;
    let scheduler = Scheduler::new(fastrand::u64(..), clock.mono());
    let mut uplink = Uplink {
        device,
        link_options,
        heartbeat: Duration::from_secs(u64::from(options.heartbeat_s.max(1))),
        status: options.status,
        outbox,
        presence,
        clock,
        wake,
        cancel,
        scheduler,
        holds: BTreeMap::new(),
        listed_clips: HashMap::new(),
        clip: None,
        is_list_complete: true,
        limit_until: Mono::ZERO,
        gate: options.gate,
        reconnect: Arc::clone(&options.reconnect),
        keepalive_s,
        is_errand: false,
        errand_at: None,
        errand_wait: Duration::ZERO,
    };
    let mut reconnect = Reconnect::default();
    loop {
        if !uplink.until_affordable().await {
            return Ok(());
        }
        let Some(ended) = uplink.run_once().await else { return Ok(()) };
        let Ended::Broken(connected, trouble) = ended else { continue };
        uplink.tell_broken(trouble);
        let wait = reconnect.wait(connected);
        debug!(wait_ms = millis(wait), "waiting before the next connection");
        let until = Instant::now() + wait;
        while Instant::now() < until {
            uplink.presence.progress();
            tokio::select! {
                () = tokio::time::sleep_until(until.min(Instant::now() + PROGRESS_INTERVAL)) => {}
                () = options.hurry.notified() => break,
                () = options.reconnect.notified() => break,
                () = cancelled(&mut uplink.cancel) => return Ok(()),
            }
        }
    }
}

/// Also when whoever could cancel is gone.
async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    let _ = cancel.wait_for(|is_cancelled| *is_cancelled).await;
}

struct Uplink {
    device: String,
    link_options: LinkOptions,
    heartbeat: Duration,
    status: watch::Sender<LinkStatus>,
    outbox: Arc<dyn Outbox>,
    presence: Arc<dyn Presence>,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    cancel: watch::Receiver<bool>,
    scheduler: Scheduler,
    /// What is held since the outbox was last listed, and why.
    holds: BTreeMap<String, Hold>,
    /// The clips of the last list.
    listed_clips: HashMap<String, ClipInit>,
    /// The clip under way, or cut off and to be continued.
    clip: Option<ClipUnderWay>,
    is_list_complete: bool,
    /// The learnt `link_options.largest_packet` counts until then: the broker's limit may be raised.
    limit_until: Mono,
    gate: Arc<dyn Gate>,
    reconnect: Arc<Notify>,
    /// As configured.
    keepalive_s: u32,
    /// Connected only for texts.
    is_errand: bool,
    errand_at: Option<Mono>,
    errand_wait: Duration,
}

impl Uplink {
    /// One connection from its beginning to its end. `None`: cancelled.
    async fn run_once(&mut self) -> Option<Ended> {
        let (mut link, session) = match self.open().await {
            Ok(opened) => opened,
            Err(trouble) => return Some(Ended::Broken(Duration::ZERO, trouble)),
        };
        let session_present = loop {
            tokio::select! {
                event = link.next() => match event {
                    LinkEvent::Connected { session_present } => break session_present,
                    LinkEvent::Disconnected { error } => return Some(Ended::Broken(Duration::ZERO, error)),
                    _ => {}
                },
                () = tokio::time::sleep(PROGRESS_INTERVAL) => self.presence.progress(),
                () = cancelled(&mut self.cancel) => return None,
            }
        };
        let since = Instant::now();
        let now = self.clock.mono();
        let heartbeat_at = now + FIRST_HEARTBEAT.min(self.heartbeat);
        let under_way = HashMap::new();
        let mut connection = Connection {
            link,
            since: now,
            session,
            under_way,
            heartbeat_at,
            list_at: now,
            is_outdated: false,
            received: 0,
            other_keepalive_since: None,
        };
        let end = self.converse(&mut connection, session_present).await;
        let now = self.clock.mono();
        if matches!(&end, End::Broken(trouble) if trouble.reason == LinkReason::TooLarge) {
            self.learn_limit(&connection, now);
        }
        self.scheduler.handle_disconnected(now);
        if let Some(clip) = &mut self.clip {
            clip.transfer.handle_disconnected(now);
        }
        match end {
            End::Broken(trouble) => Some(Ended::Broken(since.elapsed(), trouble)),
            End::Resting(until) => {
                self.say_farewell(connection, "budget".to_owned(), Some(until)).await;
                Some(Ended::Resting)
            }
            End::Anew => {
                connection.link.close(FAREWELL).await;
                Some(Ended::Resting)
            }
            End::Outdated => {
                connection.link.close(FAREWELL).await;
                let text = "messages of this id came with other bytes before: look for a second box, or a copied card";
                Some(Ended::Broken(since.elapsed(), LinkReason::SecondBox.because(text.to_owned())))
            }
            End::Cancelled => {
                let reason = self.presence.farewell();
                self.say_farewell(connection, reason, None).await;
                None
            }
        }
    }

    /// The broker's answer ended the link before it could be matched with a message: the largest is taken for it. A
    /// smaller one that was meant ends the next link.
    fn learn_limit(&mut self, connection: &Connection, now: Mono) {
        let Some(largest) = connection.under_way.values().max_by_key(|under_way| under_way.bytes) else { return };
        let limit = u32::try_from(largest.bytes - 1).unwrap_or(u32::MAX);
        warn!(limit, "the broker refused a message for its size: no larger one is sent for some hours");
        self.link_options.largest_packet = Some(limit);
        self.limit_until = now + LIMIT_HOLDS;
        match &largest.part {
            Part::Message(id) => self.scheduler.handle_refused(id, now),
            Part::Chunk { clip_id, offset } => {
                if let Some(clip) = self.clip.as_mut().filter(|clip| clip.clip_id == *clip_id) {
                    clip.transfer.handle_too_large(*offset, now);
                }
            }
        }
    }

    /// A new client with a new session number, which its will carries.
    async fn open(&mut self) -> Result<(Link, Session), LinkTrouble> {
        let not_ready = |error: OutboxError| LinkReason::Other.because(error.to_string());
        let session = blocking(&self.outbox, |outbox| outbox.next_session()).await.map_err(not_ready)?;
        let payload = self.state(&session, Some("connection lost".to_owned()), None).await.map_err(not_ready)?;
        if self.limit_until <= self.clock.mono() {
            self.link_options.largest_packet = None;
        }
        let will = Will { topic: up(&self.device, "state"), payload, delay_s: WILL_DELAY_S, retain: true };
        self.link_options.keepalive_s = self.stretched_keepalive_s();
        let link = Link::open_counted(&self.link_options, Some(will), Arc::clone(&self.gate))
            .map_err(|error| LinkReason::Setup.because(chain(&error)))?;
        Ok((link, session))
    }

    /// Birth, then the outbox, until the connection ends.
    async fn converse(&mut self, connection: &mut Connection, session_present: bool) -> End {
        if let Err(text) = self.greet(connection).await {
            return End::Broken(LinkReason::Other.because(text));
        }
        info!(session = connection.session.n, session_present, "connected to the district's broker");
        let now = self.clock.stamp();
        self.status.send_modify(|status| {
            status.connected_since = Some(now.wall);
            status.connections += 1;
            status.resting_until = None;
        });
        self.scheduler.handle_connected(session_present, now.mono);
        loop {
            fail::fail_point!("uplink");
            self.perform_all(connection).await;
            // What comes down waits for it, too.
            self.save_if_due().await;
            self.presence.progress();
            if let Some(until) = self.rests(connection) {
                return End::Resting(until);
            }
            if self.wants_other_keepalive(connection) {
                return End::Anew;
            }
            let wait = self.next_timeout(connection).since(self.clock.mono()).min(PROGRESS_INTERVAL);
            tokio::select! {
                event = connection.link.next() => {
                    if let LinkEvent::Disconnected { error } = event {
                        return End::Broken(error);
                    }
                    self.take_event(connection, event).await;
                    if connection.is_outdated {
                        return End::Outdated;
                    }
                }
                () = self.reconnect.notified() => return End::Anew,
                () = self.wake.notified() => connection.list_at = self.clock.mono(),
                () = tokio::time::sleep(wait) => {}
                () = cancelled(&mut self.cancel) => return End::Cancelled,
            }
        }
    }

    fn next_timeout(&self, connection: &Connection) -> Mono {
        let transfer = self.clip.as_ref().and_then(|clip| clip.transfer.poll_timeout());
        let own = connection.heartbeat_at.min(connection.list_at);
        self.scheduler.poll_timeout().into_iter().chain(transfer).fold(own, Mono::min)
    }

    /// Everything that is due now.
    async fn perform_all(&mut self, connection: &mut Connection) {
        let now = self.clock.mono();
        if connection.list_at <= now {
            connection.list_at = now + LIST_INTERVAL;
            self.list().await;
        }
        self.scheduler.handle_timeout(now);
        if connection.heartbeat_at <= now && !self.is_errand {
            connection.heartbeat_at = now + self.stretched(self.heartbeat);
            self.beat(connection).await;
        }
        let mut sent = Vec::new();
        while let Some(output) = self.next_output() {
            self.save_if_due().await;
            self.perform(connection, output, &mut sent).await;
        }
        self.tell_held();
        if !sent.is_empty() {
            let stored = blocking(&self.outbox, move |outbox| outbox.sent(&sent)).await;
            log_failure(stored, "attempts not noted");
        }
        self.go_on_with_clip(connection).await;
        let is_district_silent = self.scheduler.is_probing();
        self.status.send_if_modified(|status| {
            let is_changed = status.is_district_silent != is_district_silent;
            status.is_district_silent = is_district_silent;
            is_changed
        });
    }

    async fn list(&mut self) {
        match blocking(&self.outbox, |outbox| outbox.waiting(LISTED)).await {
            Ok(list) => {
                self.is_list_complete = list.len() < LISTED;
                self.note_list(&list);
                self.scheduler.handle_waiting(&list, self.is_list_complete, self.clock.mono());
                self.scheduler.handle_released(self.clock.mono());
            }
            Err(failure) => error!(error = %failure, "the outbox can't be read"),
        }
    }

    async fn perform(&mut self, connection: &mut Connection, output: Output, sent: &mut Vec<String>) {
        match output {
            Output::Send { id, kind, priority } => self.send(connection, id, kind, priority, sent).await,
            Output::Pause { id } => {
                let now = self.clock.mono();
                if let Some(clip) = self.clip.as_mut().filter(|clip| clip.clip_id == id) {
                    clip.transfer.handle_disconnected(now);
                }
            }
            Output::SetAside { id, failures } => {
                warn!(message = %id, failures, "set aside: it failed alone while others got through");
                if self.clip.as_ref().is_some_and(|clip| clip.clip_id == id) {
                    self.clip = None;
                }
                let stored = blocking(&self.outbox, move |outbox| outbox.set_aside(&id, failures)).await;
                log_failure(stored, "a message set aside was not noted");
            }
        }
    }

    async fn send(
        &mut self,
        connection: &mut Connection,
        id: String,
        kind: OutboxKind,
        priority: u8,
        sent: &mut Vec<String>,
    ) {
        let wanted = id.clone();
        let payload = match blocking(&self.outbox, move |outbox| outbox.load(&wanted)).await {
            Ok(Some(payload)) => payload,
            Ok(None) => {
                self.scheduler.handle_gone(&id, self.clock.mono());
                return;
            }
            Err(failure) => {
                error!(message = %id, error = %failure, "a waiting message can't be read");
                self.scheduler.handle_refused(&id, self.clock.mono());
                return;
            }
        };
        let publication = match payload {
            Payload::Record { topic_leaf, bytes } => Publication::new(up(&self.device, &topic_leaf), bytes),
            Payload::Snapshot { topic_leaf, bytes, properties } => {
                Publication { properties, ..Publication::new(up(&self.device, &topic_leaf), bytes) }
            }
            Payload::Clip { init, path } => {
                match self.begin_clip(&id, init, path).await {
                    Ok(()) => sent.push(id),
                    Err(failure) => {
                        error!(clip = %id, error = %failure, "a clip can't be begun");
                        self.scheduler.handle_refused(&id, self.clock.mono());
                    }
                }
                return;
            }
        };
        let publication = publication.of_class(spending::class_of(kind, priority));
        let bytes = publication.packet_bytes();
        match connection.link.publisher().publish(publication) {
            Ok(token) => {
                connection.under_way.insert(token, UnderWay { part: Part::Message(id.clone()), bytes });
                sent.push(id);
            }
            Err(PublishError::Busy) => self.scheduler.handle_not_taken(&id, self.clock.mono()),
            Err(failure @ (PublishError::TooLarge { .. } | PublishError::Topic)) => {
                warn!(message = %id, error = %failure, "not sent");
                self.scheduler.handle_refused(&id, self.clock.mono());
            }
            // The link's last event says why.
            Err(PublishError::Closed) => self.scheduler.handle_not_taken(&id, self.clock.mono()),
        }
    }

    async fn take_event(&mut self, connection: &mut Connection, event: LinkEvent) {
        match event {
            LinkEvent::Message(message) => self.take_message(connection, &message).await,
            LinkEvent::Confirmed { token, refused } => {
                let Some(under_way) = connection.under_way.remove(&token) else {
                    if let Some(reason) = refused {
                        self.tell_refused(format!("the broker refused a message ({reason}): check its ACL"));
                    }
                    return;
                };
                self.take_confirmation(&under_way.part, refused.as_deref());
            }
            LinkEvent::SubscriptionRefused { filter, reason } => {
                self.tell_refused(format!("the broker refused to deliver {filter} ({reason}): check its ACL"));
            }
            LinkEvent::Connected { .. } | LinkEvent::Disconnected { .. } => {}
        }
    }

    fn take_confirmation(&mut self, part: &Part, refused: Option<&str>) {
        let now = self.clock.mono();
        if let Some(reason) = refused {
            self.tell_refused(format!("the broker refused a message ({reason}): check its ACL and its limits"));
        }
        match part {
            Part::Message(id) if refused.is_none() => self.scheduler.handle_transmitted(id, now),
            Part::Message(id) => self.scheduler.handle_refused(id, now),
            Part::Chunk { clip_id, offset } => {
                if let Some(clip) = self.clip.as_mut().filter(|clip| clip.clip_id == *clip_id) {
                    if refused.is_none() {
                        clip.transfer.handle_confirmed(*offset, now);
                    } else {
                        clip.transfer.handle_refused(*offset, now);
                    }
                }
            }
        }
    }

    async fn take_message(&mut self, connection: &mut Connection, message: &Message) {
        connection.received += (message.topic.len() + message.payload.len()) as u64;
        let Some((device, leaf)) = kitchen_core::wire::split_topic(&message.topic, "down") else { return };
        if device != self.device {
            return;
        }
        match Downlink::read(leaf, &message.payload) {
            Ok(Some(Downlink::Receipts(ack))) => self.take_receipts(connection, ack).await,
            Ok(Some(Downlink::Answer(answer))) => self.take_answer(connection, answer).await,
            Ok(None) => {}
            Err(failure) => warn!(error = chain(&failure), "a message of the district was left"),
        }
    }

    async fn take_receipts(&mut self, connection: &mut Connection, ack: AckBody) {
        let receipts = ack.receipts();
        let still_waiting = match blocking(&self.outbox, move |outbox| outbox.receipted(&receipts)).await {
            Ok(still_waiting) => still_waiting,
            Err(failure) => {
                error!(error = %failure, "receipts not noted; the messages will be sent again");
                return;
            }
        };
        let now = self.clock.stamp();
        for id in &ack.ids {
            if still_waiting.contains(id) {
                self.scheduler.handle_heard(now.mono);
            } else {
                self.scheduler.handle_receipt(id, now.mono);
            }
        }
        self.note_receipt(connection, now.wall);
        if !ack.conflicts.is_empty() {
            let conflicted = blocking(&self.outbox, move |outbox| outbox.conflicted(&ack.conflicts)).await;
            match conflicted {
                // The next connection tells the new store in its state.
                Ok(true) => connection.is_outdated = true,
                Ok(false) => {}
                Err(failure) => error!(error = %failure, "a conflict of ids was not noted; the next one will be"),
            }
        }
    }

    fn note_receipt(&self, connection: &mut Connection, wall: Wall) {
        self.status.send_modify(|status| {
            status.last_receipt = Some(wall);
            status.last_error = None;
        });
        if !self.is_list_complete && self.scheduler.count() < LIST_AGAIN_BELOW {
            connection.list_at = self.clock.mono();
        }
    }

    fn tell_refused(&self, text: String) {
        let trouble = LinkReason::TopicForbidden.because(text);
        if self.is_news(&trouble) {
            warn!(error = %trouble, "refused by the broker");
            self.status.send_modify(|status| status.last_error = Some(trouble));
        }
    }

    fn tell_broken(&self, trouble: LinkTrouble) {
        if self.is_news(&trouble) {
            warn!(error = %trouble, "link lost");
        } else {
            debug!(error = %trouble, "link lost again");
        }
        self.status.send_modify(|status| {
            status.connected_since = None;
            status.last_error = Some(trouble);
        });
    }

    fn is_news(&self, trouble: &LinkTrouble) -> bool {
        self.status.borrow().last_error.as_ref() != Some(trouble)
    }
}

fn log_failure(result: Result<(), OutboxError>, what: &'static str) {
    if let Err(failure) = result {
        error!(error = %failure, "{what}");
    }
}
