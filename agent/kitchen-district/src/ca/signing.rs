//! Certificates and revocation lists: requests and names come in, PEM goes out. All keys are P-256.

use std::time::Duration;

use kitchen_core::time::Wall;
use kitchen_core::wire::{hex, sha256_hex};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

const DAY: Duration = Duration::from_secs(86_400);
/// The authority's own certificate.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(20 * 365 * 86_400);
/// A broker refuses everybody when its list is out of date: until somebody renews it, it holds.
const LIST_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A certificate holds from a little earlier, for whoever's clock is late.
const MOST_BACKDATED: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    #[error("the request for a certificate can't be read, or its signature does not hold")]
    Request(#[source] rcgen::Error),
    #[error("the request is for a key of another kind than P-256")]
    Kind,
    #[error("the authority's certificate or key can't be used: take them from a backup")]
    Authority(#[source] rcgen::Error),
    #[error("a certificate can't be made")]
    Certificate(#[source] rcgen::Error),
    #[error("{0:?} can't stand in a certificate: give a host name or an address")]
    Host(String),
}

/// A request whose own signature holds.
pub struct Request {
    params: CertificateSigningRequestParams,
    /// Of its public key.
    pub key_sha256: String,
}

impl Request {
    pub fn parse(pem: &str) -> Result<Self, SigningError> {
        let params = CertificateSigningRequestParams::from_pem(pem).map_err(SigningError::Request)?;
        if params.public_key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(SigningError::Kind);
        }
        let key_sha256 = sha256_hex(&params.public_key.subject_public_key_info());
        Ok(Self { params, key_sha256 })
    }
}

/// A certificate as it was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Hexadecimal digits.
    pub number: String,
    pub pem: String,
    pub not_before: Wall,
    pub not_after: Wall,
}

/// The authority's certificate and key.
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    /// A new authority: its certificate and key as PEM.
    pub fn make(name: &str, now: Wall) -> Result<(String, String), SigningError> {
        let key = KeyPair::generate().map_err(SigningError::Certificate)?;
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = date(now.before(DAY));
        params.not_after = date(now.after(AUTHORITY_LIFETIME));
        params.serial_number = Some(random_number());
        let certificate = params.self_signed(&key).map_err(SigningError::Certificate)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    pub fn open(certificate: &str, key: &str) -> Result<Self, SigningError> {
        let key = KeyPair::from_pem(key).map_err(SigningError::Authority)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(SigningError::Authority)?;
        Ok(Self { issuer })
    }

    /// A box's certificate: its name is the device id, whatever the request asks for.
    pub fn sign(&self, device: &str, request: &Request, lifetime: Duration, now: Wall) -> Result<Issued, SigningError> {
        let mut params = named(device);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (number, not_before, not_after) = dated(&mut params, lifetime, now);
        let certificate =
            params.signed_by(&request.params.public_key, &self.issuer).map_err(SigningError::Certificate)?;
        Ok(Issued { number, pem: certificate.pem(), not_before, not_after })
    }

    /// Certificate and key of a server with `hosts`, or without any of a client.
    pub fn account(
        &self,
        name: &str,
        hosts: &[String],
        lifetime: Duration,
        now: Wall,
    ) -> Result<(Issued, String), SigningError> {
        let wrong = |_| SigningError::Host(hosts.join(", "));
        let mut params = CertificateParams::new(hosts.to_vec()).map_err(wrong)?;
        params.distinguished_name = named(name).distinguished_name;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let usage =
            if hosts.is_empty() { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
        params.extended_key_usages = vec![usage];
        let (number, not_before, not_after) = dated(&mut params, lifetime, now);
        let key = KeyPair::generate().map_err(SigningError::Certificate)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(SigningError::Certificate)?;
        Ok((Issued { number, pem: certificate.pem(), not_before, not_after }, key.serialize_pem()))
    }

    /// The list of revoked certificates: their numbers and when they were revoked.
    pub fn revocation_list(&self, revoked: &[(String, Wall)], list: u64, now: Wall) -> Result<String, SigningError> {
        let entry = |(number, at): &(String, Wall)| RevokedCertParams {
            serial_number: SerialNumber::from(bytes_of(number)),
            revocation_time: date(*at),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(now.before(MOST_BACKDATED)),
            next_update: date(now.after(LIST_LIFETIME)),
            crl_number: SerialNumber::from(list),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(SigningError::Certificate)?;
        list.pem().map_err(SigningError::Certificate)
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn dated(params: &mut CertificateParams, lifetime: Duration, now: Wall) -> (String, Wall, Wall) {
    let whole = |wall: Wall| Wall::from_unix_millis(wall.as_unix_millis().div_euclid(1000) * 1000);
    let not_before = whole(now.before(MOST_BACKDATED.min(lifetime / 60)));
    let not_after = whole(now.after(lifetime));
    params.not_before = date(not_before);
    params.not_after = date(not_after);
    let number = random_number();
    let text = hex(&number.to_bytes());
    params.serial_number = Some(number);
    (text, not_before, not_after)
}

/// 127 bits that nobody can guess, positive as DER wants it.
fn random_number() -> SerialNumber {
    let mut bytes: [u8; 16] = random();
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digit = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    hexadecimal.as_bytes().chunks(2).filter_map(digit).collect()
}

fn date(wall: Wall) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(wall.as_unix_millis().div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
