//! What the authority remembers, in SQLite (WAL, `synchronous=FULL`): claims, certificates, revocations, and all that it
//! did. Rows go in inside a transaction of the caller; nothing is ever removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kitchen_core::enrolment::{ClaimState, HeldCertificate, HeldClaim, ManifestEntry};
use kitchen_core::time::Wall;
use kitchen_core::wire::Site;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::signing::Issued;

const DATABASE: &str = "ca.sqlite";
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
CREATE TABLE claims (
    claim_id TEXT NOT NULL PRIMARY KEY, device TEXT NOT NULL, batch TEXT NOT NULL, secret_sha256 TEXT NOT NULL,
    serial TEXT, camera TEXT NOT NULL, name TEXT NOT NULL, licence TEXT NOT NULL, town TEXT NOT NULL,
    expires_at INTEGER NOT NULL, imported_at INTEGER NOT NULL, is_void INTEGER NOT NULL DEFAULT 0,
    used_by_serial TEXT, used_by_key TEXT, used_by_evidence_key TEXT, used_at INTEGER) STRICT;
CREATE INDEX claims_by_device ON claims (device);
CREATE TABLE certificates (
    number TEXT NOT NULL PRIMARY KEY, device TEXT NOT NULL, claim_id TEXT NOT NULL, key_sha256 TEXT NOT NULL,
    serial TEXT NOT NULL, evidence_key TEXT NOT NULL, follows TEXT, pem TEXT NOT NULL, agent TEXT NOT NULL,
    issued_at INTEGER NOT NULL, not_after INTEGER NOT NULL, revoked_at INTEGER) STRICT;
CREATE INDEX certificates_by_device ON certificates (device);
CREATE UNIQUE INDEX certificates_by_follows ON certificates (follows) WHERE follows IS NOT NULL;
CREATE TABLE revoked_devices (device TEXT NOT NULL PRIMARY KEY, reason TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE lists (number INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;
INSERT INTO lists VALUES (1);
CREATE TABLE audit (
    position INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, device TEXT NOT NULL,
    peer TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE INDEX audit_by_device ON audit (device, event);
";

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("register {path} can't be opened: check that the folder is writable and not full", path = path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("register {path} has layout {found}, this version knows {SCHEMA_VERSION}: use a newer kitchen-district", path = path.display())]
    TooNew { path: PathBuf, found: i64 },
    #[error("the register failed: check the disk's space and health")]
    Query(#[from] rusqlite::Error),
}

/// A line of what the authority did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEvent {
    pub at: Wall,
    /// `imported`, `enrolled`, `repeated`, `renewed`, `refused`, `second_box`, `revoked`, `claim_made`.
    pub event: String,
    pub device: String,
    /// The address that asked, or `command line`.
    pub peer: String,
    pub detail: String,
}

/// A certificate that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRow {
    pub number: String,
    pub device: String,
    pub claim_id: String,
    pub key_sha256: String,
    /// The board's.
    pub serial: String,
    pub evidence_key: String,
    /// The number of the one that it renews.
    pub follows: Option<String>,
    pub pem: String,
    pub agent: String,
    pub issued_at: Wall,
    pub not_after: Wall,
    pub revoked_at: Option<Wall>,
}

impl CertificateRow {
    /// `issued` for whoever asked.
    pub fn take(&mut self, issued: &Issued) {
        self.number.clone_from(&issued.number);
        self.pem.clone_from(&issued.pem);
        self.not_after = issued.not_after;
    }
}

/// A claim as the report shows it.
#[derive(Clone, Debug)]
pub struct ClaimRow {
    pub claim_id: String,
    pub batch: String,
    pub entry: ManifestEntry,
    pub expires: Wall,
    pub used_at: Option<Wall>,
}

#[derive(Debug)]
pub struct Register {
    connection: Connection,
}

impl Register {
    /// Opens the register in the authority's folder, and makes it where it lacks.
    ///
    /// # Errors
    /// When the file can't be opened, or was written by a newer version.
    pub fn open(folder: &Path) -> Result<Self, RegisterError> {
        let path = folder.join(DATABASE);
        let failed = |source| RegisterError::Open { path: path.clone(), source };
        let connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        let register = Self { connection };
        register.begin()?;
        let found = register.connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match found {
            0 => {
                let make = format!("{SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};");
                register.connection.execute_batch(&make).map_err(failed)?;
            }
            SCHEMA_VERSION => {}
            found => return Err(RegisterError::TooNew { path, found }),
        }
        register.commit()?;
        Ok(register)
    }

    /// Everything until [`Register::commit`] counts together; another program waits.
    pub fn begin(&self) -> Result<(), RegisterError> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Durable when it returns without error.
    pub fn commit(&self) -> Result<(), RegisterError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// As if nothing had been written since `begin`.
    pub fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    /// Runs `work` in a transaction, which counts only when it succeeds.
    pub fn transaction<T, E: From<RegisterError>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.begin()?;
        let done = work().and_then(|done| self.commit().map(|()| done).map_err(E::from));
        if done.is_err() {
            self.roll_back();
        }
        done
    }

    pub fn insert_claim(
        &self,
        batch: &str,
        entry: &ManifestEntry,
        expires: Wall,
        now: Wall,
    ) -> Result<bool, RegisterError> {
        const INSERT: &str = "INSERT OR IGNORE INTO claims (claim_id, device, batch, secret_sha256, serial, camera, name, \
            licence, town, expires_at, imported_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let Site { name, licence, town } = &entry.site;
        let inserted = self.connection.prepare_cached(INSERT)?.execute(params![
            entry.claim_id,
            entry.device,
            batch,
            entry.secret_sha256,
            entry.serial,
            entry.camera,
            name,
            licence,
            town,
            expires.as_unix_millis(),
            now.as_unix_millis(),
        ])?;
        Ok(inserted == 1)
    }

    /// The claims of the device can't be used any more.
    pub fn void_claims(&self, device: &str) -> Result<(), RegisterError> {
        self.connection.execute("UPDATE claims SET is_void = 1 WHERE device = ?1", [device])?;
        Ok(())
    }

    pub fn claim(&self, claim_id: &str) -> Result<Option<HeldClaim>, RegisterError> {
        const QUERY: &str = "SELECT device, secret_sha256, serial, expires_at, is_void, used_by_serial, used_by_key, \
            used_by_evidence_key FROM claims WHERE claim_id = ?1";
        let held = |row: &Row<'_>| {
            let used: Option<String> = row.get(5)?;
            let state = match used {
                _ if row.get(4)? => ClaimState::Void,
                Some(serial) => ClaimState::Redeemed { serial, key_sha256: row.get(6)?, evidence_key: row.get(7)? },
                None => ClaimState::Open,
            };
            let expires = Wall::from_unix_millis(row.get(3)?);
            Ok(HeldClaim { device: row.get(0)?, secret_sha256: row.get(1)?, serial: row.get(2)?, expires, state })
        };
        Ok(self.connection.prepare_cached(QUERY)?.query_row([claim_id], held).optional()?)
    }

    /// The site that the newest claim of the device was made for.
    pub fn site(&self, device: &str) -> Result<Option<Site>, RegisterError> {
        Ok(self.newest_claim(device)?.map(|claim| claim.entry.site))
    }

    pub fn newest_claim(&self, device: &str) -> Result<Option<ClaimRow>, RegisterError> {
        let query = format!("{CLAIM} WHERE device = ?1 ORDER BY rowid DESC LIMIT 1");
        Ok(self.connection.prepare_cached(&query)?.query_row([device], claim_row).optional()?)
    }

    /// The newest claim of each device, by device.
    pub fn newest_claims(&self) -> Result<Vec<ClaimRow>, RegisterError> {
        let query = format!("{CLAIM} WHERE rowid IN (SELECT max(rowid) FROM claims GROUP BY device) ORDER BY device");
        Ok(self.connection.prepare_cached(&query)?.query_map([], claim_row)?.collect::<Result<_, _>>()?)
    }

    /// All devices that ever had a claim.
    ///
    /// # Errors
    /// When the register can't be read.
    pub fn devices(&self) -> Result<BTreeSet<String>, RegisterError> {
        let mut query = self.connection.prepare_cached("SELECT DISTINCT device FROM claims")?;
        Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    pub fn use_claim(&self, claim_id: &str, by: &CertificateRow, now: Wall) -> Result<(), RegisterError> {
        const UPDATE: &str = "UPDATE claims SET used_by_serial = ?2, used_by_key = ?3, used_by_evidence_key = ?4, \
            used_at = ?5 WHERE claim_id = ?1";
        let values = (claim_id, &by.serial, &by.key_sha256, &by.evidence_key, now.as_unix_millis());
        self.connection.prepare_cached(UPDATE)?.execute(values)?;
        Ok(())
    }

    pub fn insert_certificate(&self, row: &CertificateRow) -> Result<(), RegisterError> {
        const INSERT: &str = "INSERT INTO certificates VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL)";
        self.connection.prepare_cached(INSERT)?.execute(params![
            row.number,
            row.device,
            row.claim_id,
            row.key_sha256,
            row.serial,
            row.evidence_key,
            row.follows,
            row.pem,
            row.agent,
            row.issued_at.as_unix_millis(),
            row.not_after.as_unix_millis(),
        ])?;
        Ok(())
    }

    pub fn certificate(&self, number: &str) -> Result<Option<CertificateRow>, RegisterError> {
        let query = format!("{CERTIFICATE} WHERE number = ?1");
        Ok(self.connection.prepare_cached(&query)?.query_row([number], certificate_row).optional()?)
    }

    /// The newest one that was given for this claim and identity key.
    pub fn certificate_for(&self, claim_id: &str, key_sha256: &str) -> Result<Option<CertificateRow>, RegisterError> {
        let query = format!("{CERTIFICATE} WHERE claim_id = ?1 AND key_sha256 = ?2 ORDER BY rowid DESC LIMIT 1");
        let mut query = self.connection.prepare_cached(&query)?;
        Ok(query.query_row([claim_id, key_sha256], certificate_row).optional()?)
    }

    /// The one that renewed it.
    pub fn certificate_after(&self, number: &str) -> Result<Option<CertificateRow>, RegisterError> {
        let query = format!("{CERTIFICATE} WHERE follows = ?1");
        Ok(self.connection.prepare_cached(&query)?.query_row([number], certificate_row).optional()?)
    }

    /// The newest certificate of each device, by device.
    pub fn newest_certificates(&self) -> Result<Vec<CertificateRow>, RegisterError> {
        let query = format!(
            "{CERTIFICATE} WHERE rowid IN (SELECT max(rowid) FROM certificates GROUP BY device) ORDER BY device"
        );
        Ok(self.connection.prepare_cached(&query)?.query_map([], certificate_row)?.collect::<Result<_, _>>()?)
    }

    /// What a renewal is judged by.
    pub fn held_certificate(&self, row: &CertificateRow) -> Result<HeldCertificate, RegisterError> {
        Ok(HeldCertificate {
            serial: row.serial.clone(),
            evidence_key: row.evidence_key.clone(),
            is_revoked: row.revoked_at.is_some(),
            next_key_sha256: self.certificate_after(&row.number)?.map(|next| next.key_sha256),
        })
    }

    /// Revokes all certificates of the device that still hold; how many there were.
    pub fn revoke_certificates(&self, device: &str, now: Wall) -> Result<usize, RegisterError> {
        const UPDATE: &str = "UPDATE certificates SET revoked_at = ?2 WHERE device = ?1 AND revoked_at IS NULL";
        Ok(self.connection.execute(UPDATE, (device, now.as_unix_millis()))?)
    }

    pub fn insert_revoked_device(&self, device: &str, reason: &str, now: Wall) -> Result<(), RegisterError> {
        let insert = "INSERT OR REPLACE INTO revoked_devices VALUES (?1, ?2, ?3)";
        self.connection.execute(insert, (device, reason, now.as_unix_millis()))?;
        Ok(())
    }

    /// A new claim lets the device in again.
    pub fn remove_revoked_device(&self, device: &str) -> Result<(), RegisterError> {
        self.connection.execute("DELETE FROM revoked_devices WHERE device = ?1", [device])?;
        Ok(())
    }

    /// Devices that were revoked, why and when.
    pub fn revoked_devices(&self) -> Result<Vec<(String, String, Wall)>, RegisterError> {
        let mut query = self.connection.prepare_cached("SELECT device, reason, at FROM revoked_devices")?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, Wall::from_unix_millis(row.get(2)?)));
        Ok(query.query_map([], row)?.collect::<Result<_, _>>()?)
    }

    pub fn is_revoked_device(&self, device: &str) -> Result<bool, RegisterError> {
        let query = "SELECT EXISTS (SELECT 1 FROM revoked_devices WHERE device = ?1)";
        Ok(self.connection.prepare_cached(query)?.query_row([device], |row| row.get(0))?)
    }

    /// The numbers of all revoked certificates, and when.
    pub fn revoked_numbers(&self) -> Result<Vec<(String, Wall)>, RegisterError> {
        let query = "SELECT number, revoked_at FROM certificates WHERE revoked_at IS NOT NULL ORDER BY rowid";
        let mut query = self.connection.prepare_cached(query)?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, Wall::from_unix_millis(row.get(1)?)));
        Ok(query.query_map([], row)?.collect::<Result<_, _>>()?)
    }

    /// The number of the next revocation list.
    pub fn next_list(&self) -> Result<u64, RegisterError> {
        self.connection.execute("INSERT INTO lists DEFAULT VALUES", [])?;
        Ok(u64::try_from(self.connection.last_insert_rowid()).unwrap_or(0))
    }

    pub fn note(&self, event: &AuditEvent) -> Result<(), RegisterError> {
        let insert = "INSERT INTO audit (at, event, device, peer, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
        let at = event.at.as_unix_millis();
        let values = (at, &event.event, &event.device, &event.peer, &event.detail);
        self.connection.prepare_cached(insert)?.execute(values)?;
        Ok(())
    }

    /// What was done, oldest first; of one device or of all.
    pub fn audit(&self, device: Option<&str>) -> Result<Vec<AuditEvent>, RegisterError> {
        let query =
            "SELECT at, event, device, peer, detail FROM audit WHERE ?1 IS NULL OR device = ?1 ORDER BY position";
        let row = |row: &Row<'_>| {
            let at = Wall::from_unix_millis(row.get(0)?);
            Ok(AuditEvent { at, event: row.get(1)?, device: row.get(2)?, peer: row.get(3)?, detail: row.get(4)? })
        };
        Ok(self.connection.prepare_cached(query)?.query_map([device], row)?.collect::<Result<_, _>>()?)
    }

    /// For each device how often it was refused, with the newest reason; and how often a second box was seen.
    pub fn troubles(&self) -> Result<Vec<(String, String, u64, String)>, RegisterError> {
        let query = "SELECT device, event, count(*), detail, max(position) FROM audit \
            WHERE event IN ('refused', 'second_box') AND device <> '' GROUP BY device, event";
        let row = |row: &Row<'_>| {
            let count: i64 = row.get(2)?;
            Ok((row.get(0)?, row.get(1)?, u64::try_from(count).unwrap_or(0), row.get(3)?))
        };
        Ok(self.connection.prepare_cached(query)?.query_map([], row)?.collect::<Result<_, _>>()?)
    }
}

const CLAIM: &str = "SELECT claim_id, device, batch, secret_sha256, serial, camera, name, licence, town, expires_at, \
    used_at FROM claims";
const CERTIFICATE: &str = "SELECT number, device, claim_id, key_sha256, serial, evidence_key, follows, pem, agent, \
    issued_at, not_after, revoked_at FROM certificates";

fn claim_row(row: &Row<'_>) -> rusqlite::Result<ClaimRow> {
    let claim_id: String = row.get(0)?;
    let entry = ManifestEntry {
        device: row.get(1)?,
        claim_id: claim_id.clone(),
        secret_sha256: row.get(3)?,
        serial: row.get(4)?,
        camera: row.get(5)?,
        site: Site { name: row.get(6)?, licence: row.get(7)?, town: row.get(8)? },
    };
    let used_at = row.get::<_, Option<i64>>(10)?.map(Wall::from_unix_millis);
    Ok(ClaimRow { claim_id, batch: row.get(2)?, entry, expires: Wall::from_unix_millis(row.get(9)?), used_at })
}

fn certificate_row(row: &Row<'_>) -> rusqlite::Result<CertificateRow> {
    Ok(CertificateRow {
        number: row.get(0)?,
        device: row.get(1)?,
        claim_id: row.get(2)?,
        key_sha256: row.get(3)?,
        serial: row.get(4)?,
        evidence_key: row.get(5)?,
        follows: row.get(6)?,
        pem: row.get(7)?,
        agent: row.get(8)?,
        issued_at: Wall::from_unix_millis(row.get(9)?),
        not_after: Wall::from_unix_millis(row.get(10)?),
        revoked_at: row.get::<_, Option<i64>>(11)?.map(Wall::from_unix_millis),
    })
}
