//! The receiver as a whole: a persistent session on the broker, one thread that stores, one task that replies.
//! Messages flow from the link through the thread to the replies, never back, so that nothing waits for itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use kitchen_core::time::Wall;
use kitchen_uplink::explain::chain;
use kitchen_uplink::{Link, LinkError, LinkEvent, LinkOptions, Message, Publisher, Reconnect};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::event::DistrictEvent;
use crate::intake::{Intake, IntakeError, Outcome};
use crate::replies::{self, Reply};
use crate::store::StoreError;

const MESSAGES: usize = 256;
const REPLIES: usize = 4096;
const EVENTS: usize = 1024;
/// Messages that share one commit.
const BATCH: usize = 64;
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum DistrictError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("folder {path} can't be used as the store: check its owner and that its disk is writable", path = path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the storing thread can't be started")]
    Thread(#[source] std::io::Error),
}

/// Where to receive and where to store.
#[derive(Clone, Debug)]
pub struct DistrictOptions {
    /// The subscription is set here.
    pub link: LinkOptions,
    pub store: PathBuf,
}

/// A running receiver. Dropping it ends it at once, as a crash would; [`District::stop`] ends it in order.
#[derive(Debug)]
pub struct District {
    events: mpsc::Receiver<DistrictEvent>,
    connected: watch::Receiver<Option<Publisher>>,
    malformed: Arc<AtomicU64>,
    cancel: watch::Sender<bool>,
    link: JoinHandle<()>,
    replies: JoinHandle<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl District {
    /// Opens the store and begins to connect; within a tokio runtime.
    ///
    /// # Errors
    /// When the options can't lead to a connection, or the store can't be opened.
    pub fn start(options: DistrictOptions) -> Result<Self, DistrictError> {
        let mut link_options = options.link;
        link_options.validate()?;
        link_options.subscriptions = vec!["kitchen/v1/+/up/#".to_owned()];
        let intake = Intake::open(&options.store)?;
        let (message_sender, messages) = mpsc::channel(MESSAGES);
        let (reply_sender, reply_receiver) = mpsc::channel(REPLIES);
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (publisher, connected) = watch::channel(None);
        let (cancel, cancelled) = watch::channel(false);
        let malformed = Arc::new(AtomicU64::new(0));
        let work = Work { intake, replies: reply_sender, events: event_sender, malformed: Arc::clone(&malformed) };
        let thread = thread::Builder::new()
            .name("district-store".to_owned())
            .spawn(move || work.run(messages))
            .map_err(DistrictError::Thread)?;
        let replies = tokio::spawn(replies::run(reply_receiver, connected.clone()));
        let link = tokio::spawn(receive(link_options, message_sender, publisher, cancelled));
        Ok(Self { events, connected, malformed, cancel, link, replies, thread: Some(thread) })
    }

    /// The next event; `None` when the receiver has ended. Unread events hold up the receiver in the end.
    pub async fn next(&mut self) -> Option<DistrictEvent> {
        self.events.recv().await
    }

    /// Waits for the connection.
    pub async fn connected(&mut self) {
        let _ = self.connected.wait_for(Option::is_some).await;
    }

    /// Messages that made no sense, since the start.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// Disconnects and stores what has been received.
    pub async fn stop(mut self) {
        let _ = self.cancel.send(true);
        self.events.close();
        let _ = (&mut self.link).await;
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        let _ = (&mut self.replies).await;
    }
}

impl Drop for District {
    fn drop(&mut self) {
        self.link.abort();
        self.replies.abort();
    }
}

/// Keeps the link and passes messages on, in their order, until cancelled.
async fn receive(
    options: LinkOptions,
    messages: mpsc::Sender<Message>,
    publisher: watch::Sender<Option<Publisher>>,
    mut cancel: watch::Receiver<bool>,
) {
    let mut reconnect = Reconnect::default();
    loop {
        let mut since = None;
        let text = match Link::open(&options, None) {
            Ok(mut link) => {
                let end = tokio::select! {
                    text = converse(&mut link, &messages, &publisher, &mut since) => Some(text),
                    () = cancelled(&mut cancel) => None,
                };
                let Some(text) = end else {
                    link.close(FAREWELL).await;
                    return;
                };
                text
            }
            Err(error) => error.to_string(),
        };
        publisher.send_replace(None);
        warn!(error = text, "link lost");
        let connected = since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
        tokio::select! {
            () = tokio::time::sleep(reconnect.wait(connected)) => {}
            () = cancelled(&mut cancel) => return,
        }
    }
}

async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    let _ = cancel.wait_for(|is_cancelled| *is_cancelled).await;
}

async fn converse(
    link: &mut Link,
    messages: &mpsc::Sender<Message>,
    publisher: &watch::Sender<Option<Publisher>>,
    since: &mut Option<Instant>,
) -> String {
    loop {
        match link.next().await {
            LinkEvent::Connected { session_present } => {
                info!(session_present, "connected to the broker");
                *since = Some(Instant::now());
                publisher.send_replace(Some(link.publisher().clone()));
            }
            LinkEvent::Message(message) => {
                if messages.send(message).await.is_err() {
                    return "the storing thread has ended".to_owned();
                }
            }
            LinkEvent::Confirmed { refused: Some(reason), .. } => {
                warn!(reason, "the broker refused a reply: check the district's write access to kitchen/v1/+/down/#");
            }
            LinkEvent::Confirmed { .. } => {}
            LinkEvent::SubscriptionRefused { filter, reason } => {
                error!(filter, reason, "the broker delivers nothing: check the district's read access");
            }
            LinkEvent::Disconnected { error } => return error.text,
        }
    }
}

/// The thread that owns the database.
struct Work {
    intake: Intake,
    replies: mpsc::Sender<Reply>,
    events: mpsc::Sender<DistrictEvent>,
    malformed: Arc<AtomicU64>,
}

impl Work {
    fn run(self, mut messages: mpsc::Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(message) = messages.blocking_recv() {
            batch.push(message);
            while batch.len() < BATCH
                && let Ok(message) = messages.try_recv()
            {
                batch.push(message);
            }
            match self.take(&batch) {
                Ok(outcomes) => outcomes.into_iter().for_each(|outcome| self.tell(outcome)),
                Err(failure) => error!(error = %chain(&failure), count = batch.len(), "not stored, not acknowledged"),
            }
            batch.clear();
        }
    }

    /// Stores a batch in one transaction: its outcomes are durable.
    fn take(&self, batch: &[Message]) -> Result<Vec<Outcome>, StoreError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Wall::from_unix_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let taken = self.intake.take_all(batch, now)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (message, outcome) in batch.iter().zip(taken) {
            match outcome {
                Ok(outcome) => outcomes.push(outcome),
                Err(IntakeError::Malformed(what)) => self.note_malformed(message, what),
                Err(failure) => error!(topic = message.topic, error = %chain(&failure), "not stored, not acknowledged"),
            }
        }
        Ok(outcomes)
    }

    fn tell(&self, outcome: Outcome) {
        let receipt = outcome.receipt.map(|stored| Reply::Receipt {
            device: stored.device,
            receipt: stored.receipt,
            is_conflict: stored.is_conflict,
        });
        let answer = outcome.answer.map(|(device, answer)| Reply::Answer { device, answer });
        for reply in receipt.into_iter().chain(answer) {
            if self.replies.try_send(reply).is_err() {
                warn!("too many replies wait; a box will send its message again");
            }
        }
        for event in outcome.events {
            // Nobody may listen any more.
            let _ = self.events.blocking_send(event);
        }
    }

    /// Logged at each power of two, so that a box gone mad does not fill the log.
    fn note_malformed(&self, message: &Message, what: &'static str) {
        let count = self.malformed.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            warn!(topic = ?message.topic, bytes = message.payload.len(), what, count, "malformed message");
        }
    }
}
