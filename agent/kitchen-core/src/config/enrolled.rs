//! What a claim or an enrolment says of the configuration: a layer below the file. An empty text in the file, as the
//! package brings it, does not hide it.

use std::path::PathBuf;

use toml::{Table, Value};

use crate::enrolment::{Claim, Enrolment};
use crate::wire::Site;

/// The layer of one box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    pub device: String,
    site: Site,
    /// Broker and command key; a claim alone knows none.
    uplink: Option<(String, String)>,
    files: IdentityFiles,
}

/// Where the identity in use lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityFiles {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Enrolled {
    /// A box that waits to be enrolled knows its name and its site.
    #[must_use]
    pub fn by_claim(claim: &Claim) -> Self {
        let (device, site) = (claim.device.clone(), claim.site.clone());
        Self { device, site, uplink: None, files: IdentityFiles::default() }
    }

    #[must_use]
    pub fn by_enrolment(enrolment: &Enrolment, files: IdentityFiles) -> Self {
        let uplink = Some((enrolment.broker.url.clone(), enrolment.command_key.clone()));
        Self { device: enrolment.device.clone(), site: enrolment.site.clone(), uplink, files }
    }

    /// As it would stand in `agent.toml`.
    pub(super) fn table(&self) -> Table {
        let Site { name, licence, town } = &self.site;
        let site = table([("name", name), ("licence", licence), ("town", town)]);
        let mut device = table([("id", &self.device)]);
        device.insert("site".to_owned(), site.into());
        let mut layer = Table::from_iter([("device".to_owned(), device.into())]);
        if let Some((broker, command_key)) = &self.uplink {
            let path = |path: &PathBuf| path.to_string_lossy().into_owned();
            let IdentityFiles { ca, certificate, key } = &self.files;
            let uplink = table([
                ("broker", broker),
                ("command_key", command_key),
                ("ca_file", &path(ca)),
                ("certificate_file", &path(certificate)),
                ("key_file", &path(key)),
            ]);
            layer.insert("uplink".to_owned(), uplink.into());
        }
        layer
    }
}

fn table<const N: usize>(values: [(&str, &String); N]) -> Table {
    values.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value.clone()))).collect()
}

/// `upper` over `lower`; empty texts don't count where `lower` has something to say.
pub(super) fn laid_over(mut lower: Table, upper: Table) -> Table {
    for (key, value) in upper {
        let merged = match (lower.remove(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => laid_over(below, above).into(),
            (Some(below @ Value::String(_)), Value::String(above)) if above.is_empty() => below,
            (_, value) => value,
        };
        lower.insert(key, merged);
    }
    lower
}
