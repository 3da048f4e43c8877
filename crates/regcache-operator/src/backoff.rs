//! How long to wait before an object that failed is looked at again.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::Class;

/// The first delay.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(300);

/// Consecutive failures of each object.
#[derive(Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
    random: RandomState,
}

impl Backoff {
    /// The delay before `key` is tried again, after one more failure of `class`: from 1 s doubling to 5 min, each with
    /// up to a quarter less or more, so that what failed together is not retried together.
    pub fn failed(&self, key: &str, class: Class) -> Duration {
        let failures = {
            let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let failures = all.entry(key.to_owned()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        let delay = match class {
            // A watch wakes us when the object changes; this is for causes that no watch shows (an admission policy).
            Class::Config => LONGEST,
            Class::Conflict | Class::Transient | Class::Denied => {
                FIRST.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST)
            }
        };
        let random = self.random.hash_one((key, failures));
        // 0..=1023 of 2048 in addition to three quarters.
        let share = u32::try_from(random % 1024).unwrap_or_default();
        delay * 3 / 4 + delay * share / 2048
    }

    /// Forgets the failures of `key`.
    pub fn reset(&self, key: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Objects of `controller` whose last attempt failed: those with keys `controller/...`.
    pub fn waiting(&self, controller: &str) -> usize {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .keys()
            .filter(|key| key.split('/').next() == Some(controller))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes_and_start_again_after_success() {
        let backoff = Backoff::default();
        let within = |delay: Duration, seconds: u64| {
            let middle = Duration::from_secs(seconds);
            assert!(
                delay >= middle * 3 / 4 && delay <= middle * 5 / 4,
                "{delay:?} is not about {middle:?}"
            );
        };
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            within(backoff.failed("x/a", Class::Transient), seconds);
        }
        within(backoff.failed("x/b", Class::Conflict), 1);
        within(backoff.failed("y/c", Class::Config), 300);
        assert_eq!((backoff.waiting("x"), backoff.waiting("y")), (2, 1));
        backoff.reset("x/a");
        within(backoff.failed("x/a", Class::Denied), 1);
    }
}
