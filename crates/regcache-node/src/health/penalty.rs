//! A time-out that grows when it recurs.

use std::time::{Duration, Instant};

/// How long the first one lasts, how long any may last, and how long after one it is forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub first: Duration,
    pub most: Duration,
    pub forgotten: Duration,
}

/// One fault's time-out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Penalty {
    until: Option<Instant>,
    count: u32,
}

impl Penalty {
    /// Starts the time-out, twice as long as the one before. While one runs this changes nothing: requests that were
    /// in flight together tell of one fault, not of many.
    pub fn strike(&mut self, now: Instant, terms: Terms) {
        if self.is_active(now) {
            return;
        }
        let is_old = |until: Instant| now.saturating_duration_since(until) > terms.forgotten;
        if self.until.is_none_or(is_old) {
            self.count = 0;
        }
        let factor = 2_u32.saturating_pow(self.count);
        self.count = self.count.saturating_add(1);
        self.until = Some(now + terms.first.saturating_mul(factor).min(terms.most));
    }

    /// True while the time-out runs.
    pub fn is_active(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        first: Duration::from_secs(60),
        most: Duration::from_secs(600),
        forgotten: Duration::from_secs(600),
    };

    #[test]
    fn it_doubles_up_to_its_limit_and_is_forgotten() {
        let mut now = Instant::now();
        let mut penalty = Penalty::default();
        for seconds in [60, 120, 240, 480, 600, 600] {
            penalty.strike(now, TERMS);
            assert!(penalty.is_active(now + Duration::from_secs(seconds - 1)));
            now += Duration::from_secs(seconds);
            assert!(!penalty.is_active(now));
        }
        now += Duration::from_secs(601);
        penalty.strike(now, TERMS);
        assert!(!penalty.is_active(now + Duration::from_secs(60)));
    }

    #[test]
    fn many_reports_of_one_fault_are_one() {
        let now = Instant::now();
        let mut penalty = Penalty::default();
        for second in 0..10 {
            penalty.strike(now + Duration::from_secs(second), TERMS);
        }
        assert!(!penalty.is_active(now + Duration::from_secs(60)));
    }
}
