//! MQTT 5 between the box and the district: one client for both ends, and the box's shell around the outbox; and how a
//! box gets its identity from the authority.
//! Never decides what is sent when; `kitchen-core`'s scheduler and transfer do.

pub mod authority;
pub mod clip;
pub mod explain;
pub mod gate;
pub mod identity;
mod meter;
pub mod mqtt;
pub mod outbox;
pub mod probe;
pub mod reconnect;
pub mod tls;
pub mod uplink;

pub use explain::{LinkReason, LinkTrouble};
pub use gate::{Gate, Unlimited};
pub use mqtt::{Link, LinkEvent, LinkOptions, Message, Publication, PublishError, Publisher, Token, Will};
pub use outbox::{Outbox, OutboxError, Presence};
pub use reconnect::Reconnect;
pub use tls::{LinkError, install_crypto};
pub use uplink::{LinkStatus, UplinkOptions, run};
