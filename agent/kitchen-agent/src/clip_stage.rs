//! Makes clips beside everything else: material comes from the alert desk, the finished clip goes back to it as a job.
//! Encoding anew takes seconds; neither alerts nor detection wait for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use anyhow::Result;
use kitchen_core::alert::AlertBody;
use kitchen_core::time::Clock;
use kitchen_core::watch::ViolationKey;
use kitchen_core::wire::MessageId;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tracing::{debug, error, info};

use crate::desk_job::DeskJob;
use crate::evidence::{ClipMaterial, CutClip};
use crate::pipeline;

/// Clips between the desk and this stage; beyond it the desk keeps them.
const JOBS: usize = 4;
/// Below the other parts of the agent, but not so far that a busy box never gets to it.
const NICENESS: i32 = 5;

/// Whose clip it is.
#[derive(Clone)]
pub struct ClipOwner {
    pub key: (String, ViolationKey),
    pub alert_id: MessageId,
    /// The alert as it was when its clip was begun.
    pub body: AlertBody,
}

/// A clip to be made.
pub struct ClipJob {
    pub owner: ClipOwner,
    pub material: ClipMaterial,
    pub max_bytes: u64,
}

/// The desk's end of the stage. The stage ends when it is dropped.
pub struct ClipQueue(SyncSender<ClipJob>);

impl ClipQueue {
    /// # Errors
    /// The job: there is no room now, or (`false`) nobody who does it any more.
    pub fn offer(&self, job: ClipJob) -> Result<(), (Box<ClipJob>, bool)> {
        self.0.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) => (Box::new(job), true),
            TrySendError::Disconnected(job) => (Box::new(job), false),
        })
    }
}

/// Starts the thread.
///
/// # Errors
/// When there can be no more threads.
pub fn start(clock: Arc<dyn Clock>, desk: SyncSender<DeskJob>) -> Result<ClipQueue> {
    let (sender, jobs) = sync_channel(JOBS);
    let work = move || run(&jobs, clock.as_ref(), &desk);
    pipeline::thread("clips", work)?;
    Ok(ClipQueue(sender))
}

fn run(jobs: &Receiver<ClipJob>, clock: &dyn Clock, desk: &SyncSender<DeskJob>) {
    if let Err(error) = setpriority_process(Some(gettid()), NICENESS) {
        debug!(%error, "clips are made with the priority of everything else");
    }
    for ClipJob { owner, material, max_bytes } in jobs {
        let began = clock.mono();
        // A clip on which it panics must not take the later ones along.
        let made = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!("clips");
            material.into_clip(max_bytes)
        }));
        let clip = made.unwrap_or_else(|_| Err("the agent failed at it; its log says where".to_owned()));
        if let Ok(CutClip { clip, reencoded: Some(report), .. }) = &clip {
            let seconds = clock.mono().since(began).as_secs_f32();
            let (alert, bytes, size) = (&owner.alert_id, clip.bytes.len(), format!("{}×{}", clip.width, clip.height));
            info!(%alert, bytes, size, seconds, ?report, "clip encoded anew");
        }
        let stamp = clock.stamp();
        if desk.send(DeskJob::Clip { owner: Box::new(owner), clip, stamp }).is_err() {
            error!("a clip came after the alert desk had ended");
            return;
        }
    }
}
