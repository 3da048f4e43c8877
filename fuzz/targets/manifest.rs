//! Manifests: any bytes give a bounded number of digests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcache_proxy::manifests::Contents;

fuzz_target!(|bytes: &[u8]| {
    let contents = Contents::read(bytes);
    assert!(contents.blobs.len() + contents.manifests.len() <= bytes.len());
});
