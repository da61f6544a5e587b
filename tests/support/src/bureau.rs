//! A district that enrols its boxes: authority, broker with client certificates and a list of revoked ones, receiver.

use crate::authority::Authority;
use crate::district::District;
use crate::mosquitto::{Mosquitto, free_port};

pub struct Bureau {
    pub authority: Authority,
    pub broker: Mosquitto,
    pub district: District,
}

impl Bureau {
    /// The authority does not serve yet; certificates of boxes hold for `lifetime`, such as `365d`.
    #[must_use]
    pub fn open(lifetime: &str) -> Self {
        let port = free_port();
        let authority = Authority::make(port, lifetime);
        let broker = Mosquitto::start_with(port, authority.account("broker"), authority.revocations());
        let district = District::start_as(&broker, Some(authority.account("district")));
        Self { authority, broker, district }
    }
}
