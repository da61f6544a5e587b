//! What the broker remembers: sessions with what waits in them, retained messages, and the faults that are armed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, Publish};
use rumqttc::v5::mqttbytes::{QoS, matches};
use tokio::sync::{Notify, mpsc};

use super::fault::{Action, Fault, PacketKind, Side, Way};

/// One packet on its way to a client.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub kind: PacketKind,
    pub bytes: Vec<u8>,
    /// Of a publication with QoS 1.
    pub packet_id: Option<u16>,
}

/// A live connection as the rest of the broker sees it.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub number: u64,
    pub sender: mpsc::UnboundedSender<Outgoing>,
    pub cut: Arc<Notify>,
    /// Something was swallowed or spoilt: a broker that behaves would have ended this link.
    pub is_tainted: bool,
}

#[derive(Debug, Default)]
pub(super) struct Session {
    pub filters: Vec<String>,
    /// Not confirmed yet, in the order of delivery; a packet id is kept over connections.
    pub waiting: VecDeque<Publish>,
    pub next_packet_id: u16,
    pub is_lasting: bool,
    pub connection: Option<Connected>,
}

impl Session {
    fn deliver(&mut self, publish: &Publish, retain: bool) {
        let mut copy = publish.clone();
        copy.retain = retain;
        copy.dup = false;
        copy.pkid = 0;
        if copy.qos == QoS::AtMostOnce {
            self.send(&copy);
            return;
        }
        copy.qos = QoS::AtLeastOnce;
        self.next_packet_id = self.next_packet_id.checked_add(1).unwrap_or(1);
        copy.pkid = self.next_packet_id;
        self.send(&copy);
        self.waiting.push_back(copy);
    }

    fn send(&self, publish: &Publish) {
        let Some(connection) = &self.connection else { return };
        let packet_id = (publish.pkid != 0).then_some(publish.pkid);
        let bytes = super::written(|buffer| publish.write(buffer));
        // The connection may just have ended; a later one gets it again.
        let _ = connection.sender.send(Outgoing { kind: PacketKind::Publish, bytes, packet_id });
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub sessions: HashMap<String, Session>,
    retained: BTreeMap<String, Publish>,
    pub armed: Vec<Fault>,
    pub refuses_until: Option<Instant>,
    pub slow_until: HashMap<Side, Instant>,
    /// Publications whose topic ends so are refused for ever.
    pub poison: Option<String>,
    pub holds_pictures: bool,
    pub tally: BTreeMap<String, u64>,
    pub connections: u64,
}

impl State {
    pub fn count(&mut self, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += 1;
    }

    /// The fault for this packet, if one is armed.
    pub fn take_fault(&mut self, side: Side, way: Way, packet: PacketKind) -> Option<Action> {
        let fits = |fault: &Fault| fault.side == side && fault.way == way && fault.packet == packet;
        let mut due = None;
        for (index, fault) in self.armed.iter_mut().enumerate().filter(|(_, fault)| fits(fault)) {
            match fault.skip.checked_sub(1) {
                Some(left) => fault.skip = left,
                None => due = due.or(Some(index)),
            }
        }
        let fault = self.armed.remove(due?);
        self.count(fault.to_string());
        Some(fault.action)
    }

    /// The same for a packet of which only a part has arrived.
    pub fn take_cut_inside(&mut self, side: Side, packet: PacketKind) -> bool {
        let is_due = |fault: &Fault| {
            fault.side == side
                && fault.way == Way::From
                && fault.packet == packet
                && fault.action == Action::CutInside
                && fault.skip == 0
        };
        let Some(index) = self.armed.iter().position(is_due) else { return false };
        let fault = self.armed.remove(index);
        self.count(format!("{fault} (in parts)"));
        true
    }

    /// A client has connected. Whether its session was there, and who was thrown off.
    pub fn connect(
        &mut self,
        client: &str,
        clean_start: bool,
        is_lasting: bool,
        connection: Connected,
    ) -> (bool, Option<Connected>) {
        let before = self.sessions.remove(client);
        let thrown_off = before.as_ref().and_then(|session| session.connection.clone());
        let kept = before.filter(|session| !clean_start && session.is_lasting);
        let session_present = kept.is_some();
        let session = Session { connection: Some(connection), is_lasting, ..kept.unwrap_or_default() };
        self.sessions.insert(client.to_owned(), session);
        (session_present, thrown_off)
    }

    /// After the CONNACK: what an earlier connection has not confirmed.
    pub fn deliver_again(&self, client: &str) {
        let Some(session) = self.sessions.get(client) else { return };
        for publish in &session.waiting {
            let mut again = publish.clone();
            again.dup = true;
            session.send(&again);
        }
    }

    /// Whether it was this connection's session, and not taken over by a later one.
    pub fn disconnect(&mut self, client: &str, number: u64) -> bool {
        let Some(session) = self.sessions.get_mut(client) else { return false };
        if session.connection.as_ref().is_none_or(|connection| connection.number != number) {
            return false;
        }
        session.connection = None;
        if !session.is_lasting {
            self.sessions.remove(client);
        }
        true
    }

    pub fn subscribe(&mut self, client: &str, filters: &[Filter]) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        for filter in filters {
            if !session.filters.contains(&filter.path) {
                session.filters.push(filter.path.clone());
            }
            for (_, publish) in self.retained.iter().filter(|(topic, _)| matches(topic, &filter.path)) {
                session.deliver(publish, true);
            }
        }
    }

    pub fn publish(&mut self, publish: &Publish) {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        if publish.retain {
            if publish.payload.is_empty() {
                self.retained.remove(&topic);
            } else {
                self.retained.insert(topic.clone(), publish.clone());
            }
        }
        for session in self.sessions.values_mut() {
            if session.filters.iter().any(|filter| matches(&topic, filter)) {
                session.deliver(publish, false);
            }
        }
    }

    pub fn confirm(&mut self, client: &str, packet_id: u16) {
        if let Some(session) = self.sessions.get_mut(client) {
            session.waiting.retain(|publish| publish.pkid != packet_id);
        }
    }

    pub fn taint(&mut self, client: &str) {
        if let Some(connection) = self.sessions.get_mut(client).and_then(|session| session.connection.as_mut()) {
            connection.is_tainted = true;
        }
    }

    pub fn cut_where(&mut self, is_meant: impl Fn(&str, &Connected) -> bool) {
        for (client, session) in &self.sessions {
            if let Some(connection) = session.connection.as_ref().filter(|connection| is_meant(client, connection)) {
                connection.cut.notify_one();
            }
        }
    }

    /// Its publication, when nobody has come back for `delay`; at once when the session is gone.
    pub fn will(will: &LastWill) -> (Publish, Duration) {
        let delay = will.properties.as_ref().and_then(|properties| properties.delay_interval).unwrap_or(0);
        let topic = String::from_utf8_lossy(&will.topic).into_owned();
        let mut publish = Publish::new(topic, will.qos, will.message.clone(), None);
        publish.retain = will.retain;
        (publish, Duration::from_secs(u64::from(delay)))
    }
}
