//! Whether the store can be used, and if not, why.

use std::io;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::error::NotStored;
use super::lock;
use super::metrics::StoreMetrics;

/// Counted from the start: how long those wait who come before the store is open.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the same trouble is told.
const SAY_AGAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Usable,
    Trouble(NotStored, String),
    Closed,
}

/// The last trouble that was told.
#[derive(Debug)]
struct Said {
    text: String,
    at: Instant,
    over: bool,
}

/// The state of the store as a whole.
#[derive(Debug)]
pub(super) struct Health {
    since: Instant,
    state: Mutex<State>,
    decided: Condvar,
    said: Mutex<Option<Said>>,
    metrics: StoreMetrics,
}

impl Health {
    pub(super) fn new(metrics: StoreMetrics) -> Self {
        metrics.usable.set(0);
        Self {
            since: Instant::now(),
            state: Mutex::new(State::Opening),
            decided: Condvar::new(),
            said: Mutex::new(None),
            metrics,
        }
    }

    /// Whether it is not known yet how the store is.
    pub(super) fn is_opening(&self) -> bool {
        *lock(&self.state) == State::Opening
    }

    /// Whether it will be known soon. A disk that hangs keeps those waiting who come first, and nobody for ever.
    pub(super) fn is_about_to_open(&self) -> bool {
        self.since.elapsed() < PATIENCE && self.is_opening()
    }

    /// Nothing on disk is ours any more.
    pub(super) fn is_closed(&self) -> bool {
        *lock(&self.state) == State::Closed
    }

    /// Waits, not for long, until it is known how the store is.
    pub(super) fn wait(&self) {
        let left = PATIENCE.saturating_sub(self.since.elapsed());
        let state = lock(&self.state);
        let opened = self
            .decided
            .wait_timeout_while(state, left, |state| *state == State::Opening);
        drop(opened);
    }

    /// Whether something can be stored.
    pub(super) fn check(&self) -> Result<(), NotStored> {
        match &*lock(&self.state) {
            State::Usable => Ok(()),
            State::Trouble(reason, _) => Err(*reason),
            State::Opening | State::Closed => Err(NotStored::Unusable),
        }
    }

    /// Why nothing can be stored, for people.
    pub(super) fn trouble(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Usable => None,
            State::Opening => Some("the store is being opened".to_owned()),
            State::Closed => Some("the store is closed".to_owned()),
            State::Trouble(_, text) => Some(text.clone()),
        }
    }

    /// A system call failed: nothing is stored until it is known to go again.
    pub(super) fn fail(&self, doing: &str, error: &io::Error) -> NotStored {
        let reason = NotStored::from_io(error);
        self.set_trouble(reason, format!("{doing}: {error}"));
        reason
    }

    pub(super) fn set_trouble(&self, reason: NotStored, text: String) {
        let mut state = lock(&self.state);
        if *state == State::Closed {
            return;
        }
        let mut said = lock(&self.said);
        // A trouble that comes and goes is told once a minute.
        if said
            .as_ref()
            .is_none_or(|said| said.text != text || said.at.elapsed() > SAY_AGAIN)
        {
            tracing::warn!(reason = %text, "nothing is stored for the time being");
            *said = Some(Said {
                text: text.clone(),
                at: Instant::now(),
                over: false,
            });
        }
        drop(said);
        *state = State::Trouble(reason, text);
        self.metrics.usable.set(0);
        self.decided.notify_all();
    }

    pub(super) fn set_usable(&self) {
        let mut state = lock(&self.state);
        match *state {
            State::Usable | State::Closed => return,
            State::Opening | State::Trouble(..) => {}
        }
        if let Some(said) = lock(&self.said).as_mut().filter(|said| !said.over) {
            said.over = true;
            tracing::info!("the store is usable again");
        }
        *state = State::Usable;
        self.metrics.usable.set(1);
        self.decided.notify_all();
    }

    pub(super) fn set_closed(&self) {
        *lock(&self.state) = State::Closed;
        self.metrics.usable.set(0);
        self.decided.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_hangs_at_the_start_does_not_keep_everybody_waiting() {
        let mut health = Health::new(StoreMetrics::default());
        assert!(health.is_about_to_open());
        health.since = health.since.checked_sub(PATIENCE).unwrap();
        let begun = Instant::now();
        health.wait();
        assert!(begun.elapsed() < PATIENCE / 2);
        assert!(!health.is_about_to_open() && health.is_opening());
    }
}
