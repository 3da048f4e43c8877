//! The file that a fill writes: hashed as it grows, published as far as it may be seen.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use regcache_transfer::{Digest, Hasher};
use tokio::time::Instant;

use super::keep::Growing;
use super::limits::FillLimits;
use super::published::{Adrift, Growth};

/// A blob on its way into the store.
pub(super) struct Writing {
    pub(super) growing: Box<dyn Growing>,
    pub(super) total: u64,
    /// Which try this is, see [`Growth::generation`].
    generation: u32,
    digest: Digest,
    /// Has taken in the first `hashed` bytes.
    hasher: Hasher,
    hashed: u64,
    /// Bytes before this offset may be seen before the digest is known to be right.
    free: u64,
    /// What has taken in exactly those.
    at_free: Option<Arc<Hasher>>,
    /// How many bytes an earlier fill had left.
    pub(super) found: u64,
    pace: Pace,
}

/// How fast bytes come: measured over a tenth of a second or more.
struct Pace {
    since: Instant,
    bytes: u64,
    rate: u64,
}

impl Writing {
    pub(super) fn new(
        growing: Box<dyn Growing>,
        (total, generation): (u64, u32),
        digest: Digest,
        limits: &FillLimits,
    ) -> Self {
        let (hasher, found) = (growing.hasher(), growing.len());
        let free = match total {
            small if small <= limits.small => 0,
            total => total.saturating_sub(limits.hold_back),
        };
        Self {
            at_free: (found == free).then(|| Arc::new(hasher.clone())),
            growing,
            total,
            generation,
            digest,
            hasher,
            hashed: found,
            free,
            found,
            pace: Pace {
                since: Instant::now(),
                bytes: 0,
                rate: 0,
            },
        }
    }

    /// The next byte needed.
    pub(super) fn at(&self) -> u64 {
        self.hashed
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.growing.file()
    }

    pub(super) fn is_full(&self) -> bool {
        self.hashed >= self.total
    }

    pub(super) fn is_right(&self) -> bool {
        self.hashed == self.total && self.hasher.clone().finish() == self.digest
    }

    /// Takes in bytes that have been written.
    pub(super) fn absorb(&mut self, chunks: &[Bytes]) {
        for chunk in chunks {
            let mut chunk = chunk.clone();
            let to_free = usize::try_from(self.free.saturating_sub(self.hashed)).unwrap_or(usize::MAX);
            if to_free > 0 && to_free <= chunk.len() {
                self.update(&chunk.split_to(to_free));
                self.at_free = Some(Arc::new(self.hasher.clone()));
            }
            self.update(&chunk);
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.hashed += bytes.len() as u64;
        self.pace.bytes += bytes.len() as u64;
    }

    /// What may be seen of it now.
    pub(super) fn growth(&mut self) -> Growth {
        Growth {
            generation: self.generation,
            total: self.total,
            file: self.file(),
            published: self.hashed.min(self.free),
            rate: self.pace.rate(),
            moved: Instant::now(),
        }
    }

    /// What is left to its readers when it cannot grow any more.
    pub(super) fn adrift(&self) -> Adrift {
        let (len, hasher) = if self.hashed < self.free {
            (self.hashed, Some(Arc::new(self.hasher.clone())))
        } else if self.free == 0 {
            (0, Some(Arc::new(self.digest.hasher())))
        } else {
            (self.free, self.at_free.clone())
        };
        Adrift {
            generation: self.generation,
            total: self.total,
            file: Some(self.file()),
            len,
            hasher,
        }
    }
}

impl Pace {
    fn rate(&mut self) -> u64 {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        if millis >= 100 {
            let now = self.bytes.saturating_mul(1000) / millis;
            self.rate = if self.rate == 0 { now } else { self.rate.midpoint(now) };
            self.bytes = 0;
            self.since = Instant::now();
        }
        self.rate
    }
}
