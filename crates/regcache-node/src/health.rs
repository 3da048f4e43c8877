//! Health of the caches: probes and real traffic in, today's order of caches out.
//!
//! A probe (`GET /v2/`) every two seconds on a kept-alive connection says who is there at all; what the gateway sees
//! of real requests says the rest. [`decide::order`] makes an order of both and is pure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use regcache_mirror::plan::{CacheRef, Plan};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::metrics::Metrics;
use crate::router::{Candidate, Outcome, Router};

mod decide;
mod observations;
mod penalty;
mod probe;
#[cfg(test)]
mod tests;

pub use observations::{Observations, Probed, Why};
pub use probe::{Probe, ProbeError};

/// Time from one probe of a cache to the next.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Knows the plan and what has been observed of its caches.
pub struct Tracker {
    state: Mutex<State>,
    changed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    plan: Arc<Plan>,
    observations: Observations,
}

impl Tracker {
    /// Knows no plan yet: every upstream is unknown.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            metrics,
        })
    }

    /// Follows another plan from the next request on. What is known of caches that stay is kept.
    pub fn set_plan(&self, plan: Arc<Plan>) {
        let mut state = self.state();
        state.observations.retain(&plan);
        state.plan = plan;
        drop(state);
        self.changed.notify_one();
    }

    /// Whether some cache of `upstream` may be used now; if none, why, cache by cache.
    pub fn usable(&self, upstream: &str) -> Result<(), String> {
        let now = Instant::now();
        let state = self.state();
        let Some(plan) = state.plan.upstream(upstream) else {
            return Err("the plan does not name it".into());
        };
        let mut reasons = Vec::new();
        for cache in &plan.caches {
            match state.observations.usable(upstream, cache, now) {
                Ok(()) => return Ok(()),
                Err(why) => reasons.push(format!("{} at {} {}", cache.name, cache.url, describe(why))),
            }
        }
        Err(reasons.join("; "))
    }

    /// Returns when a cache may have become usable or ceased to be.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn probed(&self, cache: &CacheRef, result: &Result<(), ProbeError>) {
        let probed = result.as_ref().err().map_or(Probed::Answered, ProbeError::probed);
        let news = self.state().observations.probed(cache, probed, Instant::now());
        self.metrics.probed(&cache.name, result.is_ok());
        if news {
            self.changed.notify_one();
        }
    }

    /// A panic while the lock was held leaves observations that are at worst one short.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router for Tracker {
    fn candidates(&self, upstream: &str) -> Option<Vec<Candidate>> {
        let state = self.state();
        let plan = state.plan.upstream(upstream)?;
        let order = decide::order(plan, &state.observations, Instant::now());
        Some(order.into_iter().map(candidate).collect())
    }

    fn observe(&self, upstream: &str, cache: &str, outcome: Outcome) {
        let mut state = self.state();
        let State { plan, observations } = &mut *state;
        let found = plan
            .upstream(upstream)
            .and_then(|plan| plan.caches.iter().find(|known| known.name == cache));
        // A request that began under an earlier plan says nothing of this one.
        let Some(found) = found else { return };
        let now = Instant::now();
        let before = observations.usable(upstream, found, now);
        observations.observed(upstream, found, outcome, now);
        let after = observations.usable(upstream, found, now);
        drop(state);
        self.metrics.observed(upstream, cache, outcome);
        if before.is_ok()
            && let Err(why) = after
        {
            tracing::warn!(upstream, cache, "cache {}, not used for now", describe(why));
        }
    }
}

fn candidate(cache: &CacheRef) -> Candidate {
    Candidate {
        name: cache.name.as_str().into(),
        url: cache.url.as_str().into(),
        ns: cache.ns,
    }
}

/// Continues "the cache ...".
fn describe(why: Why) -> &'static str {
    match why {
        Why::Unproven => "has not answered yet",
        Why::Down => "does not answer",
        Why::Flapping => "has just come back",
        Why::Silent => "let a request hang",
        Why::Corrupt => "sent wrong bytes",
        Why::Refusing => "answers with errors",
    }
}

/// Probes the caches of the current plan until `shutdown`; each cache by a task of its own, so that a slow one delays
/// nobody. Returns early when such a task has panicked: a cache that nobody asks any more would count as well for ever.
pub async fn run(tracker: Arc<Tracker>, mut plans: watch::Receiver<Option<Arc<Plan>>>, shutdown: CancellationToken) {
    let mut known: HashMap<(String, String), DropGuard> = HashMap::new();
    let mut probes = JoinSet::new();
    loop {
        let plan = plans.borrow_and_update().clone();
        if let Some(plan) = plan {
            tracker.set_plan(Arc::clone(&plan));
            let caches = || plan.upstreams.iter().flat_map(|upstream| &upstream.caches);
            known.retain(|key, _| caches().any(|cache| (&cache.name, &cache.url) == (&key.0, &key.1)));
            for cache in caches() {
                known.entry((cache.name.clone(), cache.url.clone())).or_insert_with(|| {
                    let token = shutdown.child_token();
                    probes.spawn(probe_for_ever(Arc::clone(&tracker), cache.clone(), token.clone()));
                    token.drop_guard()
                });
            }
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = plans.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return shutdown.cancelled().await,
                },
                // Those whose cache left the plan end well.
                Some(ended) = probes.join_next(), if !probes.is_empty() => if let Err(error) = ended {
                    tracing::error!(%error, "the probes of a cache ended by themselves");
                    return;
                },
            }
        }
    }
}

async fn probe_for_ever(tracker: Arc<Tracker>, cache: CacheRef, shutdown: CancellationToken) {
    let mut probe = match Probe::new(&cache.url) {
        Ok(probe) => probe,
        Err(error) => {
            tracing::warn!(cache = cache.name, %error, "the plan's address of a cache is of no use, cache not used");
            return;
        }
    };
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut was_up = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = probe.ask() => result,
        };
        if was_up != Some(result.is_ok()) {
            was_up = Some(result.is_ok());
            match &result {
                Ok(()) => tracing::info!(cache = cache.name, url = cache.url, "cache answers"),
                Err(error) => {
                    let error = error as &dyn std::error::Error;
                    tracing::warn!(cache = cache.name, url = cache.url, error, "cache does not answer");
                }
            }
        }
        tracker.probed(&cache, &result);
    }
}
