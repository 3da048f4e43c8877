//! Fills under way, what they were promised, and what they leave.

use std::fs::File;
use std::sync::Arc;

use super::super::key::Key;
use super::{Catalogue, Entry, Left, Victim, on_disk};

impl Catalogue {
    /// Whether a fill of this digest is under way, or its file is being removed.
    pub(in crate::store) fn is_busy(&self, key: &Key) -> bool {
        self.reserved.contains_key(key) || self.doomed.contains(key)
    }

    /// Promises `total` bytes to a fill, and hands over what an earlier one left.
    pub(in crate::store) fn reserve(&mut self, key: &Key, total: u64) -> Option<Left> {
        let total = on_disk(total);
        self.promised += total;
        if let Some(before) = self.reserved.insert(key.clone(), total) {
            self.promised -= before;
        }
        self.take_left(key)
    }

    /// A fill's file from now on: its readers keep it from being forgotten uncounted.
    pub(in crate::store) fn filling(&mut self, key: &Key, file: &Arc<File>) {
        if !self.entries.contains_key(key) {
            self.read_by(key, file);
        }
    }

    /// The fill ended without a blob; what it left, if anything, is kept for the next one.
    pub(in crate::store) fn release(&mut self, key: &Key, left: Option<(u64, u64)>) {
        let promised = self.reserved.remove(key).unwrap_or_default();
        self.promised -= promised;
        match left {
            Some((total, size)) => {
                let used = self.now();
                self.add_left(key.clone(), Left { total, size, used });
            }
            None if !self.entries.contains_key(key) => self.linger(key, promised),
            None => {}
        }
    }

    pub(in crate::store) fn add_left(&mut self, key: Key, left: Left) {
        self.left_bytes += left.size;
        if let Some(before) = self.left.insert(key, left) {
            self.left_bytes -= before.size;
        }
    }

    /// What the blob was to become of which a part was left.
    pub(in crate::store) fn left(&self, key: &Key) -> Option<u64> {
        self.left.get(key).map(|left| left.total)
    }

    pub(in crate::store) fn take_left(&mut self, key: &Key) -> Option<Left> {
        let left = self.left.remove(key)?;
        self.left_bytes -= left.size;
        Some(left)
    }

    /// What was left before `used`.
    pub(in crate::store) fn left_before(&self, used: u64) -> Vec<Victim> {
        let stale = self.left.iter().filter(|(_, left)| left.used < used);
        stale.map(|(key, left)| Victim::Left(key.clone(), left.total)).collect()
    }

    /// The fill is complete, and its file has its permanent name.
    pub(in crate::store) fn commit(&mut self, key: &Key, size: u64, media: Option<&str>, file: &Arc<File>) {
        self.promised -= self.reserved.remove(key).unwrap_or_default();
        let entry = Entry {
            size,
            used: self.now(),
            media: media.and_then(|media| self.media_number(media)),
            opening: 0,
            verified: true,
            seen: true,
        };
        self.put(key.clone(), entry);
        self.read_by(key, file);
        self.unsynced.insert(key.clone());
        self.dirty.insert(key.clone());
    }
}
