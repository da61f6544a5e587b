//! What the broker can do wrong to one packet, and which packet it is done to.

use std::fmt;

use rumqttc::v5::mqttbytes::v5::Packet;

/// Whose link it is, told by the client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Box,
    District,
}

/// From or to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    From,
    To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    Connect,
    ConnAck,
    Publish,
    PubAck,
    Subscribe,
    SubAck,
    PingReq,
    PingResp,
    Disconnect,
}

impl PacketKind {
    /// By the first byte on the wire.
    pub(super) const fn of_first_byte(byte: u8) -> Option<Self> {
        Some(match byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            _ => return None,
        })
    }

    pub(super) const fn of(packet: &Packet) -> Option<Self> {
        Some(match packet {
            Packet::Connect(..) => Self::Connect,
            Packet::Publish(_) => Self::Publish,
            Packet::PubAck(_) => Self::PubAck,
            Packet::Subscribe(_) => Self::Subscribe,
            Packet::PingReq(_) => Self::PingReq,
            Packet::Disconnect(_) => Self::Disconnect,
            _ => return None,
        })
    }
}

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The link is cut, the packet is as good as never sent.
    CutBefore,
    /// The link is cut when half of the packet has passed.
    CutInside,
    /// The packet takes effect, then the link is cut: its answer is not heard.
    CutAfter,
    /// It waits, others overtake it.
    Late { ms: u64 },
    /// It waits and everything behind it, too.
    Stall { ms: u64 },
    /// It passes again after itself.
    Twice,
    /// The next one passes before it.
    AfterNext,
    /// From the client only: answered with this reason code, without effect.
    Refuse { code: u8 },
    /// Confirmed, and without effect.
    ConfirmAndLose,
    /// From the box only: confirmed, without effect, and the box hears the receipt of another message of that id.
    ReceiptOfACopy,
    /// Neither effect nor answer. The link is cut when the broker behaves again.
    Swallow,
    /// From the client: the session is forgotten before. To the client: random bytes in its place.
    Spoil,
}

/// A fault that waits for its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    pub side: Side,
    pub way: Way,
    pub packet: PacketKind,
    pub action: Action,
    /// So many packets of the kind are left alone before.
    pub skip: u8,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Late { .. } => "Late".to_owned(),
            Action::Stall { .. } => "Stall".to_owned(),
            Action::Refuse { code } => format!("Refuse {code:#04x}"),
            other => format!("{other:?}"),
        };
        write!(f, "{:?} {:?} {action}", self.way, self.packet)
    }
}

impl Fault {
    /// Every fault that makes sense, for one side; delays in milliseconds are to be chosen.
    #[must_use]
    pub fn all(side: Side) -> Vec<Self> {
        use PacketKind as Kind;
        let cuts = [Action::CutBefore, Action::CutInside, Action::CutAfter];
        let delays = [Action::Late { ms: 0 }, Action::Stall { ms: 0 }, Action::Twice];
        let mut all = Vec::new();
        let mut add = |way, packet, actions: &[Action]| {
            all.extend(actions.iter().map(|action| Self { side, way, packet, action: *action, skip: 0 }));
        };
        let from = [Kind::Connect, Kind::Publish, Kind::PubAck, Kind::Subscribe, Kind::PingReq, Kind::Disconnect];
        for packet in from {
            add(Way::From, packet, &cuts);
        }
        for packet in [Kind::Publish, Kind::PubAck, Kind::Subscribe] {
            add(Way::From, packet, &delays);
        }
        let refuse = |codes: &[u8]| codes.iter().map(|code| Action::Refuse { code: *code }).collect::<Vec<_>>();
        add(Way::From, Kind::Publish, &refuse(&[0x80, 0x83, 0x87, 0x95, 0x97]));
        add(Way::From, Kind::Publish, &[Action::ConfirmAndLose, Action::Swallow]);
        if side == Side::Box {
            add(Way::From, Kind::Publish, &[Action::ReceiptOfACopy]);
        }
        add(Way::From, Kind::PubAck, &[Action::Swallow]);
        add(Way::From, Kind::Connect, &refuse(&[0x88, 0x89, 0x97]));
        add(Way::From, Kind::Connect, &[Action::Spoil, Action::Stall { ms: 0 }]);
        add(Way::From, Kind::Subscribe, &refuse(&[0x80, 0x87, 0x97]));
        for packet in [Kind::ConnAck, Kind::Publish, Kind::PubAck, Kind::SubAck, Kind::PingResp] {
            add(Way::To, packet, &cuts);
            add(Way::To, packet, &delays);
            add(Way::To, packet, &[Action::Spoil, Action::Swallow]);
        }
        for packet in [Kind::Publish, Kind::PubAck] {
            add(Way::To, packet, &[Action::AfterNext]);
        }
        add(Way::To, Kind::Publish, &[Action::ConfirmAndLose]);
        all
    }
}
