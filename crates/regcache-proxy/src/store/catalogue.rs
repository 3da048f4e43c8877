//! What is in the store, in memory: every blob with its size and last use, fills under way, what they left, and who
//! reads. About 85 bytes for each blob. No system call in here.

mod fills;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Arc, Weak};

use super::key::Key;

pub(super) use room::Victim;

/// The block in which file systems give out room.
const BLOCK: u64 = 4096;
/// Media types known by number; a manifest of yet another one is not kept.
const MEDIA_TYPES: usize = 256;

/// One stored blob or manifest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Bytes of content.
    pub(super) size: u64,
    /// When it was last used, unix milliseconds, made to differ from every other.
    pub(super) used: u64,
    /// For a manifest, its media type by number.
    pub(super) media: Option<u16>,
    /// Handles being opened right now.
    pub(super) opening: u16,
    /// Whether the bytes are known to be what the digest says. Others are not served.
    pub(super) verified: bool,
    /// Whether the file has been seen since the start.
    pub(super) seen: bool,
}

/// What a fill left for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// What the blob would have become, bytes.
    pub(super) total: u64,
    /// What lies on the disk, bytes.
    pub(super) size: u64,
    /// When the fill ended, as [`Entry::used`].
    pub(super) used: u64,
}

/// The store's memory.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    entries: HashMap<Key, Entry>,
    stored: u64,
    reserved: HashMap<Key, u64>,
    promised: u64,
    left: HashMap<Key, Left>,
    left_bytes: u64,
    readers: HashMap<Key, Weak<File>>,
    lingering: Vec<(Weak<File>, u64)>,
    doomed: HashSet<Key>,
    pins: HashSet<Key>,
    media: Vec<Box<str>>,
    clock: u64,
    index_bytes: u64,
    dirty: HashSet<Key>,
    unsynced: HashSet<Key>,
    /// What is gone, and the index may not have heard so.
    vouched: HashSet<Key>,
}

/// What `size` bytes take on disk: an empty file is not for nothing either.
pub(super) fn on_disk(size: u64) -> u64 {
    size.max(1).saturating_add(BLOCK - 1) / BLOCK * BLOCK
}

impl Catalogue {
    /// Bytes in use or promised, as far as the budget is concerned.
    pub(super) fn used(&self) -> u64 {
        let lingering = self.lingering.iter().filter(|(file, _)| file.strong_count() > 0);
        let lingering: u64 = lingering.map(|(_, size)| size).sum();
        self.stored + self.promised + self.left_bytes + self.index_bytes + lingering
    }

    /// How many blobs and manifests there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// A moment that is later than any given out before.
    pub(super) fn now(&mut self) -> u64 {
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        self.clock = now.max(self.clock + 1);
        self.clock
    }

    /// Makes room in the maps for so many blobs, so that they need not grow in steps.
    pub(super) fn expect(&mut self, blobs: usize) {
        self.entries.reserve(blobs);
    }

    /// Takes in what the index says, as it is.
    pub(super) fn load(&mut self, key: Key, size: u64, used: u64, media: Option<&str>) {
        self.clock = self.clock.max(used);
        let media = media.and_then(|media| self.media_number(media));
        let entry = Entry {
            size,
            used,
            media,
            opening: 0,
            verified: true,
            seen: false,
        };
        self.put(key, entry);
    }

    /// The file is there. `false` when it is one that nobody knows.
    pub(super) fn see(&mut self, key: &Key) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        entry.seen = true;
        true
    }

    /// A file that the index does not know, to be verified. `false` when it is known, or somebody is at it.
    pub(super) fn add_unknown(&mut self, key: &Key, size: u64, used: u64) -> bool {
        if self.see(key) || self.is_busy(key) {
            return false;
        }
        let entry = Entry {
            size,
            used,
            media: None,
            opening: 0,
            verified: false,
            seen: true,
        };
        self.put(key.clone(), entry);
        true
    }

    fn put(&mut self, key: Key, entry: Entry) {
        self.stored += on_disk(entry.size);
        if let Some(before) = self.entries.insert(key, entry) {
            self.stored -= on_disk(before.size);
        }
    }

    /// Counts a use of a verified blob.
    pub(super) fn touch(&mut self, key: &Key) -> Option<Entry> {
        let now = self.now();
        let entry = self.entries.get_mut(key).filter(|entry| entry.verified)?;
        entry.used = now;
        let entry = *entry;
        self.dirty.insert(key.clone());
        Some(entry)
    }

    /// The open file, when somebody reads it already.
    pub(super) fn open_file(&self, key: &Key) -> Option<Arc<File>> {
        self.readers.get(key)?.upgrade()
    }

    /// Somebody opens the file: until [`Self::opened`] it is not evicted.
    pub(super) fn opening(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.opening = entry.opening.saturating_add(1);
        }
    }

    /// The end of [`Self::opening`]: the handle that all readers share, the first one that was opened.
    pub(super) fn opened(&mut self, key: &Key, file: Option<Arc<File>>) -> Option<Arc<File>> {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.opening = entry.opening.saturating_sub(1);
        }
        let file = self.open_file(key).or(file)?;
        self.read_by(key, &file);
        Some(file)
    }

    fn read_by(&mut self, key: &Key, file: &Arc<File>) {
        if self.readers.len() >= 64 && self.readers.len() == self.readers.capacity() {
            self.readers.retain(|_, file| file.strong_count() > 0);
        }
        self.readers.insert(key.clone(), Arc::downgrade(file));
    }

    /// Whether somebody has the blob's file open, whole or growing.
    pub(super) fn is_read(&self, key: &Key) -> bool {
        self.readers.get(key).is_some_and(|file| file.strong_count() > 0)
    }

    /// The entry's file is gone or wrong. Whoever still reads it keeps its bytes counted.
    pub(super) fn forget(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.stored -= on_disk(entry.size);
        self.unsynced.remove(key);
        self.dirty.insert(key.clone());
        self.vouched.insert(key.clone());
        self.linger(key, on_disk(entry.size));
    }

    /// [`Self::forget`], and its file is being removed until [`Self::removed`]: no fill may begin meanwhile.
    pub(super) fn doom(&mut self, key: &Key) {
        self.forget(key);
        self.doomed.insert(key.clone());
    }

    /// The end of [`Self::doom`].
    pub(super) fn removed(&mut self, key: &Key) {
        self.doomed.remove(key);
    }

    /// The file that is read has no name any more: it counts until its readers are done.
    pub(super) fn linger(&mut self, key: &Key, size: u64) {
        self.lingering.retain(|(file, _)| file.strong_count() > 0);
        if let Some(file) = self.readers.remove(key).filter(|file| file.strong_count() > 0) {
            self.lingering.push((file, size));
        }
    }

    /// The file's bytes are what its digest says.
    pub(super) fn verified(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.verified = true;
            self.unsynced.insert(key.clone());
            self.dirty.insert(key.clone());
        }
    }

    /// Somebody has doubts about the file: not served until it has been read again.
    pub(super) fn doubt(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.verified = false;
            self.dirty.insert(key.clone());
            self.vouched.insert(key.clone());
        }
    }

    /// Whether the file is there and has not been verified.
    pub(super) fn is_unverified(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| !entry.verified)
    }

    /// Everything that has not been verified.
    pub(super) fn unverified(&self) -> Vec<Key> {
        let unverified = self.entries.iter().filter(|(_, entry)| !entry.verified);
        unverified.map(|(key, _)| key.clone()).collect()
    }

    /// A walk over all files is over: entries that it has not met have no file.
    pub(super) fn forget_unseen(&mut self) -> usize {
        let unseen: Vec<_> = self.entries.iter().filter(|(_, entry)| !entry.seen).collect();
        let unseen: Vec<_> = unseen.into_iter().map(|(key, _)| key.clone()).collect();
        for key in &unseen {
            self.forget(key);
        }
        unseen.len()
    }

    /// Sets the media type of a verified entry. `false` when there is none.
    pub(super) fn set_media(&mut self, key: &Key, media: &str) -> bool {
        let number = self.media_number(media);
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.verified) else {
            return false;
        };
        entry.media = number;
        self.dirty.insert(key.clone());
        true
    }

    fn media_number(&mut self, media: &str) -> Option<u16> {
        if let Some(number) = self.media.iter().position(|known| &**known == media) {
            return u16::try_from(number).ok();
        }
        if self.media.len() >= MEDIA_TYPES {
            return None;
        }
        self.media.push(media.into());
        u16::try_from(self.media.len() - 1).ok()
    }

    /// The media type of a manifest.
    pub(super) fn media(&self, entry: &Entry) -> Option<&str> {
        self.media.get(usize::from(entry.media?)).map(|media| &**media)
    }

    pub(super) fn set_pins(&mut self, pins: HashSet<Key>) {
        self.pins = pins;
    }

    pub(super) fn pins(&self) -> Vec<Key> {
        self.pins.iter().cloned().collect()
    }

    pub(super) fn pin(&mut self, key: &Key, pinned: bool) {
        if pinned {
            self.pins.insert(key.clone());
        } else {
            self.pins.remove(key);
        }
    }

    pub(super) const fn set_index_bytes(&mut self, bytes: u64) {
        self.index_bytes = bytes;
    }

    /// How many entries the index has not heard of.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// What the index has not heard of, and whose bytes are to be synced before it does.
    pub(super) fn take_dirty(&mut self) -> (Vec<Key>, Vec<Key>) {
        let dirty = std::mem::take(&mut self.dirty).into_iter().collect();
        let unsynced = std::mem::take(&mut self.unsynced).into_iter().collect();
        (dirty, unsynced)
    }

    /// Whether the index may still speak for a file of this name that is gone. Another one may take its place only when
    /// its bytes are safe, or after a power failure the index would speak for whatever is in it.
    pub(super) fn is_vouched(&self, key: &Key) -> bool {
        self.vouched.contains(key)
    }

    /// The index has heard that they are gone.
    pub(super) fn not_vouched<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            self.vouched.remove(key);
        }
    }

    /// Whether the file's bytes may not be on the disk yet.
    pub(super) fn is_unsynced(&self, key: &Key) -> bool {
        self.unsynced.contains(key)
    }

    /// Writing that failed.
    pub(super) fn give_back(&mut self, dirty: impl IntoIterator<Item = Key>) {
        self.dirty.extend(dirty);
    }

    /// The index is new: it is to hear of everything.
    pub(super) fn all_dirty(&mut self) {
        self.dirty = self.entries.keys().cloned().collect();
    }
}
