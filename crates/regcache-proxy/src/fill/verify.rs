//! The end of a blob that one client fetches alone is held back until the digest of all of it is right.

use bytes::{Bytes, BytesMut};
use regcache_transfer::{Digest, Hasher};

/// All bytes came, and they are not what the digest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong;

/// Bytes on their way to a client that was promised the whole blob and has the first of them already.
pub(super) struct Verify {
    hasher: Option<Hasher>,
    digest: Digest,
    /// How many bytes may still be given out unverified.
    free: u64,
    /// How many bytes are still to come.
    left: u64,
    held: BytesMut,
}

impl Verify {
    /// `hasher` has taken in all but the last `left` bytes, of which `hold_back` are held back.
    pub(super) fn new(hasher: Hasher, digest: Digest, left: u64, hold_back: u64) -> Self {
        Self {
            hasher: Some(hasher),
            digest,
            free: left.saturating_sub(hold_back),
            left,
            held: BytesMut::new(),
        }
    }

    /// Takes the next bytes in; what comes out may be given out, and may be nothing.
    pub(super) fn pass(&mut self, mut chunk: Bytes) -> Result<Bytes, Wrong> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        self.left = self.left.saturating_sub(chunk.len() as u64);
        let free = usize::try_from(self.free).unwrap_or(usize::MAX).min(chunk.len());
        self.free -= free as u64;
        let open = chunk.split_to(free);
        self.held.extend_from_slice(&chunk);
        if self.left > 0 {
            return Ok(open);
        }
        if self.hasher.take().map(Hasher::finish) != Some(self.digest) {
            return Err(Wrong);
        }
        let mut all = BytesMut::from(&open[..]);
        all.unsplit(std::mem::take(&mut self.held));
        Ok(all.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(corrupt: Option<usize>) -> (Vec<u8>, bool) {
        let blob: Vec<u8> = (0..=255).collect();
        let digest = Digest::sha256(&blob);
        let mut hasher = digest.hasher();
        hasher.update(&blob[..100]);
        let mut verify = Verify::new(hasher, digest, 156, 64);
        let mut rest = blob[100..].to_vec();
        if let Some(at) = corrupt {
            rest[at] ^= 1;
        }
        let mut out = Vec::new();
        for chunk in rest.chunks(50) {
            match verify.pass(Bytes::copy_from_slice(chunk)) {
                Ok(bytes) => out.extend_from_slice(&bytes),
                Err(Wrong) => return (out, false),
            }
        }
        (out, true)
    }

    #[test]
    fn right_bytes_come_out_whole_and_wrong_ones_without_their_end() {
        let (all, right) = run(None);
        assert!(right && all.iter().copied().eq(100..=255));
        for at in [0, 91, 92, 155] {
            let (some, right) = run(Some(at));
            assert!(!right && some.len() == 92, "{at}: {}", some.len());
        }
    }
}
