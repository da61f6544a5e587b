//! Between decoding and analysis: one place for the newest frame. A frame that was not taken in time is replaced and
//! counted. What happens to the stream is told in the same place, and is never replaced.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use kitchen_vision::frame::Frame;

/// What the analysis has to know of the stream, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamNews {
    Opened,
    /// Why, without credentials.
    Lost(String),
}

/// News kept while the analysis is busy; beyond it only the newest count.
const NEWS: usize = 16;

#[derive(Default)]
struct Slot {
    frame: Option<Frame>,
    news: VecDeque<StreamNews>,
    dropped: u64,
    closed: bool,
}

#[derive(Default)]
pub struct FrameSlot {
    slot: Mutex<Slot>,
    filled: Condvar,
}

/// What was taken from the slot.
#[derive(Debug)]
pub struct Taken {
    pub news: Vec<StreamNews>,
    pub frame: Option<Frame>,
}

impl FrameSlot {
    pub fn put(&self, frame: Frame) {
        let mut slot = self.lock();
        if slot.frame.replace(frame).is_some() {
            slot.dropped += 1;
        }
        self.filled.notify_one();
    }

    pub fn tell(&self, news: StreamNews) {
        let mut slot = self.lock();
        if slot.news.len() == NEWS {
            slot.news.pop_front();
        }
        slot.news.push_back(news);
        self.filled.notify_one();
    }

    /// Ends the analysis once what is there has been taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Waits for something to take, at most for `limit`; `None` when closed.
    #[must_use]
    pub fn take(&self, limit: Duration) -> Option<Taken> {
        let is_empty = |slot: &mut Slot| slot.frame.is_none() && slot.news.is_empty() && !slot.closed;
        let waited = self.filled.wait_timeout_while(self.lock(), limit, is_empty);
        let (mut slot, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = Taken { news: slot.news.drain(..).collect(), frame: slot.frame.take() };
        let ended = slot.closed && taken.frame.is_none() && taken.news.is_empty();
        (!ended).then_some(taken)
    }

    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kitchen_vision::frame::Plane;

    use super::*;

    fn frame(pts_90k: i64) -> Frame {
        let (luma, chroma) = ([0; 4], [128; 1]);
        let plane = |data, stride| Plane { data, stride };
        let planes = [plane(&luma[..], 2), plane(&chroma[..], 1), plane(&chroma[..], 1)];
        let mut frame = Frame::from_planes(2, 2, planes).expect("sizes fit");
        frame.pts_90k = pts_90k;
        frame
    }

    #[test]
    fn the_newest_frame_wins_and_the_replaced_are_counted() {
        let slot = FrameSlot::default();
        for pts in 1..=3 {
            slot.put(frame(pts));
        }
        slot.tell(StreamNews::Lost("gone".into()));
        let taken = slot.take(Duration::ZERO).expect("open");
        assert_eq!((taken.frame.map(|frame| frame.pts_90k), slot.dropped()), (Some(3), 2));
        assert_eq!(taken.news, [StreamNews::Lost("gone".into())]);
    }

    #[test]
    fn a_closed_slot_is_emptied_first() {
        let slot = FrameSlot::default();
        slot.put(frame(1));
        slot.close();
        assert!(slot.take(Duration::from_secs(60)).is_some_and(|taken| taken.frame.is_some()));
        assert!(slot.take(Duration::from_secs(60)).is_none());
    }
}
