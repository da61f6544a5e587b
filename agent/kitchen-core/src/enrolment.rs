//! How a box gets its identity: the claim that an installer brings, what box and authority say to each other, and what
//! the authority makes of it. Texts come in, values and verdicts go out. Never reads a file or makes a key.

mod claim;
mod exchange;
mod manifest;
mod renewal;
mod signed;
mod verdict;

pub use self::claim::{Authority, Claim, ClaimError, NewClaim};
pub use self::exchange::{
    BrokerAccess, EnrolRequest, Enrolment, ExchangeError, Refusal, RefusalBody, RenewRequest, is_serial,
};
pub use self::manifest::{Manifest, ManifestEntry, ManifestError};
pub use self::renewal::{Renewal, RenewalOutput, Validity};
pub use self::verdict::{ClaimState, Grant, HeldCertificate, HeldClaim, judge_claim, judge_renewal};
use crate::evidence::EvidenceKey;
pub use crate::wire::is_device_id;

/// An authority's Ed25519 key: it signs claims, manifests and what a box is told at its enrolment.
pub type AuthorityKey = EvidenceKey;

/// Of claims, manifests, requests and answers.
pub const VERSION: u32 = 1;
/// As the claim is called on a boot partition or a stick.
pub const CLAIM_FILE: &str = "kitchen-claim.toml";

#[cfg(test)]
mod tests;
