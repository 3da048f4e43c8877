//! Digests that no cache could deliver a moment ago: asked for again, they are 503 at once, so that containerd gets the
//! rest from the registry itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regcache_transfer::Digest;
use tokio::time::Instant;

/// A bounded memory of (upstream, digest), each for a while.
pub(super) struct Sick {
    until: Mutex<HashMap<(String, Digest), Instant>>,
    keep: Duration,
    room: usize,
}

impl Sick {
    pub(super) fn new(keep: Duration, room: usize) -> Self {
        Self {
            until: Mutex::default(),
            keep,
            room,
        }
    }

    pub(super) fn remember(&self, upstream: &str, digest: Digest) {
        let now = Instant::now();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= self.room {
            until.retain(|_, until| *until > now);
        }
        // All of the same age limit: the one that ends first is the oldest.
        if until.len() >= self.room
            && let Some(oldest) = until
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(key, _)| key.clone())
        {
            until.remove(&oldest);
        }
        until.insert((upstream.to_owned(), digest), now + self.keep);
    }

    pub(super) fn contains(&self, upstream: &str, digest: Digest) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until
            .get(&(upstream.to_owned(), digest))
            .is_some_and(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn digest_is_forgotten_in_time_and_known_for_its_upstream_only() {
        let sick = Sick::new(Duration::from_secs(60), 10);
        let digest = Digest::sha256(b"a");
        sick.remember("docker.io", digest);
        assert!(sick.contains("docker.io", digest));
        assert!(!sick.contains("ghcr.io", digest) && !sick.contains("docker.io", Digest::sha256(b"b")));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(!sick.contains("docker.io", digest));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_drops_the_oldest() {
        let sick = Sick::new(Duration::from_secs(60), 3);
        for byte in 0..5_u8 {
            sick.remember("docker.io", Digest::sha256(&[byte]));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let known = |byte: u8| sick.contains("docker.io", Digest::sha256(&[byte]));
        assert_eq!([0, 1, 2, 3, 4].map(known), [false, false, true, true, true]);
    }
}
