//! The upstreams that are served: a closed list.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ask::Named;
use super::repositories::RepositoryLists;
use crate::tags::TagPolicy;
use crate::upstream::Upstream;

/// One upstream and how it is served.
pub struct Entry {
    /// Its client.
    pub upstream: Arc<Upstream>,
    /// For how long its tags are good.
    pub tags: TagPolicy,
    /// Which of its repositories are served.
    pub repositories: RepositoryLists,
}

/// All upstreams, by host. Replaced as a whole when the configuration changes.
#[derive(Default)]
pub struct Upstreams(BTreeMap<Arc<str>, Arc<Entry>>);

impl Upstreams {
    /// The upstream that images name so.
    pub fn get(&self, host: &str) -> Option<&Arc<Entry>> {
        self.0.get(host)
    }

    /// The one that a request names, or the only one there is when it names none.
    pub fn named(&self, named: Option<&Named>) -> Option<&Arc<Entry>> {
        let mut all = self.0.values();
        match named {
            Some(named) => self.get(named.host()),
            None => all.next().filter(|_| all.next().is_none()),
        }
    }

    /// All of them, by host.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.values()
    }
}

/// Keyed by the upstreams' own hosts in lower case, as requests name them.
impl FromIterator<Entry> for Upstreams {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let keyed = |entry: Entry| (entry.upstream.host().to_ascii_lowercase().into(), Arc::new(entry));
        Self(entries.into_iter().map(keyed).collect())
    }
}
