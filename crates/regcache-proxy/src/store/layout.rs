//! Where things lie below the store's directory.
//!
//! ```text
//! blobs/sha256/ab/abcd…       whole and verified before it got this name
//! partial/sha256-abcd…-1234   growing towards 1234 bytes
//! partial/boot                the boot in which the partial files were written
//! index.redb                  facts; index.redb.aside is one that could not be read
//! lock                        held by the process that uses the store
//! ```

use std::path::{Path, PathBuf};

use super::key::Key;

/// The paths of one store.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.redb")
    }

    /// The last index that could not be read.
    pub(super) fn aside(&self) -> PathBuf {
        self.root.join("index.redb.aside")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn blob(&self, key: &Key) -> PathBuf {
        let hash = hex::encode(key.bytes());
        let first = hash.get(..2).unwrap_or_default();
        self.blobs().join(key.algorithm()).join(first).join(&hash)
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(super) fn boot(&self) -> PathBuf {
        self.partials().join("boot")
    }

    pub(super) fn probe(&self) -> PathBuf {
        self.partials().join("probe")
    }

    pub(super) fn partial(&self, key: &Key, total: u64) -> PathBuf {
        let name = format!("{}-{}-{total}", key.algorithm(), hex::encode(key.bytes()));
        self.partials().join(name)
    }

    /// Reads a partial file's name back: which blob, and how long it is to become.
    pub(super) fn parse_partial(name: &str) -> Option<(Key, u64)> {
        let mut parts = name.split('-');
        let key = Key::from_hex(parts.next()?, parts.next()?)?;
        let total = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((key, total))
    }
}

#[cfg(test)]
mod tests {
    use regcache_transfer::Digest;

    use super::*;

    #[test]
    fn names_of_partial_files_read_back_and_others_do_not() {
        let layout = Layout::new("/s".into());
        for digest in [Digest::sha256(b"x"), Digest::Sha512([7; 64])] {
            let key = Key::from(digest);
            let path = layout.partial(&key, 12);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(Layout::parse_partial(name), Some((key.clone(), 12)));
            assert_eq!(Layout::parse_partial(&format!("{name}-1")), None);
            assert_eq!(Key::from_bytes(key.bytes()), Some(key));
        }
        for name in ["boot", "probe", "sha256-ab-1", ""] {
            assert_eq!(Layout::parse_partial(name), None, "{name}");
        }
    }
}
