//! Images for tests: bytes that do not repeat, and the manifests that name them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// New bytes, other ones at each call.
pub fn fresh(size: usize) -> Vec<u8> {
    static SEED: AtomicU64 = AtomicU64::new(0x9E37_79B9_7F4A_7C15);
    let mut state = SEED.fetch_add(0x2545_F491_4F6C_DD1D, Ordering::Relaxed) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// An image: its blobs (the config first) and its manifest.
#[derive(Clone)]
pub struct Image {
    pub blobs: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
}

impl Image {
    /// Layers of these sizes.
    pub fn of(layers: &[usize]) -> Self {
        let mut blobs = vec![fresh(300)];
        blobs.extend(layers.iter().map(|size| fresh(*size)));
        let describe = |kind: &str, bytes: &Vec<u8>| -> Value {
            json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
        };
        let layers: Vec<Value> = blobs[1..]
            .iter()
            .map(|layer| describe("application/vnd.oci.image.layer.v1.tar", layer))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": describe("application/vnd.oci.image.config.v1+json", &blobs[0]), "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        Self { blobs, manifest }
    }

    /// The digest of a layer, from 0.
    pub fn layer(&self, index: usize) -> String {
        digest(&self.blobs[index + 1])
    }
}
