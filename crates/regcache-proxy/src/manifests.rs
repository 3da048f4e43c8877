//! Manifests: from the store or by one GET for everybody, checked, kept, and what they name noted as held.

mod accept;
mod contents;
mod spelling;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regcache_transfer::Digest;
use tokio::time::timeout;

pub use accept::Accept;
pub use contents::{Child, Contents};

use crate::flights::{Flight, Flights};
use crate::names::{Reference, Repository};
use crate::store::Store;
use crate::upstream::{Error, Upstream};

/// How long upstream may take over a manifest or a question about one, and how long a client waits that cannot be
/// helped otherwise. Below the 9 s after which a node's gateway takes a cache that says nothing for sick. A question
/// that is given up makes a silent upstream rest, so that the next client does not wait as long again.
pub const WITHIN: Duration = Duration::from_secs(8);
/// For how long "there is no such thing" is good.
pub const NEGATIVE: Duration = Duration::from_secs(3);
/// How many may be fetched at once.
const MOST: usize = 1024;

/// A manifest whose bytes have the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Of the bytes.
    pub digest: Digest,
    /// What the manifest says it is, else what upstream said.
    pub media_type: Arc<str>,
    /// All of it.
    pub bytes: Bytes,
}

/// Who asks upstream for what: the calls that may be shared.
type Key = (Arc<str>, Repository, Digest, Accept);
type Fetched = Result<Manifest, Error>;

/// All manifests, stored or not.
pub struct Manifests {
    store: Arc<Store>,
    fetches: Arc<Flights<Key, Fetched>>,
}

/// What may be said again to those who ask in the next seconds: that upstream has it not, or does not give it.
pub fn negative<T>(outcome: &Result<T, Error>) -> Option<Duration> {
    matches!(outcome, Err(Error::NotFound | Error::Denied(_))).then_some(NEGATIVE)
}

impl Manifests {
    /// Those of this store.
    pub fn new(store: Arc<Store>) -> Arc<Self> {
        let fetches = Flights::new(MOST, negative);
        Arc::new(Self { store, fetches })
    }

    /// The manifest, when it is stored and what its digest says: a few KiB are checked faster than a disk is trusted.
    pub async fn stored(&self, digest: &Digest) -> Option<Manifest> {
        let stored = self.store.manifest(digest).await?;
        digest.matches(&stored.bytes).then(|| Manifest {
            digest: *digest,
            media_type: stored.media_type.into(),
            bytes: stored.bytes,
        })
    }

    /// The manifest from upstream, by a call that is shared with all who ask for it in this repository.
    pub fn fetch(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        repository: &Repository,
        digest: Digest,
        accept: &Accept,
    ) -> Option<Flight<Fetched>> {
        let key = (upstream.host().clone(), repository.clone(), digest, accept.clone());
        self.fetches.join(&key, WITHIN, || {
            let (this, upstream, repository, accept) =
                (self.clone(), upstream.clone(), repository.clone(), accept.clone());
            async move {
                let reference = Reference::Digest(digest);
                this.get(&upstream, &repository, &reference, &accept).await
            }
        })
    }

    /// The manifest from upstream, for a call that is shared already.
    pub async fn get(
        &self,
        upstream: &Upstream,
        repository: &Repository,
        reference: &Reference,
        accept: &Accept,
    ) -> Fetched {
        let manifest = upstream.manifest(repository, reference, accept.as_str());
        let manifest = timeout(WITHIN, manifest).await.unwrap_or(Err(Error::TimedOut))?;
        // The bytes have been checked, what upstream says about them has not: the bytes go first.
        let named = Contents::read(&manifest.bytes)
            .media_type
            .filter(|name| is_media_type(name));
        let media_type = named
            .or(manifest.media_type)
            .unwrap_or_else(|| "application/octet-stream".into());
        let manifest = Manifest {
            digest: manifest.digest,
            media_type: media_type.into(),
            bytes: manifest.bytes,
        };
        if let Err(error) = self
            .store
            .put_manifest(&manifest.digest, &manifest.media_type, manifest.bytes.clone())
            .await
        {
            tracing::debug!(digest = %manifest.digest, %error, "manifest is not stored");
        }
        self.note(upstream.host(), repository, &manifest).await;
        Ok(manifest)
    }

    /// The repository holds this manifest, and so the blobs that it names. To be called before it is served: the client
    /// asks for them at once.
    pub async fn note(&self, upstream: &str, repository: &Repository, manifest: &Manifest) {
        let mut digests = Contents::read(&manifest.bytes).blobs;
        digests.push(manifest.digest);
        self.store.note_holds(upstream, repository, &digests).await;
    }
}

/// Fit to be sent as a header, and short.
fn is_media_type(text: &str) -> bool {
    text.len() <= 255 && text.contains('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
}
