//! How long and how much: every number of a fill in one place.

use std::time::Duration;

use regcache_transfer::Limits;

/// The limits of fills and of those who read them. [`FillLimits::default`] is what the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillLimits {
    /// How long one source may take until its headers are there. Half of `start`, so that a silent connection leaves
    /// the other one time.
    pub headers: Duration,
    /// How long a body may be waited for before the fill goes on by Range from the next source.
    pub stall: Duration,
    /// How long a client may wait for the size and the first bytes, its turn at upstream included. Below the 5 s after
    /// which a node's gateway takes a cache that is silent about a blob for sick.
    pub start: Duration,
    /// How long a reader may wait for [`FillLimits::progress`] bytes. Below the gateway's 5 s: a short end says
    /// "upstream is sick", silence would say "this cache is".
    pub gap: Duration,
    /// The least number of bytes that counts as moving, for upstream within `stall` and for a reader within `gap`.
    pub progress: u64,
    /// For how long a blob whose bytes were wrong, or whose fill does not move, is answered "not now" at once.
    pub rest: Duration,
    /// For how long a fill tries again while nothing comes.
    pub patience: Duration,
    /// The wait after the first round that failed; doubles with each further one.
    pub backoff: Duration,
    /// The longest wait between two rounds.
    pub backoff_max: Duration,
    /// Blobs up to this many bytes are verified before their first byte is given out.
    pub small: u64,
    /// Of larger blobs this many bytes at the end are held back until the digest is right.
    pub hold_back: u64,
    /// A range that begins no further than this ahead of the fill waits for it. One that is no longer than this, and
    /// begins further ahead, is fetched at once: it costs upstream little.
    pub near: u64,
    /// A longer range further ahead waits this long for the fill to begin and show how fast it is.
    pub measure: Duration,
    /// A range that the fill will have reached within this time waits for it.
    pub soon: Duration,
    /// How many ranges of one blob may be fetched for one client each while it is being filled. Further ones wait for
    /// a place or for the fill, whichever is first.
    pub aside: usize,
    /// Bytes that come within this time are published together, so that readers wake up less often. Not the first.
    pub linger: Duration,
    /// This many bytes are published at once however quickly they came. Twice as many are in memory at most.
    pub batch: usize,
    /// For how long a blob that the store did not take is streamed through without asking the store again.
    pub unkept: Duration,
}

impl Default for FillLimits {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(2),
            stall: Duration::from_secs(2),
            start: Duration::from_secs(4),
            gap: Duration::from_secs(4),
            progress: 1024,
            rest: Duration::from_secs(60),
            patience: Duration::from_secs(300),
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(15),
            small: 1024 * 1024,
            hold_back: 64 * 1024,
            near: 1024 * 1024,
            measure: Duration::from_millis(300),
            soon: Duration::from_secs(1),
            aside: 4,
            linger: Duration::from_millis(5),
            batch: 256 * 1024,
            unkept: Duration::from_secs(10),
        }
    }
}

impl FillLimits {
    /// For a fill: as patient as it is, and a source that ignores Range is read from its beginning again.
    pub(super) fn fill(&self) -> Limits {
        Limits {
            headers: self.headers,
            stall: self.stall,
            progress: self.progress,
            start: self.patience,
            gap: self.patience,
            verify_whole: 0,
            hold_back: 0,
            skip: u64::MAX,
            again: 1,
        }
    }

    /// For one client's own fetch: as long as that client may wait.
    pub(super) fn bypass(&self, start: Duration) -> Limits {
        Limits {
            headers: self.headers,
            stall: self.stall,
            progress: self.progress,
            start,
            gap: self.gap,
            verify_whole: self.small,
            hold_back: self.hold_back,
            ..Limits::default()
        }
    }
}
