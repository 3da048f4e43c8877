//! What is pulled: blobs of made-up bytes, and images of them.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The largest blob that can be made.
pub const LARGEST: usize = 32 << 20;
/// The media type of every manifest here.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A blob: eight bytes of its own, then bytes that it shares with the others, so that many large ones need no memory.
#[derive(Clone)]
pub struct Blob {
    /// `sha256:...` of all its bytes.
    pub digest: Arc<str>,
    own: Bytes,
    shared: Bytes,
}

impl Blob {
    /// The blob with this number; different numbers give different blobs. `size` is at least 8 and at most [`LARGEST`].
    pub fn numbered(number: u64, size: usize) -> Self {
        let own = Bytes::copy_from_slice(&number.to_be_bytes());
        let shared = noise().slice(..size.clamp(own.len(), LARGEST) - own.len());
        Self::of(own, shared)
    }

    fn of(own: Bytes, shared: Bytes) -> Self {
        let digest = format!(
            "sha256:{}",
            hex::encode(Sha256::new().chain_update(&own).chain_update(&shared).finalize())
        );
        Self {
            digest: digest.into(),
            own,
            shared,
        }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared.len()
    }

    /// All of it, from an offset on, in pieces.
    pub fn from(&self, offset: usize) -> [Bytes; 2] {
        let own = self.own.len();
        [
            self.own.slice(offset.min(own)..),
            self.shared.slice(offset.saturating_sub(own).min(self.shared.len())..),
        ]
    }
}

/// An image: a manifest, the config (first) and layers.
#[derive(Clone)]
pub struct Image {
    /// Its repository, without a registry.
    pub repository: String,
    /// The tag that leads to it.
    pub tag: String,
    /// The manifest, as a blob for its digest's sake.
    pub manifest: Blob,
    /// Config, then layers.
    pub blobs: Vec<Blob>,
}

impl Image {
    /// An image of so many layers of this size. `number` sets its blobs apart from those of other images.
    pub fn new(repository: &str, number: u64, layers: usize, size: usize) -> Self {
        let first = number << 24;
        let config = Blob::numbered(first, 1500);
        let layers = (first + 1..).take(layers).map(|number| Blob::numbered(number, size));
        let blobs: Vec<Blob> = std::iter::once(config).chain(layers).collect();
        let descriptors: Vec<_> = blobs
            .iter()
            .enumerate()
            .map(|(place, blob)| {
                let what = if place == 0 {
                    "config.v1+json"
                } else {
                    "layer.v1.tar+gzip"
                };
                let media_type = format!("application/vnd.oci.image.{what}");
                json!({"mediaType": media_type, "digest": &*blob.digest, "size": blob.len()})
            })
            .collect();
        let (config, layers) = descriptors.split_first().unzip();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        Self {
            repository: repository.to_owned(),
            tag: "latest".to_owned(),
            manifest: Blob::of(Bytes::new(), manifest.to_string().into()),
            blobs,
        }
    }

    /// The bytes of config and layers together.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.len() as u64).sum()
    }
}

/// Bytes that do not compress, the same in every run.
fn noise() -> &'static Bytes {
    static NOISE: OnceLock<Bytes> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut bytes = BytesMut::with_capacity(LARGEST);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        while bytes.len() < LARGEST {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_from_an_offset_is_its_end() {
        let blob = Blob::numbered(7, 100);
        let whole = blob.from(0).concat();
        assert_eq!(whole.len(), blob.len());
        for offset in [0, 1, 8, 9, 99, 100] {
            assert_eq!(blob.from(offset).concat(), whole[offset..]);
        }
        assert_eq!(*blob.digest, format!("sha256:{}", hex::encode(Sha256::digest(whole))));
    }
}
