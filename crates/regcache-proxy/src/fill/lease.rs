//! A turn at an upstream for as long as its client takes bytes: one that has stopped reading keeps nobody waiting.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn};
use tokio::time::{Instant, sleep_until};

/// What is held for a client, and given back early when that client does not ask for bytes for too long. It goes on
/// without then: a connection that nobody reads from moves nothing.
pub(super) struct Lease {
    held: Arc<Mutex<Held>>,
    watch: AbortHandle,
}

struct Held {
    what: Option<Box<dyn Send>>,
    /// Since when nothing has been asked for; `None`: it is being waited for.
    idle: Option<Instant>,
}

impl Lease {
    /// Holds `what` until this is dropped, or not used for `idle`.
    pub(super) fn new(what: Box<dyn Send>, idle: Duration) -> Self {
        let held = Arc::new(Mutex::new(Held {
            what: Some(what),
            idle: Some(Instant::now()),
        }));
        let watched = held.clone();
        let watch = spawn(async move {
            loop {
                let due = lock(&watched).idle.unwrap_or_else(Instant::now) + idle;
                sleep_until(due).await;
                let mut held = lock(&watched);
                if held.idle.is_some_and(|since| since.elapsed() >= idle) {
                    held.what = None;
                    return;
                }
            }
        });
        Self {
            held,
            watch: watch.abort_handle(),
        }
    }

    /// Its client waits for bytes.
    pub(super) fn asked(&self) {
        lock(&self.held).idle = None;
    }

    /// Its client has them.
    pub(super) fn answered(&self) {
        lock(&self.held).idle = Some(Instant::now());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.watch.abort();
        // The task goes when it has its turn, which may be later.
        lock(&self.held).what = None;
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
