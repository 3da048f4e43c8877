//! The contract between a node's helper and a cache of ours: the probe blob, and the report that a probe carries.
//!
//! The helper asks `GET /v2/` every two seconds; some of these requests carry its [`Report`] as headers, so that a
//! cache knows its nodes without anybody having to ask them. Now and then it asks for [`PATH`] on a new connection and
//! checks every byte: small answers pass where large ones stall (a broken path MTU, a dying disk).

use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest, Sha256};

mod report;

pub use report::{CONTAINERD, MAX_UPSTREAMS, NODE, PLAN, Report, UPSTREAMS, UpstreamReport};

/// Where a cache serves the probe blob; 503 there once it is shutting down.
pub const PATH: &str = "/.regcache/probe";

/// The probe blob's size, bytes: many packets, and more than the buffers of a socket that nobody reads from.
pub const SIZE: usize = 64 * 1024;

/// The probe blob's digest.
pub const DIGEST: &str = "sha256:eb222c76b4c3281e48184e814e65a29baef9a35f6ba82bfec46b82c10cafeb70";

/// What the blob is made from; another text makes another blob, so this never changes.
const SEED: &[u8] = b"regcache probe blob 1";

/// The probe blob: block `i` is the SHA-256 of [`SEED`] followed by `i` as four bytes, most significant first; 32 bytes
/// a block, from 0 on, [`SIZE`] bytes in all. Such bytes cannot be compressed, so a proxy in between cannot make a large
/// answer small, nor can any file but this one be right.
pub fn blob() -> Bytes {
    static BLOB: LazyLock<Bytes> = LazyLock::new(|| {
        let block = |number: u32| {
            Sha256::new()
                .chain_update(SEED)
                .chain_update(number.to_be_bytes())
                .finalize()
        };
        (0..).flat_map(block).take(SIZE).collect()
    });
    BLOB.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_is_the_same_in_every_version() {
        assert_eq!(blob().len(), SIZE);
        assert_eq!(format!("sha256:{}", hex::encode(Sha256::digest(blob()))), DIGEST);
    }
}
