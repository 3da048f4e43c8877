//! One task for each cache of the plan, which asks it every two seconds, and for its probe blob when that is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use regcache_mirror::plan::{CacheRef, Plan};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Probe, ProbeError, Tracker};

/// Time from one probe of a cache to the next.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Probes the caches of the current plan until `shutdown`; each cache by a task of its own, so that a slow one delays
/// nobody. Returns early when such a task has panicked: a cache that nobody asks any more would count as well for ever.
pub async fn run(tracker: Arc<Tracker>, mut plans: watch::Receiver<Option<Arc<Plan>>>, shutdown: CancellationToken) {
    let mut known: HashMap<(String, String, bool), DropGuard> = HashMap::new();
    let mut probes = JoinSet::new();
    loop {
        let plan = plans.borrow_and_update().clone();
        if let Some(plan) = plan {
            tracker.set_plan(Arc::clone(&plan));
            let caches = || plan.upstreams.iter().flat_map(|upstream| &upstream.caches);
            let key = |cache: &CacheRef| (cache.name.clone(), cache.url.clone(), cache.probe);
            known.retain(|known, _| caches().any(|cache| key(cache) == *known));
            for cache in caches() {
                known.entry(key(cache)).or_insert_with(|| {
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
            result = ask(&tracker, &cache, &mut probe) => result,
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
        if !tracker.check_due(&cache) {
            continue;
        }
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = probe.check() => result,
        };
        if let Err(error) = &result {
            let error = error as &dyn std::error::Error;
            tracing::warn!(
                cache = cache.name,
                url = cache.url,
                error,
                "probe blob did not come as it should"
            );
        }
        tracker.checked(&cache, &result);
    }
}

async fn ask(tracker: &Tracker, cache: &CacheRef, probe: &mut Probe) -> Result<(), ProbeError> {
    let report = if cache.probe { tracker.report() } else { None };
    probe.ask(report.as_ref()).await
}
