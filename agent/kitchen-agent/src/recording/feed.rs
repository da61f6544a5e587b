//! From the decoders to the recording's thread: a queue that is bounded in units and bytes and never makes a decoder
//! wait. What finds no room is left out up to the next keyframe, and counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kitchen_core::time::Mono;
use kitchen_vision::access_unit::{AccessUnit, StreamInfo};

use super::state::CameraRecording;

/// A minute of a camera; a memory card that is cleaning up answers within it.
const UNITS: usize = 1024;
const BYTES: usize = 8_000_000;

/// What the recording's thread gets of a camera.
#[derive(Debug)]
pub enum Fed {
    Opened(StreamInfo, Mono),
    Unit(AccessUnit),
    /// What follows does not go on where the last unit ended.
    Broken,
}

/// The queue's end at the recording's thread. It outlives the thread: one that is started anew goes on with it.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The stream of each camera as it was last taken: a thread that is started anew goes on with it.
    streams: BTreeMap<usize, (StreamInfo, Mono)>,
    items: VecDeque<(usize, Fed)>,
    bytes: usize,
}

impl Queue {
    /// The next item with its camera's number; `None` when none came for so long.
    pub fn take(&self, wait: Duration) -> Option<(usize, Fed)> {
        let waiting = self.lock();
        let is_empty = |waiting: &mut Waiting| waiting.items.is_empty();
        let mut waiting =
            self.news.wait_timeout_while(waiting, wait, is_empty).unwrap_or_else(PoisonError::into_inner).0;
        let next = waiting.items.pop_front()?;
        match &next {
            (_, Fed::Unit(unit)) => waiting.bytes -= unit.data.len(),
            (camera, Fed::Opened(info, now)) => {
                waiting.streams.insert(*camera, (info.clone(), *now));
            }
            (_, Fed::Broken) => {}
        }
        Some(next)
    }

    /// The streams in the middle of which a thread that is started anew begins.
    pub fn streams(&self) -> BTreeMap<usize, (StreamInfo, Mono)> {
        self.lock().streams.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One camera's end.
#[derive(Debug)]
pub struct Feed {
    queue: Arc<Queue>,
    number: usize,
    counters: Arc<CameraRecording>,
    /// Something was left out: nothing before the next keyframe can be shown.
    is_broken: bool,
}

impl Feed {
    #[must_use]
    pub fn new(queue: Arc<Queue>, number: usize, counters: Arc<CameraRecording>) -> Self {
        Self { queue, number, counters, is_broken: false }
    }

    pub fn handle_opened(&mut self, info: &StreamInfo, now: Mono) {
        self.is_broken = false;
        let mut waiting = self.queue.lock();
        // However often a stream is opened while the disk hangs: only the last time counts.
        if let Some((number, Fed::Opened(..))) = waiting.items.back()
            && *number == self.number
        {
            waiting.items.pop_back();
        }
        waiting.items.push_back((self.number, Fed::Opened(info.clone(), now)));
        self.queue.news.notify_one();
    }

    pub fn handle_unit(&mut self, unit: &AccessUnit) {
        let mut waiting = self.queue.lock();
        let has_room = waiting.items.len() < UNITS && waiting.bytes + unit.data.len() <= BYTES;
        if !has_room || self.is_broken && !unit.keyframe {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut self.is_broken, true) {
                self.counters.gaps.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        if std::mem::take(&mut self.is_broken) {
            waiting.items.push_back((self.number, Fed::Broken));
        }
        waiting.bytes += unit.data.len();
        waiting.items.push_back((self.number, Fed::Unit(unit.clone())));
        self.queue.news.notify_one();
    }

    /// The stream is lost: what is there is written now.
    pub fn handle_lost(&mut self) {
        let mut waiting = self.queue.lock();
        if !matches!(waiting.items.back(), Some((number, Fed::Broken)) if *number == self.number) {
            waiting.items.push_back((self.number, Fed::Broken));
        }
        self.queue.news.notify_one();
    }
}
