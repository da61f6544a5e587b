//! What a box had let others know before a cut. The store's workload says it line by line: `told WORD ID…`, after the
//! call that made it true has returned; only `yielded` comes before what lets a message go.

use std::collections::{BTreeMap, BTreeSet};

/// How the workload's lines begin; the kernel's do not.
pub const MARK: &str = "told ";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Alerts, and the hashes of the picture sent and of the clean one.
    pub alerts: BTreeMap<String, Option<(String, String)>>,
    /// Records about the box itself.
    pub records: BTreeSet<String>,
    /// Further records of alerts, by the alert's id.
    pub details: BTreeMap<String, String>,
    /// The alert and the hash of each clip.
    pub clips: BTreeMap<String, (String, String)>,
    /// May have left the outbox, and the store later on.
    pub yielded: BTreeSet<String>,
    pub aside: BTreeSet<String>,
    pub dropped: BTreeSet<String>,
    pub session: i64,
    /// Records, pictures and clips of which somebody else knows: there, whether they still wait or not.
    pub known: BTreeSet<String>,
    /// Files and alerts that the store has removed to keep its quotas.
    pub tidied: usize,
}

impl Told {
    /// Takes what `console` says; lines of others are passed over.
    #[must_use]
    pub fn of(console: &str) -> Self {
        let mut told = Self::default();
        for line in console.lines().filter_map(|line| line.strip_prefix(MARK)) {
            told.take(&line.split(' ').collect::<Vec<_>>());
        }
        told
    }

    /// Everything of which the store must still know.
    #[must_use]
    pub fn count(&self) -> usize {
        self.alerts.len() + self.records.len() + self.details.len() + self.clips.len()
    }

    fn take(&mut self, words: &[&str]) {
        match *words {
            ["alert", id] => drop(self.alerts.insert(id.to_owned(), None)),
            ["alert", id, sent, original] => {
                self.alerts.insert(id.to_owned(), Some((sent.to_owned(), original.to_owned())));
            }
            ["record", id] => drop(self.records.insert(id.to_owned())),
            ["detail", id, alert] => drop(self.details.insert(id.to_owned(), alert.to_owned())),
            ["clip", id, alert, hash] => drop(self.clips.insert(id.to_owned(), (alert.to_owned(), hash.to_owned()))),
            ["yielded", ref ids @ ..] => self.yielded.extend(ids.iter().map(ToString::to_string)),
            ["aside", id] => drop(self.aside.insert(id.to_owned())),
            ["dropped", id] => drop(self.dropped.insert(id.to_owned())),
            ["session", n] => self.session = self.session.max(n.parse().unwrap_or(0)),
            ["tidied", count] => self.tidied += count.parse().unwrap_or(0),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_s_lines_are_told_apart_from_others() {
        let told = Told::of("[ 0.1] EXT4-fs: mounted\ntold alert a-1-1\ntold clip a-1-2 a-1-1 ff\ntold yielded a b\nx");
        assert_eq!(told.alerts, BTreeMap::from([("a-1-1".to_owned(), None)]));
        assert_eq!(told.clips["a-1-2"], ("a-1-1".to_owned(), "ff".to_owned()));
        assert_eq!(told.yielded.len(), 2);
        assert_eq!(told.count(), 2);
    }
}
