//! A bounded memory of what was used lately: two generations, the older one forgotten whole.

use std::collections::HashMap;
use std::hash::Hash;

/// Remembers at least the last half, at most all of `capacity`, in whatever unit the costs have.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_cost: usize,
    capacity: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_cost: 0,
            capacity,
        }
    }

    /// The value, which counts as used now.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, cost) = self.old.remove(key)?;
        self.insert(key.clone(), value.clone(), cost);
        Some(value)
    }

    /// Remembers a value; one larger than half of the capacity is not.
    pub(super) fn insert(&mut self, key: K, value: V, cost: usize) {
        self.remove(&key);
        if cost > self.capacity / 2 {
            return;
        }
        if self.young_cost + cost > self.capacity / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_cost = 0;
        }
        self.young_cost += cost;
        self.young.insert(key, (value, cost));
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((_, cost)) = self.young.remove(key) {
            self.young_cost -= cost;
        }
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_sum_stays_bounded() {
        let mut recent = Recent::new(100);
        recent.insert(0, "kept", 10);
        for key in 1..1000 {
            recent.insert(key, "passing", 10);
            assert_eq!(recent.get(&0), Some("kept"), "after {key}");
            assert!(recent.young.len() + recent.old.len() <= 10);
        }
        assert_eq!(recent.get(&1), None);
    }

    #[test]
    fn what_is_too_large_or_removed_is_not_remembered() {
        let mut recent = Recent::new(100);
        recent.insert(1, "large", 51);
        recent.insert(2, "fits", 50);
        assert_eq!((recent.get(&1), recent.get(&2)), (None, Some("fits")));
        recent.remove(&2);
        assert_eq!((recent.get(&2), recent.young_cost), (None, 0));
    }
}
