//! The helper's metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::router::Outcome;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    cache: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    cache: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    upstream: String,
    cache: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: String,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlanLabels {
    hash: String,
}

/// Handles to what the parts of the helper count.
#[derive(Debug, Default)]
pub struct Metrics {
    cache_up: Family<CacheLabels, Gauge>,
    checks: Family<CheckLabels, Counter>,
    outcomes: Family<OutcomeLabels, Counter>,
    upstream_state: Family<UpstreamLabels, Gauge>,
    finding: Family<FindingLabels, Gauge>,
    plan: Family<PlanLabels, Gauge>,
    ready: Gauge,
    repairs: Counter,
}

impl Metrics {
    /// Registers everything under `regcache_node_`.
    pub fn register(&self, registry: &mut Registry) {
        let node = registry.sub_registry_with_prefix("regcache_node");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        node.register("build", "The helper's version", Info::new(version));
        node.register(
            "cache_up",
            "1 when the last probe of the cache was answered",
            self.cache_up.clone(),
        );
        node.register(
            "probe_blobs",
            "Probe blobs asked of the cache, by how they came (absent: its engine has none)",
            self.checks.clone(),
        );
        node.register(
            "requests",
            "Requests to caches by how they ended",
            self.outcomes.clone(),
        );
        node.register(
            "upstream_state",
            "1 for the state that each upstream is in",
            self.upstream_state.clone(),
        );
        node.register(
            "finding",
            "1 for what keeps containerd from using the mirror",
            self.finding.clone(),
        );
        node.register("plan", "1 for the plan in use, by its hash", self.plan.clone());
        node.register(
            "ready",
            "1 since the plan was first applied in full",
            self.ready.clone(),
        );
        node.register(
            "repairs",
            "hosts.toml files written again after somebody changed them",
            self.repairs.clone(),
        );
    }

    pub(crate) fn probed(&self, cache: &str, answered: bool) {
        let labels = CacheLabels { cache: cache.into() };
        self.cache_up.get_or_create(&labels).set(i64::from(answered));
    }

    pub(crate) fn checked(&self, cache: &str, result: &'static str) {
        let cache = cache.into();
        self.checks.get_or_create(&CheckLabels { cache, result }).inc();
    }

    pub(crate) fn observed(&self, upstream: &str, cache: &str, outcome: Outcome) {
        let outcome = outcome.as_str();
        let (upstream, cache) = (upstream.into(), cache.into());
        self.outcomes
            .get_or_create(&OutcomeLabels {
                upstream,
                cache,
                outcome,
            })
            .inc();
    }

    /// Shows exactly these upstreams, each with the name of its state.
    pub(crate) fn upstreams<'a>(&self, states: impl Iterator<Item = (&'a str, &'static str)>) {
        self.upstream_state.clear();
        for (upstream, state) in states {
            let (upstream, state) = (upstream.into(), state.into());
            self.upstream_state
                .get_or_create(&UpstreamLabels { upstream, state })
                .set(1);
        }
    }

    /// Shows exactly these findings.
    pub(crate) fn findings<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        self.finding.clear();
        for id in ids {
            self.finding.get_or_create(&FindingLabels { id: id.into() }).set(1);
        }
    }

    /// Shows the plan in use; caches of an earlier one are shown again when they are probed.
    pub(crate) fn plan(&self, hash: String) {
        self.plan.clear();
        self.cache_up.clear();
        self.plan.get_or_create(&PlanLabels { hash }).set(1);
    }

    pub(crate) fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    pub(crate) fn repaired(&self) {
        self.repairs.inc();
    }
}
