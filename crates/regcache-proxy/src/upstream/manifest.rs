//! Manifests: what they are, and their bytes, checked.

use bytes::Bytes;
use regcache_transfer::Digest;

/// What a reference is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `None`: upstream did not say; it takes a GET to know.
    pub digest: Option<Digest>,
    /// Without parameters.
    pub media_type: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// A manifest whose bytes have the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The one asked for, else the one that upstream said, else the SHA-256 of the bytes.
    pub digest: Digest,
    /// Without parameters.
    pub media_type: Option<String>,
    /// All of it.
    pub bytes: Bytes,
}
