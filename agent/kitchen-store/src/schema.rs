//! The schema and the steps that lead to it from every earlier version.
//! `PRAGMA user_version` is the number of steps taken. A step only adds; the table `compatibility` names the oldest
//! program that can go on with its result, so that an update can be taken back.

use rusqlite::Connection;

use crate::error::{During as _, StoreError};

/// What a new database gets.
const SCHEMA: &str = include_str!("schema.sql");
/// Step n leads from version n to n + 1. A step that was released never changes.
const STEPS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
];

/// The version that this program reads and writes.
pub(crate) fn known_version() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

pub(crate) fn version(connection: &Connection) -> Result<u32, StoreError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).during("read", "the schema version")
}

/// Makes the schema in a new database, or takes the steps that an older one lacks, each in its own transaction.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let (found, known) = (version(connection)?, known_version());
    if found > known {
        return require_compatible(connection, found);
    }
    if found == 0 {
        // Only a database without tables takes it: freed pages can then be given back bit by bit.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").during("configure", "the database")?;
        return apply(connection, SCHEMA, known);
    }
    for (version, step) in (1..).zip(STEPS).skip_while(|(version, _)| *version <= found) {
        apply(connection, step, version)?;
        tracing::info!(version, "database upgraded");
    }
    Ok(())
}

/// A newer program's database, if that program says that this one can go on with it.
pub(crate) fn require_compatible(connection: &Connection, found: u32) -> Result<(), StoreError> {
    let known = known_version();
    let oldest = connection.query_row("SELECT oldest_program FROM compatibility", [], |row| row.get::<_, u32>(0));
    match oldest {
        Ok(oldest) if oldest <= known => Ok(()),
        _ => Err(StoreError::SchemaNewer { found, known }),
    }
}

/// Which part of the schema differs from what its version says; a flipped bit in a name stops every query on it.
pub(crate) fn altered(connection: &Connection) -> Result<Option<String>, StoreError> {
    let found = version(connection)?;
    if found > known_version() {
        return Ok(None);
    }
    if found == 0 {
        // A new database has no tables yet.
        let is_new = parts(connection).during("read", "the schema")?.is_empty();
        return Ok((!is_new).then(|| "its version is gone".to_owned()));
    }
    let mut expected = Connection::open_in_memory().during("open", "a database in memory")?;
    for (version, step) in (1..=found).zip(STEPS) {
        apply(&mut expected, step, version)?;
    }
    let (there, wanted) = (parts(connection), parts(&expected).during("read", "the schema")?);
    let there = match there {
        Ok(there) => there,
        Err(error) => return Ok(Some(error.to_string())),
    };
    Ok(wanted.iter().find(|part| !there.contains(part)).map(|part| {
        let name: Vec<&str> = part.splitn(3, ':').take(2).collect();
        format!("the definition of {} is altered", name.join(" "))
    }))
}

/// The schema's parts without their spaces, which an upgrade leaves in other places.
fn parts(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT type || ':' || name || ':' || coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")?
        .query_map([], |row| row.get::<_, String>(0))?
        .map(|part| Ok(part?.replace([' ', '\n'], "")))
        .collect()
}

fn apply(connection: &mut Connection, sql: &str, version: u32) -> Result<(), StoreError> {
    let run = |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()
    };
    run(connection).map_err(|source| StoreError::Migrate { version, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema_of(connection: &Connection) -> Vec<String> {
        parts(connection).expect("readable")
    }

    #[test]
    fn stepwise_upgrade_from_every_version_equals_a_new_schema() {
        let mut fresh = Connection::open_in_memory().expect("memory");
        migrate(&mut fresh).expect("fresh");
        assert_eq!(version(&fresh).expect("version"), known_version());
        for start in 1..=known_version() {
            let mut old = Connection::open_in_memory().expect("memory");
            for (version, step) in (1..=start).zip(STEPS) {
                apply(&mut old, step, version).expect("step");
            }
            migrate(&mut old).expect("upgrade");
            assert_eq!(version(&old).expect("version"), known_version());
            assert_eq!(schema_of(&old), schema_of(&fresh), "from version {start}");
        }
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.pragma_update(None, "user_version", 99).expect("pragma");
        let error = migrate(&mut connection).expect_err("newer");
        assert!(matches!(error, StoreError::SchemaNewer { found: 99, .. }), "{error}");
        assert!(schema_of(&connection).is_empty());
    }

    #[test]
    fn a_newer_database_is_used_if_it_says_so() {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrate(&mut connection).expect("fresh");
        connection.pragma_update(None, "user_version", 99).expect("pragma");
        migrate(&mut connection).expect("compatible");
        assert_eq!(version(&connection).expect("version"), 99);
        connection.execute("UPDATE compatibility SET oldest_program = ?1", [known_version() + 1]).expect("update");
        let error = migrate(&mut connection).expect_err("too new");
        assert!(matches!(error, StoreError::SchemaNewer { found: 99, .. }), "{error}");
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().expect("memory");
        let error = apply(&mut connection, "CREATE TABLE a (b) STRICT; nonsense", 7).expect_err("syntax");
        assert!(matches!(error, StoreError::Migrate { version: 7, .. }), "{error}");
        assert_eq!(version(&connection).expect("version"), 0);
        assert!(schema_of(&connection).is_empty());
    }
}
