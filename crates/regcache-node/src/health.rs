//! Health of the caches: probes and real traffic in, today's order of caches out.
//!
//! A probe (`GET /v2/`) every two seconds on a kept-alive connection says who is there at all, and takes the node's
//! report to caches of ours; their probe blob, asked for before first use, after failures and every few minutes, says
//! whether large answers come too; what the gateway sees of real requests says the rest. [`decide::order`] makes an
//! order of all that and is pure.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use regcache_mirror::plan::{CacheRef, Plan};
use regcache_runtime::probe::Report;
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::router::{Candidate, Outcome, Router};

mod decide;
mod observations;
mod penalty;
mod probe;
mod prober;
#[cfg(test)]
mod tests;

pub use observations::{Checked, Observations, Probed, Why};
pub use probe::{Probe, ProbeError};
pub use prober::run;

/// Time from one check of the probe blob to the next at most: 64 KiB from each of 1,000 nodes are 0.25 MB/s.
const CHECK_EVERY: Duration = Duration::from_secs(300);
/// How much sooner it may be, by chance: the nodes that a cache's restart has brought into step fall out of it again.
const CHECK_SPREAD: Duration = Duration::from_secs(60);

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
    report: Option<(Report, Arc<HeaderMap>)>,
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

    /// Lets the probes of caches of ours say this of the node from now on.
    pub fn set_report(&self, report: Report) {
        let mut state = self.state();
        if state.report.as_ref().is_none_or(|(before, _)| *before != report) {
            let headers = Arc::new(report.to_headers());
            state.report = Some((report, headers));
        }
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

    fn report(&self) -> Option<Arc<HeaderMap>> {
        self.state().report.as_ref().map(|(_, headers)| Arc::clone(headers))
    }

    fn check_due(&self, cache: &CacheRef) -> bool {
        self.state().observations.check_due(cache, Instant::now())
    }

    fn checked(&self, cache: &CacheRef, result: &Result<(), ProbeError>) {
        let now = Instant::now();
        let until = now + CHECK_EVERY.saturating_sub(by_chance(CHECK_SPREAD));
        let (name, checked) = match result {
            Ok(()) => ("right", Ok(Checked::Right { until })),
            // Another engine than the plan says, as while a change of engine is being rolled out: as good as it was
            // without a blob.
            Err(ProbeError::Status(404)) => ("absent", Ok(Checked::Right { until })),
            Err(ProbeError::WrongBlob) => ("wrong", Ok(Checked::Wrong)),
            Err(ProbeError::StalledBlob(_)) => ("stalled", Ok(Checked::Stalled)),
            Err(ProbeError::TimeOut { .. }) => ("late", Ok(Checked::Late)),
            Err(error) => ("failed", Err(error.probed())),
        };
        self.metrics.checked(&cache.name, name);
        let mut state = self.state();
        let news = match checked {
            Ok(checked) => state.observations.checked(cache, checked, now),
            Err(probed) => state.observations.probed(cache, probed, now),
        };
        drop(state);
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
        let State { plan, observations, .. } = &mut *state;
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
        Why::Unchecked => "has not delivered its probe blob yet",
        Why::Down => "does not answer",
        Why::Flapping => "has just come back",
        Why::Silent => "let a request hang",
        Why::Corrupt => "sent wrong bytes",
        Why::Refusing => "answers with errors",
    }
}

fn by_chance(most: Duration) -> Duration {
    // Each state has keys of its own.
    let draw = RandomState::new().hash_one(()) % 1000;
    most.mul_f64(f64::from(u32::try_from(draw).unwrap_or_default()) / 1000.0)
}
