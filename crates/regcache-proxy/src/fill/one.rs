//! What everybody who deals with one fetch shares: its state, and who is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};

use super::published::State;
use super::resting::Key;

/// One fetch of one blob.
pub(super) struct One {
    pub(super) key: Key,
    state: watch::Sender<State>,
    clients: AtomicU64,
    /// The store takes the blob from this fetch.
    writes: AtomicBool,
    /// Places for fetches beside this one, each for one client.
    pub(super) aside: Arc<Semaphore>,
    /// Somebody asked for a blob that could not be had: worth another try soon.
    pub(super) nudge: Notify,
}

impl One {
    pub(super) fn new(key: Key, aside: usize) -> Arc<Self> {
        Arc::new(Self {
            key,
            state: watch::Sender::new(State::Asking),
            clients: AtomicU64::new(0),
            writes: AtomicBool::new(false),
            aside: Arc::new(Semaphore::new(aside)),
            nudge: Notify::new(),
        })
    }

    /// Whoever holds what comes out counts as a reader: a fetch that is to stop goes on while there are any.
    pub(super) fn follow(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn publish(&self, state: State) {
        self.state.send_replace(state);
    }

    pub(super) fn modify(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    pub(super) fn total(&self) -> Option<u64> {
        self.state.borrow().total()
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(*self.state.borrow(), State::Asking)
    }

    pub(super) fn is_failing(&self) -> bool {
        matches!(*self.state.borrow(), State::Failing)
    }

    /// Whether the size is known, and nothing has come for so long.
    pub(super) fn is_stuck(&self, time: Duration) -> bool {
        matches!(&*self.state.borrow(), State::Growing(growth) if growth.moved.elapsed() >= time)
    }

    /// A client was given an answer.
    pub(super) fn served(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn clients(&self) -> u64 {
        self.clients.load(Ordering::Relaxed)
    }

    pub(super) fn set_writes(&self) {
        self.writes.store(true, Ordering::Relaxed);
    }

    /// Whether others that fetch the same blob elsewhere can read along.
    pub(super) fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// Done when nobody reads any more.
    pub(super) async fn deserted(&self) {
        self.state.closed().await;
    }
}
