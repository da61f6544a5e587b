//! One connection to the broker, for the box and for the district: publications go in, [`LinkEvent`]s come out.
//! Never reconnects and never resends: rumqttc loses what it accepted when a session is lost, so a broken client is
//! thrown away whole, and its owner opens a new one and begins again from what has no receipt.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kitchen_core::budget::TrafficClass;
use kitchen_core::time::Wall;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, LastWill, LastWillProperties, Packet, PubAckReason, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, TlsError};
use rumqttc::{TlsConfiguration, Transport};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::explain::{LinkReason, LinkTrouble, explain};
use crate::gate::{Gate, Unlimited};
use crate::meter::Meter;
use crate::tls::{Broker, LinkError, client_config};

/// Publications that the link takes before the broker has confirmed one.
pub const MAX_UNCONFIRMED: usize = 64;
/// The largest packet taken from the broker; rumqttc's own default of 10 KiB is smaller than a snapshot.
pub const MAX_INCOMING_BYTES: u32 = 4 * 1024 * 1024;

const EVENTS: usize = 256;
const CONNECT_LIMIT_S: u64 = 30;
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// No message waits longer for its confirmation, though the broker talks: all that may be under way needs less at 8 kbps.
const CONFIRM_LIMIT: Duration = Duration::from_secs(600);
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// The wait before a refused subscription is asked for again; it doubles up to the longest.
const FIRST_RESUBSCRIBE: Duration = Duration::from_secs(5);
const LONGEST_RESUBSCRIBE: Duration = Duration::from_secs(300);

/// How to connect.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// `mqtts://host:port`; `mqtt://` on loopback only.
    pub broker: String,
    pub client_id: String,
    /// The device id on a box.
    pub username: String,
    pub ca_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// It is not earlier, whatever the system's clock shows: for judging certificates.
    pub not_before: Option<Wall>,
    pub keepalive_s: u32,
    pub session_expiry_s: u32,
    pub clean_start: bool,
    /// Larger packets are not tried, whatever the broker announces.
    pub largest_packet: Option<u32>,
    /// Subscribed with QoS 1 on each connection, before [`LinkEvent::Connected`] is told; again when refused.
    pub subscriptions: Vec<String>,
}

impl LinkOptions {
    /// A persistent session as the contract wants it: expiry 7 days, keepalive 300 s.
    #[must_use]
    pub fn new(broker: &str, client_id: &str) -> Self {
        Self {
            broker: broker.to_owned(),
            client_id: client_id.to_owned(),
            username: client_id.to_owned(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            not_before: None,
            keepalive_s: 300,
            session_expiry_s: 7 * 86_400,
            clean_start: false,
            largest_packet: None,
            subscriptions: Vec::new(),
        }
    }

    /// # Errors
    /// When the address or the id can't be right, whatever the network does.
    pub fn validate(&self) -> Result<Broker, LinkError> {
        if !kitchen_core::wire::is_device_id(&self.client_id) {
            return Err(LinkError::ClientId(self.client_id.clone()));
        }
        Broker::parse(&self.broker)
    }

    fn client_options(&self, broker: &Broker, will: Option<Will>) -> Result<MqttOptions, LinkError> {
        let mut options = MqttOptions::new(self.client_id.clone(), broker.host.clone(), broker.port);
        if broker.is_encrypted {
            let config = client_config(
                self.ca_file.as_deref(),
                self.certificate_file.as_deref(),
                self.key_file.as_deref(),
                self.not_before,
            )?;
            options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
        }
        let mut properties = ConnectProperties::new();
        properties.session_expiry_interval = Some(self.session_expiry_s);
        properties.max_packet_size = Some(MAX_INCOMING_BYTES);
        options
            .set_keep_alive(Duration::from_secs(u64::from(self.keepalive_s.clamp(5, 3_600))))
            .set_clean_start(self.clean_start)
            .set_credentials(self.username.clone(), "")
            .set_connection_timeout(CONNECT_LIMIT_S)
            .set_connect_properties(properties)
            .set_outgoing_inflight_upper_limit(u16::try_from(MAX_UNCONFIRMED).unwrap_or(u16::MAX));
        if let Some(will) = will {
            let properties = LastWillProperties {
                delay_interval: Some(will.delay_s),
                payload_format_indicator: None,
                message_expiry_interval: None,
                content_type: None,
                response_topic: None,
                correlation_data: None,
                user_properties: Vec::new(),
            };
            let will = LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain, Some(properties));
            options.set_last_will(will);
        }
        Ok(options)
    }
}

/// What the broker publishes, QoS 1, when the connection is lost.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
    pub delay_s: u32,
    pub retain: bool,
}

/// Names one publication on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Publication {
    pub topic: String,
    pub payload: Bytes,
    /// QoS 1, else QoS 0.
    pub is_confirmed: bool,
    pub retain: bool,
    pub properties: Vec<(String, String)>,
    /// For what its bytes are counted.
    pub class: TrafficClass,
}

impl Publication {
    /// QoS 1, not retained, without properties; counted as protocol.
    #[must_use]
    pub fn new(topic: String, payload: impl Into<Bytes>) -> Self {
        let (payload, class) = (payload.into(), TrafficClass::Protocol);
        Self { topic, payload, is_confirmed: true, retain: false, properties: Vec::new(), class }
    }

    #[must_use]
    pub fn of_class(self, class: TrafficClass) -> Self {
        Self { class, ..self }
    }

    /// At most this many bytes as a packet.
    pub(crate) fn packet_bytes(&self) -> u64 {
        let properties: usize = self.properties.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
        (16 + self.topic.len() + properties + self.payload.len()) as u64
    }
}

/// A message from the broker.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub retain: bool,
    pub properties: Vec<(String, String)>,
}

impl Message {
    /// The first user property of that name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
pub enum LinkEvent {
    Connected {
        session_present: bool,
    },
    SubscriptionRefused {
        filter: String,
        reason: String,
    },
    Message(Message),
    /// The broker has answered a publication; `refused` holds its reason when it did not take it.
    Confirmed {
        token: Token,
        refused: Option<String>,
    },
    /// The end of this link. The text tells what to check.
    Disconnected {
        error: LinkTrouble,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("too many publications await the broker's confirmation")]
    Busy,
    #[error("the link is down")]
    Closed,
    #[error("the topic holds a wildcard or is too long")]
    Topic,
    #[error("{bytes} bytes are more than the {limit} that the broker takes in one packet: raise its limit")]
    TooLarge { bytes: u64, limit: u32 },
}

/// A publication that rumqttc has, and what it will count as.
#[derive(Clone, Copy, Debug)]
struct Queued {
    token: Token,
    class: TrafficClass,
    bytes: u64,
}

/// What is between us and the broker.
#[derive(Debug)]
struct Flight {
    next: u64,
    /// Given to rumqttc, in its order.
    queued: VecDeque<Queued>,
    /// Written, by packet id, and when.
    unconfirmed: HashMap<u16, (Token, Instant)>,
    max_packet_bytes: Option<u32>,
    /// The last packet from the broker, or the first publication after a pause.
    heard: Instant,
    is_closed: bool,
}

impl Flight {
    fn count(&self) -> usize {
        self.queued.len() + self.unconfirmed.len()
    }

    /// Why the link is to be given up, if it is.
    fn given_up(&self, now: Instant) -> Option<String> {
        if self.count() > 0 && now.duration_since(self.heard) > SILENCE_LIMIT {
            return Some(format!("the broker confirmed nothing for {} s", SILENCE_LIMIT.as_secs()));
        }
        let is_late = |written: &Instant| now.duration_since(*written) > CONFIRM_LIMIT;
        let any_is_late = self.unconfirmed.values().any(|(_, written)| is_late(written));
        any_is_late.then(|| format!("the broker left a message unconfirmed for {} s", CONFIRM_LIMIT.as_secs()))
    }
}

/// Publishes on a link; clones share it.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: AsyncClient,
    flight: Arc<Mutex<Flight>>,
    freed: Arc<Notify>,
}

impl Publisher {
    /// Hands a message over without waiting. QoS 1 is answered by [`LinkEvent::Confirmed`].
    ///
    /// # Errors
    /// When it was not taken; nothing of it is sent then.
    pub fn publish(&self, publication: Publication) -> Result<Token, PublishError> {
        let mut flight = lock(&self.flight);
        if flight.is_closed {
            return Err(PublishError::Closed);
        }
        if publication.topic.len() > usize::from(u16::MAX) || publication.topic.contains(['+', '#', '\0']) {
            return Err(PublishError::Topic);
        }
        let bytes = publication.packet_bytes();
        if let Some(limit) = flight.max_packet_bytes.filter(|limit| bytes > u64::from(*limit)) {
            return Err(PublishError::TooLarge { bytes, limit });
        }
        if flight.count() >= MAX_UNCONFIRMED {
            return Err(PublishError::Busy);
        }
        let qos = if publication.is_confirmed { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let properties = PublishProperties { user_properties: publication.properties, ..PublishProperties::default() };
        let class = publication.class;
        // Under the lock, so that the queue here has rumqttc's order.
        self.client
            .try_publish_with_properties(publication.topic, qos, publication.retain, publication.payload, properties)
            .map_err(|_| PublishError::Busy)?;
        if flight.count() == 0 {
            flight.heard = Instant::now();
        }
        let token = Token(flight.next);
        flight.next += 1;
        flight.queued.push_back(Queued { token, class, bytes });
        Ok(token)
    }

    /// Like [`Self::publish`], but waits for room. Not from the loop that takes the link's events.
    ///
    /// # Errors
    /// When the link went down or the message is too large.
    pub async fn publish_when_free(&self, publication: Publication) -> Result<Token, PublishError> {
        loop {
            let freed = self.freed.notified();
            match self.publish(publication.clone()) {
                Err(PublishError::Busy) => {
                    // Bounded, should rumqttc be full without a publication under way.
                    let _ = tokio::time::timeout(Duration::from_secs(1), freed).await;
                }
                result => return result,
            }
        }
    }
}

/// One connection. Dropping it cuts the connection, which lets the broker publish the will.
#[derive(Debug)]
pub struct Link {
    publisher: Publisher,
    events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to connect; the outcome is the first event.
    ///
    /// # Errors
    /// When the options can't lead to a connection.
    pub fn open(options: &LinkOptions, will: Option<Will>) -> Result<Self, LinkError> {
        Self::open_counted(options, will, Arc::new(Unlimited))
    }

    /// As [`Self::open`]; `gate` is told of every byte.
    ///
    /// # Errors
    /// When the options can't lead to a connection.
    pub fn open_counted(options: &LinkOptions, will: Option<Will>, gate: Arc<dyn Gate>) -> Result<Self, LinkError> {
        let broker = options.validate()?;
        let meter = Meter::new(options, &broker, will.as_ref(), gate);
        let client_options = options.client_options(&broker, will)?;
        let (client, event_loop) = AsyncClient::new(client_options, MAX_UNCONFIRMED + 8);
        let flight = Arc::new(Mutex::new(Flight {
            next: 0,
            queued: VecDeque::new(),
            unconfirmed: HashMap::new(),
            max_packet_bytes: None,
            heard: Instant::now(),
            is_closed: false,
        }));
        let publisher = Publisher { client, flight, freed: Arc::new(Notify::new()) };
        let (sender, events) = mpsc::channel(EVENTS);
        let pump = Pump {
            event_loop,
            publisher: publisher.clone(),
            events: sender,
            subscriptions: options.subscriptions.clone(),
            largest_packet: options.largest_packet,
            broker,
            client_id: options.client_id.clone(),
            meter,
        };
        Ok(Self { publisher, events, task: tokio::spawn(pump.run()) })
    }

    /// The next event. After `Disconnected` there is no other.
    pub async fn next(&mut self) -> LinkEvent {
        self.events.recv().await.unwrap_or_else(closed)
    }

    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Says goodbye, so that the broker drops the will. Events still to come are lost.
    pub async fn close(mut self, limit: Duration) {
        if self.publisher.client.try_disconnect().is_ok() {
            let drained = async { while self.events.recv().await.is_some() {} };
            let _ = tokio::time::timeout(limit, drained).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.publisher.flight).is_closed = true;
        self.publisher.freed.notify_waiters();
        self.task.abort();
    }
}

/// The task that owns rumqttc's event loop and does nothing but poll it and pass events on.
struct Pump {
    event_loop: EventLoop,
    publisher: Publisher,
    events: mpsc::Sender<LinkEvent>,
    subscriptions: Vec<String>,
    largest_packet: Option<u32>,
    broker: Broker,
    client_id: String,
    meter: Meter,
}

impl Pump {
    async fn run(mut self) {
        self.meter.handle_try();
        let error = self.pump().await;
        lock(&self.publisher.flight).is_closed = true;
        self.publisher.freed.notify_waiters();
        let _ = self.events.send(LinkEvent::Disconnected { error }).await;
    }

    async fn pump(&mut self) -> LinkTrouble {
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        let mut resubscribe_wait = FIRST_RESUBSCRIBE;
        let mut resubscribe_at = None;
        loop {
            // `poll` is not cancel-safe: only a link that is given up leaves it early.
            let polled = {
                let mut poll = pin!(self.event_loop.poll());
                loop {
                    tokio::select! {
                        polled = &mut poll => break polled,
                        _ = watch.tick() => {
                            if let Some(text) = lock(&self.publisher.flight).given_up(Instant::now()) {
                                return LinkReason::NoAnswer.because(text);
                            }
                            // A link that hears nothing would stay deaf as long as it lives.
                            if resubscribe_at.is_some_and(|at| at <= Instant::now()) {
                                resubscribe_at = None;
                                if let Err(end) = subscribe(&self.publisher, &self.subscriptions) {
                                    return end;
                                }
                            }
                        }
                    }
                }
            };
            let event = match polled {
                Ok(event) => event,
                Err(error) => {
                    if matches!(error, ConnectionError::Tls(TlsError::TLS(_)) | ConnectionError::ConnectionRefused(_)) {
                        self.meter.handle_connection();
                    }
                    return explain(&error, &self.broker, &self.client_id);
                }
            };
            match self.look_at(event) {
                Ok(Some(event)) => {
                    if matches!(event, LinkEvent::SubscriptionRefused { .. }) {
                        resubscribe_at = Some(Instant::now() + resubscribe_wait);
                        resubscribe_wait = (resubscribe_wait * 2).min(LONGEST_RESUBSCRIBE);
                    }
                    if self.events.send(event).await.is_err() {
                        return LinkReason::Closed.because("the link is closed");
                    }
                }
                Ok(None) => {}
                Err(end) => return end,
            }
        }
    }

    fn look_at(&self, event: Event) -> Result<Option<LinkEvent>, LinkTrouble> {
        let mut flight = lock(&self.publisher.flight);
        let packet = match event {
            Event::Incoming(packet) => packet,
            Event::Outgoing(Outgoing::Publish(packet_id)) => {
                let queued = flight.queued.pop_front();
                let is_confirmed = packet_id != 0;
                if let Some(queued) = queued.filter(|_| is_confirmed) {
                    flight.unconfirmed.insert(packet_id, (queued.token, Instant::now()));
                }
                drop(flight);
                if let Some(queued) = queued {
                    self.meter.handle_publication(queued.class, queued.bytes, is_confirmed);
                }
                self.publisher.freed.notify_waiters();
                return Ok(None);
            }
            // Its way out of a collision may never come (rumqtt #1014, #1056).
            Event::Outgoing(Outgoing::AwaitAck(_)) => {
                return Err(LinkReason::Other.because("the broker confirms out of order"));
            }
            Event::Outgoing(Outgoing::Disconnect) => {
                return Err(LinkReason::Closed.because("closed on purpose"));
            }
            Event::Outgoing(outgoing) => {
                drop(flight);
                self.meter.handle_outgoing(&outgoing);
                return Ok(None);
            }
        };
        flight.heard = Instant::now();
        match packet {
            Packet::ConnAck(connack) => {
                let announced = connack.properties.and_then(|properties| properties.max_packet_size);
                flight.max_packet_bytes = announced.into_iter().chain(self.largest_packet).min();
                drop(flight);
                self.meter.handle_connection();
                subscribe(&self.publisher, &self.subscriptions)?;
                Ok(Some(LinkEvent::Connected { session_present: connack.session_present }))
            }
            Packet::PubAck(puback) => {
                let token = flight.unconfirmed.remove(&puback.pkid).map(|(token, _)| token);
                self.publisher.freed.notify_waiters();
                let is_taken = matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                let refused = (!is_taken).then(|| format!("{:?}", puback.reason));
                Ok(token.map(|token| LinkEvent::Confirmed { token, refused }))
            }
            Packet::SubAck(suback) => Ok(self.look_at_subscriptions(&suback.return_codes)),
            Packet::Publish(publish) => {
                drop(flight);
                self.meter.handle_message(&publish.topic, publish.payload.len());
                let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else {
                    warn!("a topic that is not UTF-8 was dropped");
                    return Ok(None);
                };
                let properties = publish.properties.map(|properties| properties.user_properties).unwrap_or_default();
                let (payload, retain) = (publish.payload, publish.retain);
                Ok(Some(LinkEvent::Message(Message { topic, payload, retain, properties })))
            }
            _ => Ok(None),
        }
    }

    fn look_at_subscriptions(&self, codes: &[SubscribeReasonCode]) -> Option<LinkEvent> {
        let refused = codes.iter().position(|code| !matches!(code, SubscribeReasonCode::Success(_)))?;
        let filter = self.subscriptions.get(refused).cloned().unwrap_or_default();
        Some(LinkEvent::SubscriptionRefused { filter, reason: format!("{:?}", codes[refused]) })
    }
}

fn subscribe(publisher: &Publisher, subscriptions: &[String]) -> Result<(), LinkTrouble> {
    if subscriptions.is_empty() {
        return Ok(());
    }
    let filters = subscriptions.iter().map(|filter| Filter::new(filter.clone(), QoS::AtLeastOnce));
    debug!(filters = ?subscriptions, "subscribing");
    let failed = |error| LinkReason::Other.because(format!("subscribing failed: {error}"));
    publisher.client.try_subscribe_many(filters).map_err(failed)
}

fn closed() -> LinkEvent {
    LinkEvent::Disconnected { error: LinkReason::Closed.because("the link is closed") }
}

fn lock(flight: &Mutex<Flight>) -> MutexGuard<'_, Flight> {
    flight.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_left_unconfirmed_ends_a_link_on_which_the_broker_talks() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut flight = Flight {
            next: 1,
            queued: VecDeque::new(),
            unconfirmed: HashMap::from([(1, (Token(0), start))]),
            max_packet_bytes: None,
            heard: after(590),
            is_closed: false,
        };
        assert_eq!(flight.given_up(after(599)), None);
        assert!(flight.given_up(after(601)).is_some_and(|text| text.contains("a message")));
        flight.unconfirmed.clear();
        assert_eq!(flight.given_up(after(2_000)), None);
    }

    #[test]
    fn a_silent_broker_ends_the_link_only_while_something_is_to_be_confirmed() {
        let start = Instant::now();
        let mut flight = Flight {
            next: 1,
            queued: VecDeque::from([Queued { token: Token(0), class: TrafficClass::Text, bytes: 1 }]),
            unconfirmed: HashMap::new(),
            max_packet_bytes: None,
            heard: start,
            is_closed: false,
        };
        assert_eq!(flight.given_up(start + Duration::from_secs(90)), None);
        assert!(flight.given_up(start + Duration::from_secs(91)).is_some_and(|text| text.contains("nothing")));
        flight.queued.clear();
        assert_eq!(flight.given_up(start + Duration::from_secs(91)), None);
    }
}
