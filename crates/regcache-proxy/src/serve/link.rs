//! What the parts of one connection share: the bodies above hyper and the socket below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use super::ghost::Ledger;

/// Shared by a connection's socket, its requests and their bodies. All of them run on one task for HTTP/1.1; on HTTP/2
/// only the counters are used.
#[derive(Default)]
pub(super) struct Link {
    pub(super) ledger: Arc<Ledger>,
    /// Requests so far.
    requests: AtomicU64,
    /// Requests whose answers are not at their end.
    active: AtomicUsize,
    /// Requests, and steps of answers that HTTP/2 has taken.
    steps: AtomicU64,
    /// How often everything that hyper had was written.
    flushes: AtomicU64,
    flushed: AtomicWaker,
}

/// A request, until its answer is at its end.
pub(super) struct Active(Arc<Link>);

impl Link {
    pub(super) fn begin(self: &Arc<Self>) -> Active {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.note_step();
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn note_step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::Relaxed) == 0
    }

    pub(super) fn note_flush(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.flushed.wake();
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Ready when everything has been written once more than `since`.
    pub(super) fn poll_flushed(&self, since: u64, cx: &Context<'_>) -> Poll<()> {
        self.flushed.register(cx.waker());
        if self.flushes() > since {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
