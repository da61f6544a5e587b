//! What the uplink asks before it sends, and tells of what passed: the agent implements it over its governor.
//! Calls are made on the runtime and answer at once.

use std::fmt;

use kitchen_core::budget::{Admission, Hold, LinkMode, TrafficClass, Wanted};

/// Counts the link's traffic and says what may be sent.
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// So many bytes pass the link for a class, in both directions.
    fn passed(&self, class: TrafficClass, bytes: u64);
    fn admit(&self, wanted: Wanted) -> Admission;
    /// Whether a clip under way may go on by so many bytes on the link.
    fn may_go_on(&self, bytes: u64) -> bool;
    fn link_mode(&self) -> LinkMode;
    /// Whether the counts must reach the disk before more is sent; then [`Self::save`] is called off the runtime.
    fn wants_saving(&self) -> bool;
    fn save(&self);
    /// A message is held for the first time, or for another reason; for a clip with the alert that it belongs to.
    fn held(&self, id: &str, clip_of: Option<&str>, hold: Hold);
}

/// Counts nothing and admits everything: for a link that costs nothing, and for the district's end.
#[derive(Clone, Copy, Debug)]
pub struct Unlimited;

impl Gate for Unlimited {
    fn passed(&self, _: TrafficClass, _: u64) {}

    fn admit(&self, _: Wanted) -> Admission {
        Admission::Go
    }

    fn may_go_on(&self, _: u64) -> bool {
        true
    }

    fn link_mode(&self) -> LinkMode {
        LinkMode::Connected { stretch: 1 }
    }

    fn wants_saving(&self) -> bool {
        false
    }

    fn save(&self) {}

    fn held(&self, _: &str, _: Option<&str>, _: Hold) {}
}
