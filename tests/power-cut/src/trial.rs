//! One boot of the box and the power cuts in it: at random writes the disk is copied as a cut would leave it. The box
//! stands still while the copy is judged, since its write does not end before: what it lets others know later it has
//! not known at the cut.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::copied_disk;
use crate::guest::{Console, Guest, Machine, Programs};
use crate::nbd_server;
use crate::volatile_disk::{Honesty, VolatileDisk};

/// A box that writes nothing for so long is broken.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// A box and its disk, ready to be switched on.
#[derive(Debug)]
pub struct Trial {
    kernel: PathBuf,
    archive: PathBuf,
    folder: PathBuf,
    pub machine: Machine,
    pub honesty: Honesty,
    pub seed: u64,
    /// Writes from one cut to the next, on average.
    pub writes_a_cut: u64,
}

/// The box after a cut.
#[derive(Debug)]
pub struct Cut<W> {
    /// As the cut left it; the box can be booted on it.
    pub disk: Vec<u8>,
    /// Sectors that the cut could take.
    pub unflushed: usize,
    /// What the box had let others know.
    pub witnessed: W,
}

/// What came of a number of cuts.
#[derive(Debug, Default)]
pub struct Tally {
    pub cuts: usize,
    pub with_unflushed: usize,
    /// What was wrong after which cut, counted from one.
    pub losses: Vec<(usize, Vec<String>)>,
}

impl Tally {
    pub fn add<W>(&mut self, cut: &Cut<W>, findings: Vec<String>) {
        self.cuts += 1;
        self.with_unflushed += usize::from(cut.unflushed > 0);
        if !findings.is_empty() {
            self.losses.push((self.cuts, findings));
        }
    }
}

impl Trial {
    /// With everything that it needs below `folder`, on a disk that keeps its word.
    pub fn new(programs: &Programs, machine: Machine, folder: &Path, seed: u64) -> Result<Self> {
        let archive = folder.join("memory.cpio");
        programs.pack(&archive)?;
        let (kernel, folder) = (programs.kernel(), folder.to_owned());
        Ok(Self { kernel, archive, folder, machine, honesty: Honesty::Honest, seed, writes_a_cut: 30 })
    }

    /// Boots the box on `disk` and cuts its power until `judge` has enough; the last cut, its disk as the
    /// next start's check of the file system leaves it.
    ///
    /// `witness` is asked at each cut, after the copy, what the box had let others know. What it called durable by
    /// then had reached the disk before the copy, since no flush ends meanwhile.
    /// `judge` gets the folder with the files that the cut left, or why they can't be read.
    pub fn run<W: Send>(
        &self,
        disk: Vec<u8>,
        witness: impl Fn(&Console) -> W + Send,
        judge: impl FnMut(&Cut<W>, Result<&Path>) -> ControlFlow<()>,
    ) -> Result<Cut<W>> {
        let socket = self.folder.join("disk.socket");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).context("a socket for the disk")?;
        let guest = Guest::start(&self.kernel, &self.archive, &socket, &self.machine, &self.folder)?;
        let mut disk = VolatileDisk::new(disk, self.honesty, self.seed);
        let (sender, receiver) = sync_channel(1);
        let (go_on, told_to_go_on) = sync_channel(1);
        thread::scope(|scope| {
            let console = guest.console();
            let served = scope.spawn(move || {
                let (stream, _) = listener.accept()?;
                let mut random = fastrand::Rng::with_seed(self.seed);
                nbd_server::serve(stream, &mut disk, |disk| {
                    if random.u64(..self.writes_a_cut) > 0 {
                        return ControlFlow::Continue(());
                    }
                    cut(disk, &sender, &told_to_go_on, || witness(&console))
                })
            });
            let last = self.judge_all(&guest, &receiver, &go_on, judge);
            drop(guest);
            drop((receiver, go_on));
            match served.join() {
                Ok(served) => served.context("serving the disk")?,
                Err(_) => bail!("the disk's thread panicked"),
            }
            last
        })
    }

    fn judge_all<W>(
        &self,
        guest: &Guest,
        cuts: &Receiver<Cut<W>>,
        go_on: &SyncSender<()>,
        mut judge: impl FnMut(&Cut<W>, Result<&Path>) -> ControlFlow<()>,
    ) -> Result<Cut<W>> {
        let (image, files) = (self.folder.join("copy"), self.folder.join("files"));
        loop {
            let mut cut = match cuts.recv_timeout(LONGEST_SILENCE) {
                Ok(cut) => cut,
                Err(RecvTimeoutError::Timeout) => bail!("the box has stopped writing:\n{}", guest.last_words()),
                Err(RecvTimeoutError::Disconnected) => bail!("the box has ended:\n{}", guest.last_words()),
            };
            let _ = fs::remove_dir_all(&files);
            let taken_out = copied_disk::take_out(&cut.disk, &image, &files);
            if judge(&cut, taken_out.map(|()| files.as_path())).is_break() {
                cut.disk = copied_disk::checked(&image)?;
                return Ok(cut);
            }
            // Without a disk the next wait for a cut ends.
            let _ = go_on.send(());
        }
    }
}

/// Ends the connection once nobody wants a cut any more.
fn cut<W>(
    disk: &mut VolatileDisk,
    cuts: &SyncSender<Cut<W>>,
    told_to_go_on: &Receiver<()>,
    witness: impl Fn() -> W,
) -> ControlFlow<()> {
    let cut = Cut { disk: disk.after_power_cut(), unflushed: disk.unflushed(), witnessed: witness() };
    match cuts.send(cut) {
        Ok(()) if told_to_go_on.recv().is_ok() => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}
