//! How often a file that others keep changing is written again: rarer each time, so that nobody is fought.

use std::time::{Duration, Instant};

/// From the first repair to the second; twice as long each time after it.
const FIRST: Duration = Duration::from_secs(5);
/// The longest time between two.
const MOST: Duration = Duration::from_secs(600);
/// Left alone for this long, a change is news again.
const CALM: Duration = Duration::from_secs(1200);

/// The repairs of one file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repair {
    last: Option<Instant>,
    count: u32,
}

impl Repair {
    /// Whether it is time.
    pub fn may(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| {
            let wait = FIRST
                .saturating_mul(2_u32.saturating_pow(self.count.saturating_sub(1)))
                .min(MOST);
            now.saturating_duration_since(last) >= wait
        })
    }

    /// Whether the next one is the first after a long calm.
    pub fn is_first(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= CALM)
    }

    /// One was made.
    pub fn done(&mut self, now: Instant) {
        self.count = if self.is_first(now) {
            1
        } else {
            self.count.saturating_add(1)
        };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_become_rarer_and_a_calm_ends_it() {
        let mut now = Instant::now();
        let mut repair = Repair::default();
        let mut gaps = Vec::new();
        for _ in 0..12 {
            let begin = now;
            while !repair.may(now) {
                now += Duration::from_secs(1);
            }
            gaps.push((now - begin).as_secs());
            repair.done(now);
        }
        assert_eq!(gaps, [0, 5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600]);
        now += CALM;
        assert!(repair.is_first(now));
        repair.done(now);
        assert!(repair.may(now + FIRST));
    }
}
