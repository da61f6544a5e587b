//! The evidence chain of this store: the box's key, made here, and a link for each record that an alert has.
//! A link is never removed, whatever becomes of its record: an export proves by it that nothing was taken out.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kitchen_core::evidence::{EvidenceKey, Hash, digest};
use kitchen_core::wire::{ChainHead, Envelope};
use rusqlite::{Connection, Transaction};
use serde_json::json;

use crate::database::{from_sql, to_sql};
use crate::error::{At as _, During as _, StoreError};
use crate::files::{Layout, sync_folder};
use crate::identity::Identity;

/// Where the kernel gives out bytes that nobody can guess; waits until it can, on a box that has just started.
const RANDOM: &str = "/dev/random";
/// Links among which one that can be read is looked for.
const NEWEST: u32 = 8;

/// The box's evidence key, made when there is none. One that can't be read is set aside, and the loss is told.
pub(crate) fn open_key(layout: &Layout, connection: &Connection) -> Result<EvidenceKey, StoreError> {
    let path = &layout.evidence_key;
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Whoever may not read it is the wrong user, and the key is sound.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error).at("read", path),
        read => {
            if let Some(key) = read.ok().and_then(|text| key_of(&text)) {
                return Ok(key);
            }
            let aside = layout.directory.join("evidence.key.damaged");
            fs::rename(path, &aside).at("set aside", path)?;
            tracing::error!(path = %aside.display(), "the evidence key is damaged: set aside, a new one is made");
            let body =
                json!({ "what": "evidence_key", "reason": "it can't be read", "set_aside": "evidence.key.damaged" });
            connection
                .execute("INSERT INTO losses (body) VALUES (?1)", [body.to_string()])
                .map(drop)
                .during("note", "the loss of the evidence key")?;
        }
    }
    make_key(layout)
}

/// The box's evidence key, made when there is none; without opening the store, which an agent may hold.
///
/// # Errors
/// When the key can't be read, is damaged, or can't be written.
pub fn evidence_key(directory: &Path) -> Result<EvidenceKey, StoreError> {
    let layout = Layout::new(directory);
    match read_key(&layout) {
        Err(StoreError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    fs::create_dir_all(directory).at("create", directory)?;
    make_key(&layout)
}

/// The key that is there, for whoever may read it.
pub(crate) fn read_key(layout: &Layout) -> Result<EvidenceKey, StoreError> {
    let text = fs::read(&layout.evidence_key).at("read", &layout.evidence_key)?;
    key_of(&text).ok_or_else(|| StoreError::Damaged { path: layout.evidence_key.clone() })
}

fn key_of(text: &[u8]) -> Option<EvidenceKey> {
    let seed = STANDARD.decode(text.trim_ascii()).ok()?;
    Some(EvidenceKey::from_seed(seed.try_into().ok()?))
}

fn make_key(layout: &Layout) -> Result<EvidenceKey, StoreError> {
    let mut seed = [0; 32];
    File::open(RANDOM).and_then(|mut random| random.read_exact(&mut seed)).at("read", Path::new(RANDOM))?;
    let temporary = layout.directory.join(format!("evidence.key.{}.tmp", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .at("create", &temporary)?;
    writeln!(file, "{}", STANDARD.encode(seed)).at("write", &temporary)?;
    file.sync_all().at("sync", &temporary)?;
    // An enrolment may make the key while the agent starts: whoever comes second takes the first one's.
    let linked = fs::hard_link(&temporary, &layout.evidence_key);
    fs::remove_file(&temporary).at("remove", &temporary)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return read_key(layout),
        linked => linked.at("link to", &layout.evidence_key)?,
    }
    sync_folder(&layout.directory)?;
    Ok(EvidenceKey::from_seed(seed))
}

/// Gives the envelope its link, behind the newest of this store.
pub(crate) fn link(
    transaction: &Transaction<'_>,
    identity: &Identity,
    envelope: &mut Envelope,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO chain (store, number, record_id, digest, hash) VALUES (?1, ?2, ?3, ?4, ?5)";
    let id = envelope.id.to_string();
    let head = head(transaction, &identity.store)?;
    let value = serde_json::to_value(&*envelope).during("link", &id)?;
    let digest = digest(&value).during("link", &id)?;
    let link = identity.key.link(head.hash, digest);
    transaction
        .prepare_cached(INSERT)
        .and_then(|mut insert| {
            let number = to_sql(head.count + 1);
            insert.execute((&identity.store, number, &id, digest.to_string(), link.hash.to_string()))
        })
        .during("link", &id)?;
    envelope.body["evidence"] = serde_json::to_value(&link).during("link", &id)?;
    Ok(())
}

/// The newest link of the store, with the number of links. A hash in which a bit has flipped must not keep an alert from
/// being stored: then the chain goes on behind an older link, which whoever verifies it sees.
pub(crate) fn head(connection: &Connection, store: &str) -> Result<ChainHead, StoreError> {
    const QUERY: &str = "SELECT number, CAST(hash AS BLOB) FROM chain WHERE store = ?1 ORDER BY number DESC LIMIT ?2";
    let read = || -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
        let mut query = connection.prepare_cached(QUERY)?;
        query.query_map((store, NEWEST), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let newest = read().during("read", "the evidence chain")?;
    let count = newest.first().map_or(0, |(number, _)| from_sql(*number));
    let readable = |(number, hash): &(i64, Vec<u8>)| {
        let hash = std::str::from_utf8(hash).ok().and_then(|text| text.parse().ok());
        if hash.is_none() {
            tracing::error!(store, number, "a link of the evidence chain can't be read");
        }
        hash
    };
    let hash = newest.iter().find_map(readable).unwrap_or(Hash::ZERO);
    Ok(ChainHead { store: store.to_owned(), count, hash })
}
