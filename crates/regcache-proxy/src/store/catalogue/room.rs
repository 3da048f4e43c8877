//! Which blobs go when room is needed: those unused for longest, never what is read, filled or pinned.

use super::super::error::NotStored;
use super::super::key::Key;
use super::{Catalogue, on_disk};

/// Something that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Victim {
    /// A blob or manifest.
    Blob(Key),
    /// What a fill left, with the length it would have had.
    Left(Key, u64),
}

impl Catalogue {
    /// What has to go so that `total` more bytes fit into `limit`, and into `writable` bytes of the file system: down
    /// to the low watermark when anything has to go. Nothing is to go when it would not be enough.
    pub(in crate::store) fn room_for(
        &self,
        key: &Key,
        total: u64,
        limit: u64,
        writable: u64,
    ) -> Result<Vec<Victim>, NotStored> {
        let total = on_disk(total);
        if total > limit {
            return Err(NotStored::TooLarge);
        }
        let there = self.left.get(key).map_or(0, |left| left.size.min(total));
        let wanted = self.used() + total - there;
        let over = wanted.saturating_sub(limit);
        // Fills under way have the room they were promised already, where the file system can promise it.
        let short = (total - there).saturating_sub(writable);
        let must = over.max(short);
        if must == 0 {
            return Ok(Vec::new());
        }
        let low = limit / 10 * 9;
        let (victims, freed) = self.victims(wanted.saturating_sub(low).max(short), Some(key));
        if freed >= must {
            Ok(victims)
        } else if over >= short {
            Err(NotStored::Full)
        } else {
            Err(NotStored::NoSpace)
        }
    }

    /// What has to go because the budget has become smaller.
    pub(in crate::store) fn surplus(&self, limit: u64) -> Vec<Victim> {
        let used = self.used();
        if used <= limit {
            return Vec::new();
        }
        self.victims(used - limit / 10 * 9, None).0
    }

    /// The least recently used that may go, until `bytes` are free; and how many that gives.
    fn victims(&self, bytes: u64, spared: Option<&Key>) -> (Vec<Victim>, u64) {
        let blobs = self.entries.iter().filter(|(key, entry)| {
            entry.opening == 0 && !self.is_read(key) && !self.pins.contains(*key) && !self.reserved.contains_key(*key)
        });
        let blobs = blobs.map(|(key, entry)| (entry.used, on_disk(entry.size), key, None));
        let left = self.left.iter().filter(|(key, _)| !self.is_read(key));
        let left = left.map(|(key, left)| (left.used, left.size, key, Some(left.total)));
        let mut candidates: Vec<_> = blobs
            .chain(left)
            .filter(|(_, _, key, _)| Some(*key) != spared)
            .collect();
        candidates.sort_unstable_by_key(|(used, ..)| *used);
        let mut freed = 0;
        let mut victims = Vec::new();
        for (_, size, key, left) in candidates {
            if freed >= bytes {
                break;
            }
            freed += size;
            victims.push(left.map_or_else(|| Victim::Blob(key.clone()), |total| Victim::Left(key.clone(), total)));
        }
        (victims, freed)
    }

    /// Takes the victims out of memory: their files are to be removed, and then [`Catalogue::removed`] said. Returns
    /// the bytes that they had.
    pub(in crate::store) fn evict(&mut self, victims: &[Victim]) -> u64 {
        let before = self.stored + self.left_bytes;
        for victim in victims {
            match victim {
                Victim::Blob(key) => self.doom(key),
                Victim::Left(key, _) => {
                    self.take_left(key);
                    self.doomed.insert(key.clone());
                }
            }
        }
        before - self.stored - self.left_bytes
    }
}
