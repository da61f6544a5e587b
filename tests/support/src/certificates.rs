//! Certificates as the district issues them: one authority, the broker's certificate, a client certificate for each
//! name (CN = device id), and a foreign authority for negative tests. Written as PEM files into one folder.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm,
};

/// Certificate, key, and the authority that vouches for the other side.
#[derive(Clone, Debug)]
pub struct Identity {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// An authority and where its files lie.
pub struct Certificates {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// A new authority and the broker's certificate (`localhost`, `127.0.0.1`) in `directory`.
    #[must_use]
    pub fn make(directory: &Path) -> Self {
        Self::make_for(directory, IpAddr::from([127, 0, 0, 1]))
    }

    /// As [`Self::make`], for a broker at another address.
    #[must_use]
    pub fn make_for(directory: &Path, broker: IpAddr) -> Self {
        fs::create_dir_all(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let key = KeyPair::generate().expect("ring makes keys");
        let mut params = named("test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("an authority signs itself");
        write(&directory.join("ca.pem"), &certificate.pem());
        let certificates = Self { directory: directory.to_owned(), issuer: Issuer::new(params, key) };
        let hosts = CertificateParams::new(["localhost".to_owned(), broker.to_string()]).expect("host names");
        certificates.issue("broker", hosts, ExtendedKeyUsagePurpose::ServerAuth);
        certificates
    }

    /// The broker's own.
    #[must_use]
    pub fn broker(&self) -> Identity {
        self.identity("broker")
    }

    /// A box's: the CN is its id. Made at the first call.
    #[must_use]
    pub fn device(&self, id: &str) -> Identity {
        self.client(id)
    }

    /// The district's own account.
    #[must_use]
    pub fn district(&self) -> Identity {
        self.client("district")
    }

    /// A certificate for `id` by an authority that the broker does not know; it trusts the broker's authority.
    #[must_use]
    pub fn foreign_device(&self, id: &str) -> Identity {
        let foreign = Self::make(&self.directory.join("foreign"));
        Identity { ca: self.directory.join("ca.pem"), ..foreign.device(id) }
    }

    /// Gives the broker a certificate that has expired.
    pub fn expire_broker(&self) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a host name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.issue("broker", params, ExtendedKeyUsagePurpose::ServerAuth);
    }

    /// Gives the broker a certificate for another name.
    pub fn rename_broker(&self, host: &str) {
        let params = CertificateParams::new([host.to_owned()]).expect("a host name");
        self.issue("broker", params, ExtendedKeyUsagePurpose::ServerAuth);
    }

    /// The certificate of an authority that has signed nothing here.
    #[must_use]
    pub fn foreign_authority(&self) -> PathBuf {
        let foreign = Self::make(&self.directory.join("foreign"));
        foreign.directory.join("ca.pem")
    }

    /// A box's certificate that has expired.
    #[must_use]
    pub fn expired_device(&self, id: &str) -> Identity {
        let mut params = named(id);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self.issue(id, params, ExtendedKeyUsagePurpose::ClientAuth);
        self.identity(id)
    }

    /// A certificate for a key that is not made here, as PEM: the authority says that it is the box's.
    #[must_use]
    pub fn vouch(&self, id: &str, key: [u8; 32]) -> String {
        let certificate = named(id).signed_by(&Ed25519Key(key), &self.issuer).expect("the authority signs");
        certificate.pem()
    }

    fn client(&self, name: &str) -> Identity {
        let identity = self.identity(name);
        if !identity.certificate.exists() {
            self.issue(name, named(name), ExtendedKeyUsagePurpose::ClientAuth);
        }
        identity
    }

    fn issue(&self, name: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) {
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("ring makes keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let identity = self.identity(name);
        write(&identity.certificate, &certificate.pem());
        write(&identity.key, &key.serialize_pem());
    }

    fn identity(&self, name: &str) -> Identity {
        Identity {
            ca: self.directory.join("ca.pem"),
            certificate: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key")),
        }
    }
}

/// The public part of a key.
struct Ed25519Key([u8; 32]);

impl PublicKeyData for Ed25519Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write(path: &Path, pem: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let written = fs::write(path, pem).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
