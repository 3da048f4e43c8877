//! How often upstream is asked about one tag, however many want to know.
//!
//! Whoever asks while a question is on its way shares its answer. That alone lets a herd that is spread over a second
//! cost a question for each round trip. An answer that is a moment old must not be given out instead: with `maxAge: 0s`
//! a client that pulls after a push is promised what was pushed, and a node that gets yesterday's image for today's tag
//! keeps it. So the next question waits until the last one is a quarter of a second old, and everybody who comes until
//! then waits for it, too: their answer is from after they asked, and upstream hears of a tag four times a second at
//! most. One client alone never waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// From one question about a tag to the next. A fraction of what a pull takes, and of the time that a client waits
/// for an upstream that is silent.
pub const APART: Duration = Duration::from_millis(250);

/// When each tag was last asked about, or is going to be.
pub struct Pace<K> {
    asked: Mutex<HashMap<K, Instant>>,
    most: usize,
}

impl<K: Hash + Eq + Clone> Pace<K> {
    /// Remembers at most so many; what does not fit is asked about at once.
    pub fn new(most: usize) -> Self {
        let asked = Mutex::default();
        Self { asked, most }
    }

    /// When the next question about it may be sent. To be called once for each question.
    pub fn next(&self, key: &K) -> Instant {
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let next = asked.get(key).map_or(now, |last| now.max(*last + APART));
        if asked.len() >= self.most {
            asked.retain(|_, last| *last + APART > now);
        }
        if asked.len() < self.most {
            asked.insert(key.clone(), next);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_questions_about_the_same_are_kept_apart() {
        let (pace, now) = (Pace::new(9), Instant::now());
        assert_eq!((pace.next(&"a"), pace.next(&"b")), (now, now));
        assert_eq!(pace.next(&"a"), now + APART);
        advance(APART * 3).await;
        assert_eq!(pace.next(&"a"), now + APART * 3, "one that comes later does not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_nobody_waits_for_that() {
        let (pace, now) = (Pace::new(2), Instant::now());
        for key in 0..5 {
            assert_eq!(pace.next(&key), now);
        }
        assert_eq!(pace.asked.lock().unwrap().len(), 2);
        advance(APART).await;
        assert_eq!(pace.next(&7), now + APART);
        assert_eq!(pace.next(&7), now + APART * 2);
    }
}
