//! What passes on one link, in bytes of IP packets by the model: rumqttc's events and packets come in, the gate is told.
//! Never touches a packet.

use std::sync::Arc;

use kitchen_core::budget::{HANDSHAKE_BYTES, TRY_BYTES, TrafficClass, accompanied_bytes, handshake_bytes, wire_bytes};
use rumqttc::Outgoing;

use crate::gate::Gate;
use crate::mqtt::{LinkOptions, Will};
use crate::tls::{Broker, shown_bytes};

/// Packets of one size, as MQTT 5 writes them.
const PING_BYTES: u64 = 2;
const PUBACK_BYTES: u64 = 6;
const CONNACK_BYTES: u64 = 24;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Meter {
    gate: Arc<dyn Gate>,
    is_encrypted: bool,
    /// Of the packet CONNECT with its will, and of the subscriptions after it.
    connect_bytes: u64,
    subscribe_bytes: u64,
    /// Of the connection, without MQTT's packets.
    handshake_bytes: u64,
}

impl Meter {
    pub fn new(options: &LinkOptions, broker: &Broker, will: Option<&Will>, gate: Arc<dyn Gate>) -> Self {
        let is_encrypted = broker.is_encrypted;
        let will_bytes = will.map_or(0, |will| will.topic.len() + will.payload.len());
        let filters: usize = options.subscriptions.iter().map(|filter| filter.len() + 3).sum();
        let shown = shown_bytes(options.certificate_file.as_deref());
        let handshake_bytes = match shown.filter(|_| is_encrypted) {
            Some((leaf, chain)) => handshake_bytes(leaf, chain),
            None if is_encrypted => HANDSHAKE_BYTES,
            None => TRY_BYTES,
        };
        Self {
            gate,
            is_encrypted,
            connect_bytes: (60 + 2 * options.client_id.len() + will_bytes) as u64,
            subscribe_bytes: filters as u64 + 8,
            handshake_bytes,
        }
    }

    /// A connection is tried.
    pub fn handle_try(&self) {
        self.count(TRY_BYTES);
    }

    /// It came as far as the broker's answer.
    pub fn handle_connection(&self) {
        let packets = self.accompanied(self.connect_bytes) + self.accompanied(CONNACK_BYTES);
        self.count(self.handshake_bytes.saturating_sub(TRY_BYTES) + packets);
    }

    /// A publication goes out; one that is confirmed has its answer counted along.
    pub fn handle_publication(&self, class: TrafficClass, bytes: u64, is_confirmed: bool) {
        let answer = if is_confirmed { self.alone(PUBACK_BYTES) } else { 0 };
        self.gate.passed(class, self.alone(bytes) + answer);
    }

    /// What else goes out, with what comes back for it.
    pub fn handle_outgoing(&self, outgoing: &Outgoing) {
        match outgoing {
            Outgoing::PingReq => self.count(2 * self.alone(PING_BYTES)),
            Outgoing::PubAck(_) => self.count(self.alone(PUBACK_BYTES)),
            Outgoing::Subscribe(_) => {
                self.count(self.accompanied(self.subscribe_bytes) + self.accompanied(PUBACK_BYTES + 2));
            }
            _ => {}
        }
    }

    /// A message came down. Only commands have a class of their own: all else answers what was sent.
    pub fn handle_message(&self, topic: &[u8], payload_bytes: usize) {
        let is_command = topic.split(|byte| *byte == b'/').nth(4).is_some_and(|leaf| leaf == b"command");
        let class = if is_command { TrafficClass::Command } else { TrafficClass::Protocol };
        self.gate.passed(class, self.alone((topic.len() + payload_bytes + 12) as u64));
    }

    fn count(&self, bytes: u64) {
        self.gate.passed(TrafficClass::Protocol, bytes);
    }

    fn alone(&self, bytes: u64) -> u64 {
        wire_bytes(bytes, self.is_encrypted)
    }

    fn accompanied(&self, bytes: u64) -> u64 {
        accompanied_bytes(bytes, self.is_encrypted)
    }
}
