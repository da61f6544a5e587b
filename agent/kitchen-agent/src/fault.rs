//! What can be wrong at a site, under codes that a technician can say on the telephone. What each is and its one next
//! step stand in the catalogue (`fault-K-CAM-03` and `fault-K-CAM-03-next`), a table of all in the README.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text;

macro_rules! faults {
    ($($name:ident = $code:literal,)*) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($name,)* }

        impl Fault {
            #[cfg_attr(not(test), allow(dead_code, reason = "the tests go through them"))]
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `K-CAM-03`: never changed, never used again for something else.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

faults! {
    ConfigUnreadable = "K-CFG-01",
    ConfigWrong = "K-CFG-02",
    SecretUnreadable = "K-CFG-03",

    CameraUnreachable = "K-CAM-01",
    CameraCredentials = "K-CAM-02",
    CameraCodec = "K-CAM-03",
    CameraHung = "K-CAM-04",
    CameraPath = "K-CAM-05",
    CameraView = "K-CAM-06",
    CameraRate = "K-CAM-07",
    CameraDamaged = "K-CAM-08",
    CameraFile = "K-CAM-09",

    ModelMissing = "K-DET-01",
    ModelTampered = "K-DET-02",
    ModelBroken = "K-DET-03",
    DetectorSlow = "K-DET-04",

    DatabaseDamaged = "K-STO-01",
    DiskFull = "K-STO-02",
    DiskReadOnly = "K-STO-03",
    StateUnwritable = "K-STO-04",
    RecordingFails = "K-STO-05",

    NoRoute = "K-LNK-01",
    NameUnknown = "K-LNK-02",
    BrokerUnreachable = "K-LNK-03",
    BrokerCertificateExpired = "K-LNK-04",
    BrokerForeign = "K-LNK-05",
    BrokerOtherName = "K-LNK-06",
    BrokerRefuses = "K-LNK-07",
    BrokerForbids = "K-LNK-08",
    DistrictSilent = "K-LNK-09",
    KeyUnreadable = "K-LNK-10",
    CertificateExpired = "K-LNK-11",

    ClaimMissing = "K-ENR-01",
    ClaimDamaged = "K-ENR-02",
    ClaimExpired = "K-ENR-03",
    ClaimForeign = "K-ENR-04",
    ClaimTampered = "K-ENR-05",
    ClaimUnknown = "K-ENR-06",
    ClaimUsed = "K-ENR-07",
    WrongBoard = "K-ENR-08",
    AuthorityUnreachable = "K-ENR-09",
    AuthorityNameUnknown = "K-ENR-10",
    AuthorityForeign = "K-ENR-11",
    EnrolmentAnswer = "K-ENR-12",
    IdentityUnusable = "K-ENR-13",
    BoardUnknown = "K-ENR-14",
    Revoked = "K-ENR-15",
    SecondBox = "K-ENR-16",
    RenewalFails = "K-ENR-17",

    BudgetUsed = "K-BUD-01",
    InterfaceMissing = "K-BUD-02",
    TariffMissing = "K-BUD-03",

    ClockWrong = "K-BOX-01",
    TooHot = "K-BOX-02",
    Undervoltage = "K-BOX-03",
    MemoryShort = "K-BOX-04",

    AgentDown = "K-SVC-01",
    AgentRestarts = "K-SVC-02",
}

impl Fault {
    /// What it is, in the chosen language.
    #[must_use]
    pub fn title(self) -> String {
        text::get(&format!("fault-{}", self.code()), &[])
    }

    /// The one next step, in the chosen language.
    #[must_use]
    pub fn next_step(self) -> String {
        text::get(&format!("fault-{}-next", self.code()), &[])
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        let found = Self::ALL.iter().copied().find(|fault| fault.code() == code);
        found.ok_or_else(|| serde::de::Error::custom(format!("unknown fault code {code:?}")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::Language;

    #[test]
    fn every_fault_has_its_own_code_a_text_and_a_next_step() {
        let codes: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.code()).collect();
        assert_eq!(codes.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            assert!(text::has(&format!("fault-{fault}")), "{fault} has no text");
            assert!(text::has(&format!("fault-{fault}-next")), "{fault} has no next step");
        }
    }

    #[test]
    fn the_readme_lists_every_code_as_the_catalogue_says_it() {
        let readme = include_str!("../../../README.md");
        let said = |language, id: String| text::get_in(language, &id, &[]);
        let row = |fault: &Fault| {
            let (title, next) = (format!("fault-{fault}"), format!("fault-{fault}-next"));
            let [zh, zh_next] = [&title, &next].map(|id| said(Language::Zh, id.clone()));
            let [en, en_next] = [&title, &next].map(|id| said(Language::En, id.clone()));
            format!("| `{fault}` | {zh} | {zh_next} | {en} | {en_next} |")
        };
        let expected: Vec<String> = Fault::ALL.iter().map(row).collect();
        let section =
            readme.split("## Error codes").nth(1).unwrap_or_default().split("\n## ").next().unwrap_or_default();
        let found: Vec<&str> = section.lines().filter(|line| line.starts_with("| `K-")).collect();
        assert!(found == expected, "README.md, section \"Error codes\", should hold:\n{}", expected.join("\n"));
    }
}
