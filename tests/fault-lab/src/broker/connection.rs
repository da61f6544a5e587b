//! One client's link: its packets take effect in the broker's state, and its publications go out.
//! Every packet is asked for a fault first, whichever way it goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectReturnCode, DisconnectReasonCode, LastWill, Packet, PingResp, Publish, SubAck, Subscribe,
    SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::copied_card;
use super::fault::{Action, PacketKind, Side, Way};
use super::session::{Connected, Outgoing, State};
use super::{Shared, side_of, written};

const LARGEST_PACKET: u32 = 4 * 1024 * 1024;
/// The next packet may never come; then the one that was to pass after it goes by itself.
const AFTER_NEXT_LIMIT: Duration = Duration::from_millis(500);
const SLOW_BYTES: usize = 256;
const SLOW_PAUSE: Duration = Duration::from_millis(50);

/// The link ends; the will is published unless the client has said goodbye.
struct Ended {
    in_order: bool,
}

const CUT: Ended = Ended { in_order: false };

pub(super) async fn serve(shared: Arc<Shared>, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (read_half, mut write_half) = stream.split();
    let mut reading = Reading { half: read_half, buffer: BytesMut::new(), side: None };
    let Ok(Some(Packet::Connect(connect, will, _))) = reading.next(&shared).await else { return };
    let side = side_of(&connect.client_id);
    reading.side = Some(side);
    let action = shared.state().take_fault(side, Way::From, PacketKind::Connect);
    match action {
        Some(Action::CutBefore | Action::CutInside) => return,
        Some(Action::Refuse { code }) => {
            let refusal = ConnAck { session_present: false, code: connect_code(code), properties: None };
            let _ = write_half.write_all(&written(|buffer| refusal.write(buffer))).await;
            return;
        }
        Some(Action::Stall { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Action::Spoil) => {
            shared.state().sessions.remove(&connect.client_id);
        }
        _ => {}
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    let cut = Arc::new(Notify::new());
    let client = Client { shared, side, id: connect.client_id.clone(), number: 0, sender, cut };
    let client = client.enter(&connect);
    let ended = if action == Some(Action::CutAfter) {
        CUT
    } else {
        tokio::select! {
            ended = client.read(&mut reading) => ended,
            ended = client.write(&mut write_half, receiver) => ended,
            () = client.cut.notified() => CUT,
        }
    };
    client.leave(will.filter(|_| !ended.in_order));
}

/// Bytes become packets.
struct Reading<'s> {
    half: ReadHalf<'s>,
    buffer: BytesMut,
    side: Option<Side>,
}

impl Reading<'_> {
    /// `None`: the client ended the link, in order. An error: it ended otherwise, or is cut here.
    async fn next(&mut self, shared: &Shared) -> Result<Option<Packet>, Ended> {
        loop {
            match Packet::read(&mut self.buffer, Some(LARGEST_PACKET)) {
                Ok(packet) => return Ok(Some(packet)),
                // The codec takes no DISCONNECT without a reason, which is the usual one.
                Err(Error::PayloadRequired) => return Ok(None),
                Err(Error::InsufficientBytes(_)) => {}
                Err(_) => return Err(CUT),
            }
            let kind = self.buffer.first().and_then(|byte| PacketKind::of_first_byte(*byte));
            if let Some((side, kind)) = self.side.zip(kind)
                && shared.state().take_cut_inside(side, kind)
            {
                return Err(CUT);
            }
            let slow_until = self.side.and_then(|side| shared.state().slow_until.get(&side).copied());
            let read = if slow_until.is_some_and(|until| std::time::Instant::now() < until) {
                tokio::time::sleep(SLOW_PAUSE).await;
                let mut few = [0; SLOW_BYTES];
                let read = self.half.read(&mut few).await;
                read.inspect(|count| self.buffer.extend_from_slice(&few[..*count]))
            } else {
                self.half.read_buf(&mut self.buffer).await
            };
            if !matches!(read, Ok(count) if count > 0) {
                return Err(CUT);
            }
        }
    }
}

/// A client that was let in.
struct Client {
    shared: Arc<Shared>,
    side: Side,
    id: String,
    number: u64,
    sender: mpsc::UnboundedSender<Outgoing>,
    cut: Arc<Notify>,
}

impl Client {
    fn enter(mut self, connect: &Connect) -> Self {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        state.connections += 1;
        self.number = state.connections;
        let expiry_s = connect.properties.as_ref().and_then(|properties| properties.session_expiry_interval);
        let connection = Connected {
            number: self.number,
            sender: self.sender.clone(),
            cut: Arc::clone(&self.cut),
            is_tainted: false,
        };
        let is_lasting = expiry_s.unwrap_or(0) > 0;
        let (session_present, thrown_off) = state.connect(&self.id, connect.clean_start, is_lasting, connection);
        if let Some(other) = thrown_off {
            other.cut.notify_one();
        }
        let answer = ConnAck { session_present, code: ConnectReturnCode::Success, properties: None };
        self.send(PacketKind::ConnAck, written(|buffer| answer.write(buffer)));
        state.deliver_again(&self.id);
        drop(state);
        self
    }

    fn leave(&self, will: Option<LastWill>) {
        let mut state = self.shared.state();
        if !state.disconnect(&self.id, self.number) {
            return;
        }
        let Some(will) = will else { return };
        let (publish, delay) = State::will(&will);
        if !state.sessions.contains_key(&self.id) {
            state.publish(&publish);
            return;
        }
        drop(state);
        let (shared, id) = (Arc::clone(&self.shared), self.id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let mut state = shared.state();
            if state.sessions.get(&id).is_none_or(|session| session.connection.is_none()) {
                state.publish(&publish);
            }
        });
    }

    fn send(&self, kind: PacketKind, bytes: Vec<u8>) {
        let _ = self.sender.send(Outgoing { kind, bytes, packet_id: None });
    }

    async fn read(&self, reading: &mut Reading<'_>) -> Ended {
        loop {
            let packet = match reading.next(&self.shared).await {
                Ok(Some(packet)) => packet,
                Ok(None) => {
                    let action = self.shared.state().take_fault(self.side, Way::From, PacketKind::Disconnect);
                    return Ended { in_order: !matches!(action, Some(Action::CutBefore | Action::CutInside)) };
                }
                Err(ended) => return ended,
            };
            if let Packet::Disconnect(disconnect) = &packet {
                return Ended { in_order: disconnect.reason_code == DisconnectReasonCode::NormalDisconnection };
            }
            let Some(kind) = PacketKind::of(&packet) else { return CUT };
            let action = self.shared.state().take_fault(self.side, Way::From, kind);
            match action {
                None => self.take(&packet, None),
                Some(Action::CutBefore | Action::CutInside) => return CUT,
                Some(Action::CutAfter) => {
                    self.take(&packet, None);
                    return CUT;
                }
                Some(Action::Late { ms }) => self.take_later(packet, Duration::from_millis(ms)),
                Some(Action::Stall { ms }) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    self.take(&packet, None);
                }
                Some(Action::Twice) => {
                    self.take(&packet, None);
                    self.take(&packet, None);
                }
                Some(Action::Swallow) => self.shared.state().taint(&self.id),
                Some(action) => self.take(&packet, Some(action)),
            }
        }
    }

    fn take_later(&self, packet: Packet, delay: Duration) {
        let client = Self {
            shared: Arc::clone(&self.shared),
            side: self.side,
            id: self.id.clone(),
            number: self.number,
            sender: self.sender.clone(),
            cut: Arc::clone(&self.cut),
        };
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            client.take(&packet, None);
        });
    }

    /// The packet's effect and its answer, changed by `action` if there is one.
    fn take(&self, packet: &Packet, action: Option<Action>) {
        match packet {
            Packet::Publish(publish) => self.take_publish(publish, action),
            Packet::PubAck(confirmation) => self.shared.state().confirm(&self.id, confirmation.pkid),
            Packet::Subscribe(subscribe) => self.take_subscribe(subscribe, action),
            Packet::PingReq(_) => self.send(PacketKind::PingResp, written(PingResp::write)),
            _ => {}
        }
    }

    fn take_publish(&self, publish: &Publish, action: Option<Action>) {
        let mut state = self.shared.state();
        let topic = String::from_utf8_lossy(&publish.topic);
        let is_poison = state.poison.as_ref().is_some_and(|end| topic.ends_with(end.as_str()))
            || (state.holds_pictures && topic.contains("/up/snapshot/"));
        let code = match action {
            _ if is_poison => 0x97,
            Some(Action::Refuse { code }) => code,
            Some(Action::ConfirmAndLose) => 0,
            Some(Action::ReceiptOfACopy) => {
                if let Some(receipt) = copied_card::receipt(publish) {
                    state.publish(&receipt);
                }
                0
            }
            _ => {
                state.publish(publish);
                0
            }
        };
        drop(state);
        if publish.qos == QoS::AtLeastOnce {
            // By hand: 0x95, which some brokers answer, is none of the codec's reasons.
            let [high, low] = publish.pkid.to_be_bytes();
            self.send(PacketKind::PubAck, vec![0x40, 4, high, low, code, 0]);
        }
    }

    fn take_subscribe(&self, subscribe: &Subscribe, action: Option<Action>) {
        let reason = match action {
            Some(Action::Refuse { code: 0x87 }) => SubscribeReasonCode::NotAuthorized,
            Some(Action::Refuse { code: 0x97 }) => SubscribeReasonCode::QuotaExceeded,
            Some(Action::Refuse { .. }) => SubscribeReasonCode::Unspecified,
            _ => SubscribeReasonCode::Success(QoS::AtLeastOnce),
        };
        let is_taken = matches!(reason, SubscribeReasonCode::Success(_));
        let return_codes = vec![reason; subscribe.filters.len()];
        let answer = SubAck { pkid: subscribe.pkid, return_codes, properties: None };
        self.send(PacketKind::SubAck, written(|buffer| answer.write(buffer)));
        if is_taken {
            self.shared.state().subscribe(&self.id, &subscribe.filters);
        }
    }

    async fn write(&self, half: &mut WriteHalf<'_>, mut outgoing: mpsc::UnboundedReceiver<Outgoing>) -> Ended {
        let mut held: Vec<Held> = Vec::new();
        loop {
            let due = held.iter().map(|held| held.until).min();
            let next = tokio::select! {
                next = outgoing.recv() => next,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
            };
            let now = Instant::now();
            let is_new = next.is_some();
            if let Some(packet) = next
                && let Err(ended) = self.write_one(half, packet, &mut held).await
            {
                return ended;
            }
            let goes = |held: &mut Held| held.until <= now || (is_new && held.after_next.is_some_and(|at| at < now));
            for ready in held.extract_if(.., goes) {
                if half.write_all(&ready.bytes).await.is_err() {
                    return CUT;
                }
            }
        }
    }

    async fn write_one(&self, half: &mut WriteHalf<'_>, packet: Outgoing, held: &mut Vec<Held>) -> Result<(), Ended> {
        let action = self.shared.state().take_fault(self.side, Way::To, packet.kind);
        let mut bytes = packet.bytes;
        let now = Instant::now();
        match action {
            Some(Action::CutBefore) => return Err(CUT),
            Some(Action::CutInside) => {
                let _ = half.write_all(&bytes[..bytes.len() / 2]).await;
                return Err(CUT);
            }
            Some(Action::Late { ms }) => {
                held.push(Held { bytes, until: now + Duration::from_millis(ms), after_next: None });
                return Ok(());
            }
            Some(Action::AfterNext) => {
                held.push(Held { bytes, until: now + AFTER_NEXT_LIMIT, after_next: Some(now) });
                return Ok(());
            }
            Some(Action::Stall { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Some(Action::Twice) => bytes.extend_from_within(..),
            Some(Action::ConfirmAndLose) => {
                if let Some(packet_id) = packet.packet_id {
                    self.shared.state().confirm(&self.id, packet_id);
                }
                return Ok(());
            }
            Some(Action::Swallow) => {
                self.shared.state().taint(&self.id);
                return Ok(());
            }
            Some(Action::Spoil) => {
                // They may announce a packet that never ends.
                self.shared.state().taint(&self.id);
                bytes.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
            }
            _ => {}
        }
        half.write_all(&bytes).await.map_err(|_| CUT)?;
        if action == Some(Action::CutAfter) { Err(CUT) } else { Ok(()) }
    }
}

/// A packet that waits while others pass.
struct Held {
    bytes: Vec<u8>,
    until: Instant,
    /// Since when the next packet lets it go, too.
    after_next: Option<Instant>,
}

fn connect_code(code: u8) -> ConnectReturnCode {
    match code {
        0x88 => ConnectReturnCode::ServerUnavailable,
        0x89 => ConnectReturnCode::ServerBusy,
        _ => ConnectReturnCode::QuotaExceeded,
    }
}
