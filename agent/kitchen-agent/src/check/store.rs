//! The database: opened for reading beside a running agent, gone through page by page.

use std::path::Path;

use kitchen_core::time::Wall;
use kitchen_store::{Store, StoreCause, StoreError};
use kitchen_uplink::explain::chain;

use super::Finding;
use crate::fault::Fault;
use crate::text::text;

/// What is to be said of the store in `folder`, and the time below which the clock can't be right.
pub(super) fn look(folder: &Path) -> (Finding, Option<Wall>) {
    let reader = match Store::read_only(folder) {
        Ok(reader) => reader,
        Err(error) => return (failed(folder, &error), None),
    };
    let saved_time = reader.saved_time().ok().flatten();
    let waiting = reader.outbox_health(crate::clock::now());
    let finding = match (reader.damage(), waiting) {
        (Ok(None), Ok(waiting)) => Finding::ok(text!("check-database-good", count = waiting.count)),
        (Ok(Some(damage)), _) => damaged(&damage),
        (Err(error), _) | (_, Err(error)) => failed(folder, &error),
    };
    (finding, saved_time)
}

fn failed(folder: &Path, error: &StoreError) -> Finding {
    let fault = match error.cause() {
        StoreCause::NeverMade => return Finding::absent(text!("check-database-never-made")),
        StoreCause::Damaged | StoreCause::Other => return damaged(&chain(error)),
        StoreCause::DiskFull => Fault::DiskFull,
        StoreCause::ReadOnly => Fault::DiskReadOnly,
        StoreCause::NotPermitted => Fault::StateUnwritable,
    };
    Finding::fail(fault, format!("{}: {}", folder.display(), chain(error)), text!("check-database-expected"))
}

fn damaged(what: &str) -> Finding {
    let line = what.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    Finding::fail(Fault::DatabaseDamaged, line, text!("check-database-expected"))
}
