//! The money: what was sent and received, what it cost, and what may still be sent.
//! Bytes, stamps and wishes come in; an account, a step and permissions go out. Never passes the month's ceiling.

mod account;
mod admission;
mod alarm;
mod allowance;
mod counting;
mod forecast;
mod governor;
mod overhead;
mod period;
mod report;
mod rung;
mod tariff;
mod wanted;
mod year;
mod yuan;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::account::{Account, Bucket, ByClass, Traffic, Usage};
pub use self::admission::{Admission, Hold, HoldReason, LinkMode};
pub use self::alarm::{BudgetAlarm, NEARLY_USED};
pub use self::counting::{Attribution, InterfaceCounter, Reading};
pub use self::forecast::{Demand, DemandRow, Forecast, HISTORY_WEEKS};
pub use self::governor::{Governor, Settings, UNSAVED_BYTES};
pub use self::overhead::{HANDSHAKE_BYTES, TRY_BYTES, accompanied_bytes, handshake_bytes, wire_bytes};
pub use self::period::Period;
pub use self::report::{BudgetReport, ClassReport, PeriodReport, month_record};
pub use self::tariff::Tariff;
pub use self::wanted::{STALE_AFTER, Wanted, worth, worthless};
pub use self::year::{Load, MonthPlan, YearPlan, connected_bytes_per_day, plan_year};
pub use self::yuan::{Decimal, DecimalError, Yuan};

/// What traffic was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficClass {
    /// Texts of tier 1 alerts: what the reserve is kept for.
    Alert,
    /// Other texts: alerts of tiers 2 and 3, records.
    Text,
    Snapshot,
    Clip,
    /// Answers to the district's commands.
    Command,
    /// Connecting, staying connected, acknowledging, heartbeats.
    Protocol,
    /// Downloads of programs and models.
    Update,
    /// What else passed the interface.
    Other,
}

impl TrafficClass {
    pub const COUNT: usize = 8;
    pub const ALL: [Self; Self::COUNT] =
        [Self::Alert, Self::Text, Self::Snapshot, Self::Clip, Self::Command, Self::Protocol, Self::Update, Self::Other];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Text => "text",
            Self::Snapshot => "snapshot",
            Self::Clip => "clip",
            Self::Command => "command",
            Self::Protocol => "protocol",
            Self::Update => "update",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for TrafficClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TrafficClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no traffic class"))
    }
}

/// How much the money left still allows, from everything to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetStep {
    /// Nothing more this month but in free windows.
    Off,
    /// Only texts of tier 1 alerts, out of the reserve.
    Reserve,
    TextOnly,
    SnapshotsOnly,
    /// Of the clips those that are asked for, and as many of the gravest as the money covers.
    ClipsOnRequest,
    Full,
}

impl BudgetStep {
    pub const ALL: [Self; 6] =
        [Self::Off, Self::Reserve, Self::TextOnly, Self::SnapshotsOnly, Self::ClipsOnRequest, Self::Full];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Reserve => "reserve",
            Self::TextOnly => "text_only",
            Self::SnapshotsOnly => "snapshots_only",
            Self::ClipsOnRequest => "clips_on_request",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for BudgetStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
