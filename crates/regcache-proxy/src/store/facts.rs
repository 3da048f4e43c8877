//! Facts by name, written behind: what is put is known at once, and on disk with the next batch. While the index
//! cannot be used, what fits into memory is remembered.

use std::collections::HashMap;
use std::sync::Arc;

use super::index::Table;
use super::memory::Recent;

/// Memory for facts used lately, bytes, about.
const RECENT: usize = 3 << 20;
/// Facts that wait for a disk that does not take them; more are remembered in memory only.
const WAITING: usize = 20_000;
/// What remembering a fact costs beside its bytes.
const OVERHEAD: usize = 96;

/// A fact's table and name.
pub(super) type Name = (Table, Box<[u8]>);
/// A fact's bytes; `None` where it is known that there is none.
pub(super) type Value = Option<Arc<[u8]>>;

/// Facts in memory.
#[derive(Debug)]
pub(super) struct Facts {
    recent: Recent<Name, Value>,
    waiting: HashMap<Name, Value>,
    writing: HashMap<Name, Value>,
}

impl Facts {
    pub(super) fn new() -> Self {
        Self {
            recent: Recent::new(RECENT),
            waiting: HashMap::new(),
            writing: HashMap::new(),
        }
    }

    /// What is known without the index; `None` when the index has to be asked.
    pub(super) fn get(&mut self, name: &Name) -> Option<Value> {
        let known = self.recent.get(name).or_else(|| self.waiting.get(name).cloned());
        known.or_else(|| self.writing.get(name).cloned())
    }

    /// What the index said, unless something newer was put meanwhile.
    pub(super) fn learn(&mut self, name: &Name, value: &Value) -> Value {
        if let Some(newer) = self.get(name) {
            return newer;
        }
        if value.is_some() {
            self.remember(name.clone(), value.clone());
        }
        value.clone()
    }

    /// A new fact, or that there is none any more.
    pub(super) fn put(&mut self, name: Name, value: Value) {
        self.remember(name.clone(), value.clone());
        if self.waiting.len() < WAITING || self.waiting.contains_key(&name) {
            self.waiting.insert(name, value);
        }
    }

    fn remember(&mut self, name: Name, value: Value) {
        let cost = OVERHEAD + name.1.len() + value.as_ref().map_or(0, |value| value.len());
        self.recent.insert(name, value, cost);
    }

    /// How many facts wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes what waits; to be followed by [`Self::written`].
    pub(super) fn take(&mut self) -> HashMap<Name, Value> {
        self.writing = std::mem::take(&mut self.waiting);
        self.writing.clone()
    }

    /// How writing ended. What could not be written waits again, unless there is something newer.
    pub(super) fn written(&mut self, done: bool) {
        let writing = std::mem::take(&mut self.writing);
        if done {
            return;
        }
        for (name, value) in writing {
            self.waiting.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        (Table::Tags, text.as_bytes().into())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as facts are put and found")]
    fn value(text: &str) -> Value {
        Some(text.as_bytes().into())
    }

    #[test]
    fn what_was_put_last_is_known_until_it_is_written_and_when_it_cannot_be() {
        let mut facts = Facts::new();
        facts.put(name("a"), value("1"));
        assert_eq!(facts.take().len(), 1);
        facts.put(name("a"), value("2"));
        assert_eq!(facts.get(&name("a")), Some(value("2")));
        facts.written(false);
        assert_eq!((facts.get(&name("a")), facts.waiting()), (Some(value("2")), 1));
        let batch = facts.take();
        assert_eq!(batch.get(&name("a")), Some(&value("2")));
        facts.put(name("a"), None);
        assert_eq!(facts.get(&name("a")), Some(None));
    }

    #[test]
    fn what_the_index_says_late_does_not_undo_what_was_put() {
        let mut facts = Facts::new();
        assert_eq!(facts.get(&name("a")), None);
        facts.put(name("a"), None);
        assert_eq!(facts.learn(&name("a"), &value("old")), None);
        assert_eq!(facts.learn(&name("b"), &value("known")), value("known"));
        assert_eq!(facts.get(&name("b")), Some(value("known")));
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_bounded_memory() {
        let mut facts = Facts::new();
        for at in 0..3 * WAITING {
            facts.put(name(&at.to_string()), value("x"));
        }
        assert_eq!(facts.waiting(), WAITING);
    }
}
