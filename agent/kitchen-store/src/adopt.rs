//! A box that gets its name, or another one, after it has stored records: what nobody has acknowledged yet is written anew
//! under the new name, and the evidence chain is linked and signed anew from there on. What was acknowledged stays.

use std::collections::BTreeMap;

use kitchen_core::evidence::{Hash, digest};
use kitchen_core::wire::Envelope;
use rusqlite::{Connection, Transaction};

use crate::database::to_sql;
use crate::error::{During as _, StoreError};
use crate::identity::Identity;

const SUBJECT: &str = "records under this box's name";

/// Renames what waits under another name than `identity`'s, all of it or nothing; how many records that were.
pub(crate) fn adopt(connection: &mut Connection, identity: &Identity) -> Result<usize, StoreError> {
    const OTHERS: &str = "SELECT records.id, envelope FROM outbox JOIN records USING (id) \
        WHERE json_valid(CAST(envelope AS TEXT)) AND CAST(envelope AS TEXT) ->> 'device' <> ?1 ORDER BY records.position";
    let transaction = connection.transaction().during("rename", SUBJECT)?;
    let others: BTreeMap<String, Vec<u8>> = {
        let mut query = transaction.prepare(OTHERS).during("find", SUBJECT)?;
        let rows = query.query_map([&identity.device], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).during("find", SUBJECT)?
    };
    if others.is_empty() {
        return Ok(0);
    }
    for (id, bytes) in &others {
        // One that can't be read is told when it is to be sent.
        let Ok(mut envelope) = serde_json::from_slice::<Envelope>(bytes) else { continue };
        envelope.device.clone_from(&identity.device);
        write(&transaction, id, &envelope)?;
    }
    let first = relink(&transaction, identity, &others)?;
    transaction.commit().during("rename", SUBJECT)?;
    tracing::info!(count = others.len(), first_link = first, device = identity.device, "records renamed");
    Ok(others.len())
}

/// Links anew from the first renamed record of an alert to the chain's end; the number of that link.
fn relink(
    transaction: &Transaction<'_>,
    identity: &Identity,
    renamed: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<u64>, StoreError> {
    const FIRST: &str = "SELECT number FROM chain WHERE store = ?1 AND record_id = ?2";
    const BEFORE: &str = "SELECT hash FROM chain WHERE store = ?1 AND number < ?2 ORDER BY number DESC LIMIT 1";
    const LINKS: &str = "SELECT number, record_id, digest, envelope FROM chain LEFT JOIN records ON id = record_id \
        WHERE store = ?1 AND number >= ?2 ORDER BY number";
    const UPDATE: &str = "UPDATE chain SET digest = ?3, hash = ?4 WHERE store = ?1 AND number = ?2";
    let mut first: Option<u64> = None;
    for id in renamed.keys() {
        let number = transaction.query_row(FIRST, (&identity.store, id), |row| row.get::<_, i64>(0));
        if let Ok(number) = number {
            let number = u64::try_from(number).unwrap_or(0);
            first = Some(first.map_or(number, |first| first.min(number)));
        }
    }
    let Some(first) = first else { return Ok(None) };
    let before = transaction.query_row(BEFORE, (&identity.store, to_sql(first)), |row| row.get::<_, String>(0));
    let mut prev = before.ok().and_then(|hash| hash.parse().ok()).unwrap_or(Hash::ZERO);
    let mut query = transaction.prepare(LINKS).during("link", SUBJECT)?;
    let links: Vec<(i64, String, String, Option<Vec<u8>>)> = query
        .query_map((&identity.store, to_sql(first)), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .and_then(Iterator::collect)
        .during("link", SUBJECT)?;
    for (number, id, held, envelope) in links {
        // A record that is gone has left its digest; one that the district has keeps its text, and so its own link.
        let mut link = identity.key.link(prev, held.parse().unwrap_or(Hash::ZERO));
        let mut digested = held;
        let envelope = envelope.filter(|_| renamed.contains_key(&id));
        if let Some(mut envelope) = envelope.and_then(|bytes| serde_json::from_slice::<Envelope>(&bytes).ok()) {
            let new = digest(&serde_json::to_value(&envelope).during("link", &id)?).during("link", &id)?;
            link = identity.key.link(prev, new);
            digested = new.to_string();
            envelope.body["evidence"] = serde_json::to_value(&link).during("link", &id)?;
            write(transaction, &id, &envelope)?;
        }
        let values = (&identity.store, number, &digested, link.hash.to_string());
        transaction.execute(UPDATE, values).during("link", &id)?;
        prev = link.hash;
    }
    Ok(Some(first))
}

fn write(transaction: &Transaction<'_>, id: &str, envelope: &Envelope) -> Result<(), StoreError> {
    let bytes = envelope.to_bytes();
    transaction
        .execute("UPDATE records SET envelope = ?2 WHERE id = ?1", (id, &bytes))
        .and_then(|_| {
            transaction.execute("UPDATE outbox SET bytes = ?2 WHERE id = ?1", (id, to_sql(bytes.len() as u64)))
        })
        .map(drop)
        .during("rename", id)
}
