//! Whether a repository holds something: what is stored may have come by another repository, and whoever may read this
//! one need not be let near that.
//!
//! Known from manifests that were served for the repository, else asked of upstream by one HEAD for everybody.

use std::sync::Arc;
use std::time::Duration;

use regcache_transfer::Digest;
use tokio::time::timeout;

use crate::flights::Flights;
use crate::manifests::{self, negative};
use crate::names::{Reference, Repository};
use crate::store::Store;
use crate::upstream::{Error, Upstream};

/// How long a client waits for the answer. A node's gateway takes a cache for sick that has no headers of a blob for
/// 5 s; what comes later is remembered all the same.
const WITHIN: Duration = Duration::from_secs(3);
/// How many questions may be under way at once.
const MOST: usize = 4096;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A blob.
    Blob,
    /// A manifest, by digest.
    Manifest,
}

type Key = (Arc<str>, Repository, Digest, What);

/// Who holds what.
pub struct Access {
    store: Arc<Store>,
    questions: Arc<Flights<Key, Result<Option<u64>, Error>>>,
}

impl Access {
    /// Remembers in this store.
    pub fn new(store: Arc<Store>) -> Self {
        let questions = Flights::new(MOST, negative);
        Self { store, questions }
    }

    /// Whether the repository is known to hold it.
    pub async fn known(&self, upstream: &Upstream, repository: &Repository, digest: &Digest) -> bool {
        self.store.holds(upstream.host(), repository, digest).await
    }

    /// Asks upstream, and remembers that it does. The size, when upstream says it.
    pub async fn ask(
        &self,
        upstream: &Arc<Upstream>,
        repository: &Repository,
        digest: Digest,
        what: What,
    ) -> Result<Option<u64>, Error> {
        let key = (upstream.host().clone(), repository.clone(), digest, what);
        let flight = self.questions.join(&key, WITHIN, || {
            let (store, upstream, repository) = (self.store.clone(), upstream.clone(), repository.clone());
            async move {
                let size = head(&upstream, &repository, digest, what);
                let size = timeout(manifests::WITHIN, size).await.unwrap_or(Err(Error::TimedOut))?;
                let stored = store.blob(&digest).await.map(|stored| stored.size);
                if stored.is_some_and(|stored| size.is_some_and(|size| size != stored)) {
                    return Err(Error::Malformed("another size than the digest has".into()));
                }
                store.note_holds(upstream.host(), &repository, &[digest]).await;
                Ok(size)
            }
        });
        match flight {
            Some(flight) => flight.outcome(WITHIN).await.unwrap_or(Err(Error::TimedOut)),
            None => Err(Error::TimedOut),
        }
    }
}

async fn head(upstream: &Upstream, repository: &Repository, digest: Digest, what: What) -> Result<Option<u64>, Error> {
    match what {
        What::Blob => upstream.head_blob(repository, &digest).await.map(Some),
        What::Manifest => {
            let head = upstream
                .head_manifest(repository, &Reference::Digest(digest), "*/*")
                .await?;
            if head.digest.is_some() {
                return Ok(head.size);
            }
            // Status 200 alone may be somebody's page: its bytes tell.
            let manifest = upstream.manifest(repository, &Reference::Digest(digest), "*/*").await?;
            Ok(Some(manifest.bytes.len() as u64))
        }
    }
}
