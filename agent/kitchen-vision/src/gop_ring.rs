//! The last seconds of a camera as coded pictures, for the time before an alert.
//! Access units go in; runs that begin with a keyframe come out. Bounded in time and in bytes; never decodes.

use std::collections::VecDeque;
use std::time::Duration;

use kitchen_core::time::Mono;

use crate::access_unit::AccessUnit;

/// What a unit costs beside its data, so that many tiny units stay bounded too.
const UNIT_OVERHEAD: usize = 64;

/// Whole groups of pictures, oldest first. The first unit is always a keyframe.
#[derive(Debug)]
pub struct GopRing {
    max_span: Duration,
    max_bytes: usize,
    bytes: usize,
    groups: VecDeque<Group>,
}

#[derive(Debug)]
struct Group {
    units: Vec<AccessUnit>,
    bytes: usize,
}

impl Group {
    fn began(&self) -> Mono {
        self.units.first().map_or(Mono::ZERO, |unit| unit.received)
    }
}

impl GopRing {
    /// Keeps at least `max_span` where `max_bytes` allows it.
    #[must_use]
    pub fn new(max_span: Duration, max_bytes: usize) -> Self {
        Self { max_span, max_bytes, bytes: 0, groups: VecDeque::new() }
    }

    /// Adds the newest unit. A unit that no keyframe precedes is dropped.
    /// A single group beyond the limit of bytes is dropped whole: the ring is empty until the next keyframe.
    pub fn push(&mut self, unit: AccessUnit) {
        let cost = unit.data.len() + UNIT_OVERHEAD;
        if unit.keyframe {
            self.groups.push_back(Group { units: Vec::new(), bytes: 0 });
        }
        let Some(group) = self.groups.back_mut() else { return };
        let newest = unit.received;
        group.units.push(unit);
        group.bytes += cost;
        self.bytes += cost;
        while self.is_over_bytes() || self.front_is_surplus(newest) {
            self.drop_front();
        }
    }

    fn is_over_bytes(&self) -> bool {
        self.bytes > self.max_bytes
    }

    fn front_is_surplus(&self, newest: Mono) -> bool {
        self.groups.get(1).is_some_and(|second| newest.since(second.began()) >= self.max_span)
    }

    fn drop_front(&mut self) {
        if let Some(group) = self.groups.pop_front() {
            self.bytes -= group.bytes;
        }
    }

    /// Everything from the last keyframe that arrived at or before `from`, else from the oldest;
    /// `None` when empty. The data is shared, not copied.
    #[must_use]
    pub fn since(&self, from: Mono) -> Option<Vec<AccessUnit>> {
        if self.groups.is_empty() {
            return None;
        }
        let first = self.groups.iter().rposition(|group| group.began() <= from).unwrap_or(0);
        Some(self.groups.iter().skip(first).flat_map(|group| group.units.iter().cloned()).collect())
    }

    /// Forgets everything: the stream was opened anew, its timestamps and parameters may differ.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.bytes = 0;
    }

    /// Bytes held, with an allowance for each unit.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Time from the oldest to the newest unit.
    #[must_use]
    pub fn span(&self) -> Duration {
        let newest = self.groups.back().and_then(|group| group.units.last());
        newest.zip(self.groups.front()).map_or(Duration::ZERO, |(newest, oldest)| newest.received.since(oldest.began()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn unit(ms: u64, keyframe: bool, bytes: usize) -> AccessUnit {
        let data = Bytes::from(vec![0_u8; bytes]);
        let pts_90k = i64::try_from(ms).expect("small") * 90;
        AccessUnit { data, pts_90k, keyframe, received: Mono::from_millis(ms), lost_packets: 0 }
    }

    /// Ten pictures a second, a keyframe every `gop`.
    fn feed(ring: &mut GopRing, units: u64, gop: u64) {
        for n in 0..units {
            ring.push(unit(n * 100, n % gop == 0, 1000));
            let held = ring.since(Mono::ZERO);
            assert!(held.is_none_or(|units| units[0].keyframe), "begins with a keyframe after unit {n}");
        }
    }

    #[test]
    fn the_span_is_kept_whatever_the_distance_of_keyframes() {
        for gop in [1, 5, 10, 20, 73] {
            let mut ring = GopRing::new(Duration::from_secs(5), 10_000_000);
            feed(&mut ring, 400, gop);
            assert!(ring.span() >= Duration::from_secs(5), "gop {gop}: {:?}", ring.span());
            assert!(ring.span() < Duration::from_millis(5000 + gop * 100), "gop {gop}: {:?}", ring.span());
        }
    }

    #[test]
    fn bytes_are_bounded_even_without_a_second_keyframe() {
        for gop in [7, 20, 1_000_000] {
            let mut ring = GopRing::new(Duration::from_secs(5), 30_000);
            for n in 0..1000 {
                ring.push(unit(n * 100, n % gop == 0, 1000));
                assert!(ring.bytes() <= 30_000, "gop {gop}, unit {n}");
            }
            let held = ring.since(Mono::ZERO).map_or(0, |units| units.len() * (1000 + UNIT_OVERHEAD));
            assert_eq!(held, ring.bytes(), "gop {gop}");
        }
    }

    #[test]
    fn a_run_begins_at_the_keyframe_before_the_wanted_instant() {
        let mut ring = GopRing::new(Duration::from_secs(60), 10_000_000);
        feed(&mut ring, 100, 10);
        let first = |ms| ring.since(Mono::from_millis(ms)).expect("filled")[0].received.as_millis();
        assert_eq!([first(0), first(999), first(1000), first(4550), first(99_999)], [0, 0, 1000, 4000, 9000]);
        assert_eq!(ring.since(Mono::from_millis(9500)).expect("filled").len(), 10);
    }

    #[test]
    fn an_empty_ring_waits_for_a_keyframe() {
        let mut ring = GopRing::new(Duration::from_secs(5), 10_000);
        ring.push(unit(0, false, 10));
        assert_eq!(ring.since(Mono::ZERO), None);
        ring.push(unit(100, true, 10));
        assert_eq!(ring.since(Mono::ZERO).expect("keyframe").len(), 1);
        ring.clear();
        assert_eq!((ring.bytes(), ring.span(), ring.since(Mono::ZERO)), (0, Duration::ZERO, None));
    }
}
