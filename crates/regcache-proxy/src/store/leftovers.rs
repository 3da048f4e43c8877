//! What fills of an earlier process left: taken up in the boot in which it was written, for then every byte that was
//! written is there, kill or no kill. After another boot the end of a file may be anything.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::catalogue::{Left, on_disk};
use super::disk;
use super::key::Key;
use super::layout::Layout;

/// Lists what is left, after removing what cannot be taken up.
pub(super) fn find(layout: &Layout) -> HashMap<Key, Left> {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if fs::read(layout.boot()).ok().as_deref() != Some(&boot) {
        remove_all(layout);
        if let Err(error) = fs::write(layout.boot(), &boot) {
            tracing::warn!(%error, "partial files will not be taken up");
        }
        return HashMap::new();
    }
    let mut found = HashMap::new();
    for entry in fs::read_dir(layout.partials()).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == layout.boot() {
            continue;
        }
        let parsed = entry.file_name().to_str().and_then(Layout::parse_partial);
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file);
        let Some(((key, total), metadata)) = parsed.zip(metadata) else {
            disk::remove(&path);
            continue;
        };
        let used = u64::try_from(metadata.mtime()).unwrap_or_default().saturating_mul(1000);
        let size = on_disk(metadata.blocks() * 512);
        if let Some(before) = found.insert(key.clone(), Left { total, size, used }) {
            disk::remove(&layout.partial(&key, before.total));
        }
    }
    found
}

/// Removes all partial files.
pub(super) fn remove_all(layout: &Layout) {
    for entry in fs::read_dir(layout.partials()).into_iter().flatten().flatten() {
        disk::remove(&entry.path());
    }
}
