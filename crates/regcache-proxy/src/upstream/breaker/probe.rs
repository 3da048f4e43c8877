//! Asks an upstream that rests again and again, until it answers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Breaker;

/// Asks once: well, or not, and how long to be quiet when upstream said so.
pub(crate) type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), Option<Duration>>> + Send + Sync>;

/// From one question to the next: an upstream is found well within a second.
const EVERY: Duration = Duration::from_millis(500);
/// How long one question may take; the next ones do not wait for it.
const LIMIT: Duration = Duration::from_secs(4);
/// Nobody has wanted anything for so long: whoever comes next finds out.
const UNWANTED: Duration = Duration::from_secs(300);

enum Step {
    Ask,
    Wait,
    Stop,
}

/// Starts asking; says whether it could. Ends with the rest, or with the breaker.
pub(super) fn start(breaker: &Arc<Breaker>) -> bool {
    let task = run(Arc::downgrade(breaker));
    tokio::runtime::Handle::try_current().is_ok_and(|runtime| {
        runtime.spawn(task);
        true
    })
}

async fn run(breaker: Weak<Breaker>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let Some(breaker) = breaker.upgrade() else { return };
                match breaker.step() {
                    Step::Ask => asking.push(timeout(LIMIT, (breaker.probe)())),
                    Step::Wait => {}
                    Step::Stop => return,
                }
            }
            Some(Ok(result)) = asking.next(), if !asking.is_empty() => {
                let Some(breaker) = breaker.upgrade() else { return };
                breaker.probed(result);
            }
        }
    }
}

impl Breaker {
    fn step(&self) -> Step {
        let now = Instant::now();
        let mut state = self.state();
        if !state.reach.begun() || state.wanted + UNWANTED < now {
            state.probing = false;
            Step::Stop
        } else if state.reach.quiet(now) {
            Step::Wait
        } else {
            Step::Ask
        }
    }

    fn probed(&self, result: Result<(), Option<Duration>>) {
        let now = Instant::now();
        let mut state = self.state();
        match result {
            Ok(()) => {
                state.heard = Some(now);
                self.well(&mut state);
            }
            Err(Some(asked)) if state.reach.begun() => {
                state.reach.begin(now, Some(asked));
            }
            Err(_) => {}
        }
    }
}
