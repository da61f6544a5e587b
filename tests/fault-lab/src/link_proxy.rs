//! A bad line between a box and a broker: bytes go through late, in trickles, with stalls, cuts and outages.
//! Never alters a byte that it passes on; the same seed makes the same stalls and cuts for the same bytes.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const PIECE_BYTES: usize = 1024;
/// Pieces on their way at once, each way: what a modem keeps in its buffers.
const PIECES: usize = 64;

/// What the line is like, each way alike.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub delay: Duration,
    /// Of a hundred pieces, how many stand still, and for how long.
    pub stalls_percent: u8,
    pub stall_ms: Range<u64>,
    pub bits_per_second: Option<u64>,
    /// A connection is cut when so many bytes have passed, both ways together.
    pub cut_after_bytes: Option<Range<u64>>,
}

/// The line; dropped, it is cut.
#[derive(Debug)]
pub struct LinkProxy {
    port: u16,
    /// Nothing passes before.
    dark_until: watch::Sender<Option<Instant>>,
    cut: watch::Sender<u64>,
    cuts: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl LinkProxy {
    /// A line to the broker on `broker_port` of loopback; within a tokio runtime.
    ///
    /// # Errors
    /// When loopback has no free port.
    pub async fn start(broker_port: u16, line: Line, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (dark_until, dark) = watch::channel(None);
        let (cut, cut_signal) = watch::channel(0);
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cuts);
        let accepting = tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            while let Ok((stream, _)) = listener.accept().await {
                let mut passage = Passage {
                    line: line.clone(),
                    random: random.fork(),
                    dark: dark.clone(),
                    bytes_left: Arc::new(AtomicU64::new(u64::MAX)),
                };
                if let Some(range) = line.cut_after_bytes.clone() {
                    passage.bytes_left = Arc::new(AtomicU64::new(random.u64(range)));
                }
                tokio::spawn(carry(stream, broker_port, passage, cut_signal.clone(), Arc::clone(&counted)));
            }
        });
        Ok(Self { port, dark_until, cut, cuts, accepting })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Nothing passes for a while; connections stay, as in a dead spot.
    pub fn go_dark(&self, duration: Duration) {
        self.dark_until.send_replace(Some(Instant::now() + duration));
    }

    /// All connections end.
    pub fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Connections that the line has cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for LinkProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// One way of one connection.
#[derive(Clone)]
struct Passage {
    line: Line,
    random: fastrand::Rng,
    dark: watch::Receiver<Option<Instant>>,
    bytes_left: Arc<AtomicU64>,
}

async fn carry(
    mut near: TcpStream,
    broker_port: u16,
    passage: Passage,
    mut cut: watch::Receiver<u64>,
    cuts: Arc<AtomicU64>,
) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", broker_port)).await else { return };
    cut.mark_unchanged();
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let mut back = passage.clone();
    back.random = fastrand::Rng::with_seed(passage.random.clone().u64(..));
    let is_cut = tokio::select! {
        is_cut = passage.pass(near_read, far_write) => is_cut,
        is_cut = back.pass(far_read, near_write) => is_cut,
        _ = cut.changed() => true,
    };
    if is_cut {
        cuts.fetch_add(1, Ordering::Relaxed);
    }
}

impl Passage {
    /// Whether the line ended it, not one of the ends.
    async fn pass(self, source: impl AsyncRead + Unpin, sink: impl AsyncWrite + Unpin) -> bool {
        let (sender, receiver) = mpsc::channel(PIECES);
        let delay = self.line.delay;
        tokio::select! {
            () = take_in(source, sender, delay) => std::future::pending().await,
            is_cut = self.give_out(receiver, sink) => is_cut,
        }
    }

    async fn give_out(
        mut self,
        mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut sink: impl AsyncWrite + Unpin,
    ) -> bool {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if self.random.u8(..100) < self.line.stalls_percent {
                tokio::time::sleep(Duration::from_millis(self.random.u64(self.line.stall_ms.clone()))).await;
            }
            self.wait_for_light().await;
            let length = piece.len() as u64;
            let left = self.bytes_left.load(Ordering::Relaxed);
            let passed = usize::try_from(left.min(length)).unwrap_or(piece.len());
            if sink.write_all(&piece[..passed]).await.is_err() {
                return false;
            }
            if left <= length {
                return true;
            }
            self.bytes_left.fetch_sub(length, Ordering::Relaxed);
            if let Some(rate) = self.line.bits_per_second {
                tokio::time::sleep(Duration::from_millis(length * 8 * 1000 / rate)).await;
            }
        }
        false
    }

    async fn wait_for_light(&self) {
        loop {
            let until = *self.dark.borrow();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }
}

/// Ends with its source; the channel then closes after its last piece.
async fn take_in(mut source: impl AsyncRead + Unpin, pieces: mpsc::Sender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = [0; PIECE_BYTES];
    while let Ok(count) = source.read(&mut buffer).await
        && count > 0
        && pieces.send((Instant::now() + delay, buffer[..count].to_vec())).await.is_ok()
    {}
}
