//! Fair places among the parallel transfers of one upstream.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::Meter;

/// The places. Whoever waits longest is next.
#[derive(Debug)]
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    meter: Meter,
}

impl Turns {
    pub(crate) fn new(places: usize, meter: Meter) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            meter,
        }
    }

    pub(crate) async fn take(&self) -> Turn {
        let waiting = self.meter.waiting();
        // Never closed, so there always is a place in the end.
        let place = self.places.clone().acquire_owned().await.ok();
        drop(waiting);
        Turn {
            _place: place,
            _counted: self.meter.transferring(),
        }
    }
}

/// A place, free again when dropped.
#[derive(Debug)]
#[must_use = "the place is free again as soon as this is dropped"]
pub struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _counted: super::metrics::Counted,
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn places_are_given_in_the_order_of_asking() {
        let turns = Turns::new(1, Meter::default());
        let first = turns.take().await;
        let mut second = pin!(turns.take());
        let mut third = pin!(turns.take());
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_pending());
        drop(first);
        assert!(poll!(&mut third).is_pending(), "who came later waits longer");
        let second = second.await;
        assert!(poll!(&mut third).is_pending());
        drop(second);
        let _third = third.await;
    }

    #[tokio::test]
    async fn one_who_leaves_the_queue_keeps_nobody_waiting() {
        let turns = Turns::new(0, Meter::default());
        let first = turns.take().await;
        {
            let mut second = pin!(turns.take());
            assert!(poll!(&mut second).is_pending());
        }
        drop(first);
        let _third = turns.take().await;
    }
}
