//! A repository of an upstream as a fill sees it.

use std::sync::Arc;

use futures::future::BoxFuture;
use regcache_transfer::{Digest, Source};

use crate::fill::Origin;
use crate::names::Repository;
use crate::upstream::Upstream;

/// Where a repository's blobs come from.
pub(super) struct RepositoryOrigin {
    pub(super) upstream: Arc<Upstream>,
    pub(super) repository: Repository,
}

impl Origin for RepositoryOrigin {
    fn upstream(&self) -> &Arc<str> {
        self.upstream.host()
    }

    fn sources(&self, digest: &Digest) -> Vec<Arc<dyn Source>> {
        self.upstream.blob(&self.repository, digest)
    }

    fn turn(&self) -> BoxFuture<'static, Box<dyn Send>> {
        let upstream = self.upstream.clone();
        Box::pin(async move { Box::new(upstream.turn().await) as Box<dyn Send> })
    }
}
