//! An MQTT 5 broker on loopback that misbehaves on command: faults are armed and wait for their packet.
//! Knows what box and district use: sessions with what waits in them, QoS 0 and 1, filters, retained messages, wills.

mod connection;
mod copied_card;
mod fault;
mod session;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::{Action, Fault, PacketKind, Side, Way};
use session::State;

/// Client id of the district's receiver; every other one is a box.
pub const DISTRICT: &str = "kitchen-district";

/// The broker; dropped, it is gone with all its links.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Listens on a free port; within a tokio runtime.
    ///
    /// # Errors
    /// When loopback has no free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, accepting })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The fault waits for its packet.
    pub fn arm(&self, fault: Fault) {
        self.shared.state().armed.push(fault);
    }

    /// Cuts the links of one side, between packets or within one.
    pub fn cut(&self, side: Side) {
        let mut state = self.shared.state();
        state.count("link cut");
        state.cut_where(|client, _| side_of(client) == side);
    }

    /// A broker that was restarted without its memory, for one side: link and session are gone.
    pub fn forget(&self, side: Side) {
        let mut state = self.shared.state();
        state.count("session forgotten");
        state.cut_where(|client, _| side_of(client) == side);
        for (_, session) in state.sessions.iter_mut().filter(|(client, _)| side_of(client) == side) {
            session.filters.clear();
            session.waiting.clear();
            session.is_lasting = false;
        }
        state.sessions.retain(|client, session| side_of(client) != side || session.connection.is_some());
    }

    /// Closes every new connection for a while.
    pub fn refuse_connections(&self, duration: Duration) {
        let mut state = self.shared.state();
        state.count("connections refused");
        state.refuses_until = Some(Instant::now() + duration);
    }

    /// Reads a few bytes at a time for a while.
    pub fn read_slowly(&self, side: Side, duration: Duration) {
        let mut state = self.shared.state();
        state.count("slow read");
        state.slow_until.insert(side, Instant::now() + duration);
    }

    /// Publications whose topic ends so are refused, also when the broker behaves.
    pub fn poison(&self, topic_end: &str) {
        self.shared.state().poison = Some(topic_end.to_owned());
    }

    /// Every picture is refused while it holds.
    pub fn hold_pictures(&self, holds: bool) {
        self.shared.state().holds_pictures = holds;
    }

    #[must_use]
    pub fn is_connected(&self, side: Side) -> bool {
        let state = self.shared.state();
        state.sessions.iter().any(|(client, session)| side_of(client) == side && session.connection.is_some())
    }

    /// No more faults. Links in which something was swallowed or spoilt are cut: nothing else would soon end the wait.
    pub fn behave(&self) {
        let mut state = self.shared.state();
        state.armed.clear();
        state.refuses_until = None;
        state.slow_until.clear();
        state.cut_where(|_, connection| connection.is_tainted);
    }

    /// How often each fault was done.
    #[must_use]
    pub fn tally(&self) -> BTreeMap<String, u64> {
        self.shared.state().tally.clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.state().cut_where(|_, _| true);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let is_refused = shared.state().refuses_until.is_some_and(|until| Instant::now() < until);
        if !is_refused {
            tokio::spawn(connection::serve(Arc::clone(&shared), stream));
        }
    }
}

fn side_of(client: &str) -> Side {
    if client == DISTRICT { Side::District } else { Side::Box }
}

/// A packet as bytes.
fn written<T, E: std::fmt::Debug>(write: impl FnOnce(&mut BytesMut) -> Result<T, E>) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    write(&mut buffer).expect("the broker's own packets can be written");
    buffer.to_vec()
}
