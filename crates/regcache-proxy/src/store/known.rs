//! What is known beside blobs: manifests with their types, who holds what, what tags are, what is pinned.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use regcache_transfer::Digest;

use super::facts::{Name, Value};
use super::index::{self, Table};
use super::keeper::MANY;
use super::key::Key;
use super::partial::blocking;
use super::{Blob, Manifest, NotStored, Partial, Store, TagFact, lock, tags};
use crate::names::{Repository, Tag};

/// The largest manifest, bytes: what registries accept.
const LARGEST_MANIFEST: usize = 4 << 20;
/// The longest media type, bytes.
const LONGEST_MEDIA_TYPE: usize = 255;
/// What is known to be held is noted again after so long, so that what is not used is what goes; milliseconds.
const NOTE_AGAIN: u64 = 24 * 3600 * 1000;

impl Store {
    /// Keeps a manifest whose digest has been checked. It is remembered in memory for a while even when this fails.
    pub async fn put_manifest(&self, digest: &Digest, media_type: &str, bytes: Bytes) -> Result<(), NotStored> {
        if bytes.len() > LARGEST_MANIFEST || media_type.len() > LONGEST_MEDIA_TYPE {
            self.inner.metrics.not_stored(NotStored::Length);
            return Err(NotStored::Length);
        }
        let key = Key::from(digest);
        let media_type = media_type.to_owned();
        let manifest = Manifest {
            media_type: media_type.clone(),
            bytes: bytes.clone(),
        };
        self.remember(&key, &manifest);
        self.opened().await;
        {
            let mut catalogue = lock(&self.inner.catalogue);
            if catalogue.set_media(&key, &media_type) {
                catalogue.touch(&key);
                return Ok(());
            }
        }
        let inner = Arc::clone(&self.inner);
        let work = move || match Partial::begin(&inner, key, bytes.len() as u64) {
            // The same bytes are being written by somebody else.
            Err(NotStored::Busy) => Ok(()),
            Err(reason) => Err(reason),
            Ok(mut partial) => {
                let there = usize::try_from(partial.len()).unwrap_or(usize::MAX);
                let rest = bytes.slice(there.min(bytes.len())..);
                let mut hasher = partial.hasher();
                hasher.update(&rest);
                if hasher.finish() == partial.digest() {
                    partial.push(&[rest])?;
                } else {
                    // What a fill left of it was never checked.
                    partial.forget();
                    partial.push(&[bytes])?;
                }
                partial.finish(Some(&media_type)).map(drop)
            }
        };
        blocking(&self.inner, work).await
    }

    /// The manifest, when it is here. Counts as a use.
    pub async fn manifest(&self, digest: &Digest) -> Option<Manifest> {
        let key = Key::from(digest);
        let recent = lock(&self.inner.manifests).get(&key);
        if recent.is_some() {
            lock(&self.inner.catalogue).touch(&key);
            return recent;
        }
        self.opened().await;
        let media_type = {
            let catalogue = lock(&self.inner.catalogue);
            let entry = catalogue.get(&key)?;
            let size = usize::try_from(entry.size).ok();
            size.filter(|size| *size <= LARGEST_MANIFEST)?;
            catalogue.media(entry)?.to_owned()
        };
        let Blob { size, file } = self.blob(digest).await?;
        let inner = Arc::clone(&self.inner);
        let digest = *digest;
        let read = move || {
            let mut bytes = vec![0; usize::try_from(size).ok()?];
            let read = file.read_exact_at(&mut bytes, 0);
            if read.is_ok() && digest.matches(&bytes) {
                return Some(Bytes::from(bytes));
            }
            inner.drop_file(&Key::from(digest));
            None
        };
        let bytes = tokio::task::spawn_blocking(read).await.ok()??;
        let manifest = Manifest { media_type, bytes };
        self.remember(&key, &manifest);
        Some(manifest)
    }

    /// Never evict this digest, from now on and after a restart too.
    pub async fn pin(&self, digest: &Digest) {
        self.set_pin(digest, true).await;
    }

    /// Evict it like any other.
    pub async fn unpin(&self, digest: &Digest) {
        self.set_pin(digest, false).await;
    }

    /// Remembers that the repository of that upstream has these digests. Cheap when all of it is known.
    pub async fn note_holds(&self, upstream: &str, repository: &Repository, digests: &[Digest]) {
        self.opened().await;
        let now = lock(&self.inner.catalogue).now();
        let mut facts = lock(&self.inner.facts);
        for digest in digests {
            let name = tags::holds_name(upstream, repository, &Key::from(digest));
            let known = facts.get(&name).flatten();
            if known.is_none_or(|fact| index::time(&fact).saturating_add(NOTE_AGAIN) < now) {
                facts.put(name, Some(tags::bare(now)));
            }
        }
        let many = facts.waiting() >= MANY;
        drop(facts);
        if many {
            self.round();
        }
    }

    /// Whether the repository of that upstream is known to have the digest.
    pub async fn holds(&self, upstream: &str, repository: &Repository, digest: &Digest) -> bool {
        let name = tags::holds_name(upstream, repository, &Key::from(digest));
        self.fact(name).await.is_some()
    }

    /// What the tag last was for who sends this `Accept`.
    pub async fn tag(&self, upstream: &str, repository: &Repository, tag: &Tag, accept: &str) -> Option<TagFact> {
        let value = self.fact(tags::tag_name(upstream, repository, tag)).await?;
        tags::find(&value, accept)
    }

    /// Remembers what a tag is.
    pub async fn put_tag(&self, upstream: &str, repository: &Repository, tag: &Tag, accept: &str, fact: TagFact) {
        let name = tags::tag_name(upstream, repository, tag);
        let turn = self.tagging.lock().await;
        let before = self.fact(name.clone()).await;
        if let Some(value) = tags::with(before.as_deref().unwrap_or_default(), accept, fact) {
            lock(&self.inner.facts).put(name, Some(value));
        }
        drop(turn);
    }

    /// Forgets a tag, for one `Accept`: upstream does not have it any more, or has nothing that such clients take.
    pub async fn remove_tag(&self, upstream: &str, repository: &Repository, tag: &Tag, accept: &str) {
        let name = tags::tag_name(upstream, repository, tag);
        let turn = self.tagging.lock().await;
        if let Some(value) = self.fact(name.clone()).await {
            lock(&self.inner.facts).put(name, tags::without(&value, accept));
        }
        drop(turn);
    }

    async fn fact(&self, name: Name) -> Value {
        self.opened().await;
        if let Some(known) = lock(&self.inner.facts).get(&name) {
            return known;
        }
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.fact(&name))
            .await
            .ok()
            .flatten()
    }

    async fn set_pin(&self, digest: &Digest, pinned: bool) {
        self.opened().await;
        let key = Key::from(digest);
        let mut catalogue = lock(&self.inner.catalogue);
        catalogue.pin(&key, pinned);
        let value = pinned.then(|| tags::bare(catalogue.now()));
        drop(catalogue);
        lock(&self.inner.facts).put((Table::Pins, key.bytes().into()), value);
    }

    fn remember(&self, key: &Key, manifest: &Manifest) {
        let cost = manifest.bytes.len() + manifest.media_type.len() + 128;
        lock(&self.inner.manifests).insert(key.clone(), manifest.clone(), cost);
    }
}
