//! A time in which nothing is asked: how long it is, and what comes after it.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Most that upstream may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// How long everybody else waits for the one who tries after a pause.
const TRIAL: Duration = Duration::from_secs(1);

/// Off, on until a time, or over: then whoever comes first may try.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
    /// Failures in a row; each doubles the pause.
    failures: u32,
    /// Upstream named the time itself: no success ends it early.
    asked: bool,
    /// Somebody tries at the moment.
    trial: bool,
}

impl Pause {
    /// How much longer, when it is on.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Whether upstream asked for quiet and has it.
    pub(super) fn quiet(&self, now: Instant) -> bool {
        self.asked && self.remaining(now).is_some()
    }

    /// Whether it has begun and nothing good was heard since.
    pub(super) fn begun(&self) -> bool {
        self.until.is_some()
    }

    /// Lets a request through, or says how much longer to wait.
    pub(super) fn enter(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(remaining) = self.remaining(now) {
            return Err(remaining);
        }
        if self.until.is_some() {
            self.until = Some(now + TRIAL);
            self.asked = false;
            self.trial = true;
        }
        Ok(())
    }

    /// A failure; says whether it is a new one. Requests that were on their way together fail together, as one.
    pub(super) fn begin(&mut self, now: Instant, asked: Option<Duration>) -> bool {
        let asked = asked.map(|asked| asked.min(LONGEST_ASKED));
        let new = self.trial || self.remaining(now).is_none();
        if new {
            let length = FIRST.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
            self.failures += 1;
            self.trial = false;
            self.until = Some(now + length);
        }
        if let Some(asked) = asked {
            self.asked = true;
            self.until = self.until.max(Some(now + asked));
        }
        new
    }

    /// A success ends it, unless upstream asked for it; says whether there was anything to end.
    pub(super) fn clear(&mut self, now: Instant) -> bool {
        if self.quiet(now) {
            return false;
        }
        let begun = self.begun();
        *self = Self::default();
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_failed_try_doubles_the_pause_up_to_half_a_minute() {
        let mut now = Instant::now();
        let mut pause = Pause::default();
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(pause.enter(now), Ok(()));
            assert!(pause.begin(now, None));
            assert_eq!(pause.enter(now), Err(SECOND * expected));
            now += SECOND * expected;
        }
        assert_eq!(pause.enter(now), Ok(()));
        assert!(pause.clear(now));
        assert!(pause.begin(now, None));
        assert_eq!(pause.remaining(now), Some(SECOND), "a success forgets earlier failures");
    }

    #[test]
    fn what_fails_together_counts_once() {
        let now = Instant::now();
        let mut pause = Pause::default();
        assert!(pause.begin(now, None));
        assert!((0..50).all(|_| !pause.begin(now, None)));
        assert_eq!(pause.remaining(now), Some(SECOND));
    }

    #[test]
    fn only_one_may_try_after_a_pause() {
        let now = Instant::now();
        let mut pause = Pause::default();
        pause.begin(now, None);
        let now = now + SECOND;
        assert_eq!(pause.enter(now), Ok(()));
        assert_eq!(pause.enter(now), Err(TRIAL));
        assert_eq!(
            pause.enter(now + TRIAL),
            Ok(()),
            "one who tried and left without a word blocks nobody for long"
        );
    }

    #[test]
    fn a_time_that_upstream_named_is_kept_to_and_bounded() {
        let now = Instant::now();
        let mut pause = Pause::default();
        pause.begin(now, Some(SECOND * 20));
        assert!(!pause.clear(now + SECOND * 19));
        assert!(pause.clear(now + SECOND * 20));
        pause.begin(now, Some(SECOND * 100_000));
        assert_eq!(pause.remaining(now), Some(LONGEST_ASKED));
    }
}
