//! What the governor answers: whether a message may go and, if not, why and until when; whether the box may be connected.

use std::fmt;

use super::BudgetStep;
use crate::time::Wall;

/// Whether a message may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Go,
    Hold(Hold),
}

/// Why not now, and until when at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub reason: HoldReason,
    pub until: Wall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// The money left is kept for what matters more.
    Step(BudgetStep),
    /// It costs nothing then.
    FreeWindow,
    /// The month's ceiling less the counting error is reached.
    Ceiling,
    /// The operator would cut the link.
    HardStop,
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => write!(f, "budget: {step}"),
            Self::FreeWindow => f.write_str("budget: free window"),
            Self::Ceiling => f.write_str("budget: ceiling reached"),
            Self::HardStop => f.write_str("budget: hard stop of the operator"),
        }
    }
}

/// Whether the box may be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMode {
    /// Keepalive and heartbeat this many times as long as configured.
    Connected {
        stretch: u32,
    },
    /// Only as long as texts go out: those of tier 1 at once, others, if there is money for them, now and then.
    Errands {
        until: Wall,
        runs_for_all: bool,
    },
    Off {
        until: Wall,
    },
}
