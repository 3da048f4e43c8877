//! What a fill needs to know of a store.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use regcache_transfer::{Digest, Hasher};

/// A blob that is there whole, its digest checked.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes from offset 0; stays readable when the store gives the blob up.
    pub file: Arc<File>,
}

/// The store does not keep this blob, or not any more. The text is for logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not stored: {0}")]
pub struct NotKept(pub String);

/// A place that blobs are kept in.
pub trait Keep: Send + Sync + 'static {
    /// The blob, when it is there whole. Counts as a use.
    fn blob<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Stored>>;
    /// Makes room for a blob of `total` bytes, and takes up what an earlier fill left of it.
    fn begin<'a>(&'a self, digest: &'a Digest, total: u64) -> BoxFuture<'a, Result<Box<dyn Growing>, NotKept>>;
}

/// A blob that is being written. Dropped: what is there is kept for the next fill.
#[expect(clippy::len_without_is_empty, reason = "a length to go on from, not a collection")]
pub trait Growing: Send + Sync {
    /// How many bytes are there.
    fn len(&self) -> u64;
    /// The file, open for reading. Bytes below `len` never change.
    fn file(&self) -> Arc<File>;
    /// A hasher that has taken in the bytes that are there.
    fn hasher(&self) -> Hasher;
    /// Writes the next bytes. After an error the bytes before this call are still there to be read.
    fn append(&mut self, bytes: Vec<Bytes>) -> BoxFuture<'_, Result<(), NotKept>>;
    /// The bytes are all there and right: keeps them for good.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Stored, NotKept>>;
    /// The bytes are wrong: forgets them.
    fn discard(self: Box<Self>) -> BoxFuture<'static, ()>;
}
