//! Which blobs are set aside for a while, and until when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regcache_transfer::Digest;
use tokio::time::Instant;

/// One blob of one upstream: what is fetched once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The upstream's host.
    pub(super) upstream: Arc<str>,
    /// The blob.
    pub(super) digest: Digest,
}

/// Blobs that rest. As many as failed within the time of one rest: what is over is forgotten when another one comes.
#[derive(Debug, Default)]
pub(super) struct Resting(Mutex<HashMap<Key, Instant>>);

impl Resting {
    /// Rests from now on for `time`. One that rests already is not prolonged: many readers end at about the same time,
    /// and the last of them must not count for more than the first.
    pub(super) fn begin(&self, key: &Key, time: Duration) {
        let now = Instant::now();
        let mut until = self.lock();
        until.retain(|_, until| *until > now);
        until.entry(key.clone()).or_insert(now + time);
    }

    /// Is well again.
    pub(super) fn end(&self, key: &Key) {
        self.lock().remove(key);
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.lock().get(key).is_some_and(|until| *until > Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rest_ends_by_itself_or_when_told_and_is_not_prolonged() {
        let key = |text: &str| Key {
            upstream: text.into(),
            digest: Digest::sha256(b"x"),
        };
        let (a, b) = (key("a"), key("b"));
        let resting = Resting::default();
        resting.begin(&a, Duration::from_secs(60));
        resting.begin(&b, Duration::from_secs(60));
        resting.end(&b);
        assert!(resting.contains(&a) && !resting.contains(&b));
        tokio::time::advance(Duration::from_secs(59)).await;
        resting.begin(&a, Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!resting.contains(&a));
        resting.begin(&b, Duration::from_secs(60));
        assert_eq!(resting.lock().len(), 1, "what is over is forgotten");
    }
}
