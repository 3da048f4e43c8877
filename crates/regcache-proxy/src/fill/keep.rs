//! What a fill needs to know of a store, so that tests can put one in its place whose disk is full.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use regcache_transfer::{Digest, Hasher};

use crate::store::{Blob, NotStored, Partial, Store};

/// A place that blobs are kept in.
pub(super) trait Keep: Send + Sync + 'static {
    /// The blob, when it is there whole. Counts as a use.
    fn blob<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Blob>>;
    /// How long the blob is to become of which an earlier fill left a part.
    fn left(&self, digest: &Digest) -> Option<u64>;
    /// Makes room for a blob of `total` bytes, and takes up what an earlier fill left of it.
    fn begin<'a>(&'a self, digest: &'a Digest, total: u64) -> BoxFuture<'a, Result<Box<dyn Growing>, NotStored>>;
}

/// A blob that is being written. Dropped: what is there is kept for the next fill.
pub(super) trait Growing: Send {
    /// How many bytes are there.
    fn len(&self) -> u64;
    /// The file, open for reading. Bytes that have been written never change.
    fn file(&self) -> Arc<File>;
    /// A hasher that has taken in the bytes that were there at first.
    fn hasher(&self) -> Hasher;
    /// Writes the next bytes. After an error the bytes before this call are still there to be read.
    fn append(&mut self, bytes: Vec<Bytes>) -> BoxFuture<'_, Result<(), NotStored>>;
    /// The bytes are all there and right: keeps them for good.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Blob, NotStored>>;
    /// The bytes are wrong: forgets them.
    fn discard(self: Box<Self>) -> BoxFuture<'static, ()>;
}

impl Keep for Arc<Store> {
    fn blob<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Blob>> {
        Store::blob(self, digest).boxed()
    }

    fn left(&self, digest: &Digest) -> Option<u64> {
        Store::left(self, digest)
    }

    fn begin<'a>(&'a self, digest: &'a Digest, total: u64) -> BoxFuture<'a, Result<Box<dyn Growing>, NotStored>> {
        async move {
            let partial = Store::begin(self, digest, total).await?;
            Ok(Box::new(partial) as Box<dyn Growing>)
        }
        .boxed()
    }
}

impl Growing for Partial {
    fn len(&self) -> u64 {
        Self::len(self)
    }

    fn file(&self) -> Arc<File> {
        Self::file(self)
    }

    fn hasher(&self) -> Hasher {
        Self::hasher(self)
    }

    fn append(&mut self, bytes: Vec<Bytes>) -> BoxFuture<'_, Result<(), NotStored>> {
        Self::append(self, bytes).boxed()
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Blob, NotStored>> {
        Self::commit(*self).boxed()
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        Self::discard(*self).boxed()
    }
}
