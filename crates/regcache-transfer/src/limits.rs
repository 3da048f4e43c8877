//! How long and how much: every number of a transfer in one place.

use std::time::Duration;

/// The limits of one transfer. [`Limits::default`] is what a node's gateway uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long one source may take until its headers are there. Below ten seconds, so that the first request to meet
    /// a silent source is delayed by no more than that.
    pub headers: Duration,
    /// How long a body may be waited for without [`Limits::progress`] bytes coming.
    pub stall: Duration,
    /// The least number of bytes in [`Limits::stall`] of waiting that counts as moving; a body that trickles slower
    /// is as good as a stalled one.
    pub progress: u64,
    /// All the time until the first byte can be given out, over all sources. Below the 30 s after which containerd
    /// gives up waiting for headers.
    pub start: Duration,
    /// All the time that a reader may wait for its next bytes in the middle of a body, over all sources, and while the
    /// end is held back.
    pub gap: Duration,
    /// Blobs up to this many bytes are read whole and verified before the first byte is given out.
    pub verify_whole: u64,
    /// Of larger blobs this many bytes at the end are held back until the digest is right.
    pub hold_back: u64,
    /// How many bytes of a source that ignores Range may be thrown away to get to the offset.
    pub skip: u64,
    /// How often a source whose body broke off after some bytes may be asked again, after all the others.
    pub again: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(9),
            stall: Duration::from_secs(5),
            progress: 1024,
            start: Duration::from_secs(20),
            gap: Duration::from_secs(10),
            verify_whole: 1024 * 1024,
            hold_back: 64 * 1024,
            skip: 64 * 1024 * 1024,
            again: 1,
        }
    }
}
