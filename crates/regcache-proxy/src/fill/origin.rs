//! What a fill needs to know of an upstream, and nothing about how it is reached.

use std::sync::Arc;

use futures::future::BoxFuture;
use regcache_transfer::{Digest, Source};

/// A repository of an upstream: where its blobs can be fetched.
pub trait Origin: Send + Sync + 'static {
    /// The upstream's host, as image names spell it. Fills of one upstream are shared by all its repositories.
    fn upstream(&self) -> &Arc<str>;
    /// The ways to the blob in the order to be tried: the connection that is kept alive, then a fresh one.
    fn sources(&self, digest: &Digest) -> Vec<Arc<dyn Source>>;
    /// A place among the transfers that the upstream is asked for at once. Given up when what comes is dropped.
    fn turn(&self) -> BoxFuture<'static, Box<dyn Send>>;
}
