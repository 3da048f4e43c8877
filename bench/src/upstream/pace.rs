//! A rate that all connections share, as a link would be shared.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How far the link may run ahead after it was idle: a little more than a timer's grain.
const SLACK: Duration = Duration::from_millis(4);

/// The link: who asks first goes first, each for a small piece, so that everybody gets a like share.
pub struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Pace {
    /// A link of this rate; 0 is no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Returns when so many bytes may go.
    pub async fn pass(&self, bytes: usize) {
        if self.bytes_per_second == 0 {
            return;
        }
        let nanoseconds = bytes as u64 * 1_000_000_000 / self.bytes_per_second;
        let turn = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = (*free_at).max(now.checked_sub(SLACK).unwrap_or(now));
            *free_at = turn + Duration::from_nanos(nanoseconds);
            turn
        };
        if turn > Instant::now() {
            sleep_until(turn).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_connections_share_the_rate() {
        let (pace, began) = (Pace::new(1 << 20), Instant::now());
        let half = async {
            for _ in 0..64 {
                pace.pass(16 << 10).await;
            }
            began.elapsed()
        };
        let other = async {
            for _ in 0..64 {
                pace.pass(16 << 10).await;
            }
            began.elapsed()
        };
        let (one, two) = tokio::join!(half, other);
        for took in [one, two] {
            assert!((1.9..2.1).contains(&took.as_secs_f64()), "{took:?}");
        }
    }
}
