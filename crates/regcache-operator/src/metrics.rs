//! The operator's metrics.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    controller: &'static str,
    reason: &'static str,
}

/// Counts of runs and failures; clones share their numbers.
#[derive(Clone)]
pub struct Metrics {
    runs: Family<Controller, Counter>,
    failures: Family<Failure, Counter>,
    durations: Family<Controller, Histogram>,
    backing_off: Family<Controller, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            runs: Family::default(),
            failures: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 13))),
            backing_off: Family::default(),
        }
    }
}

impl Metrics {
    /// Shows the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("regcache_operator");
        registry.register("reconcile_runs", "Reconciliations, failed ones too", self.runs.clone());
        registry.register(
            "reconcile_failures",
            "Failed reconciliations by reason",
            self.failures.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciliations take",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "backoff_objects",
            "Objects whose last reconciliation failed",
            self.backing_off.clone(),
        );
    }

    /// One run of `controller` ended after `duration`.
    pub fn run(&self, controller: &'static str, duration: Duration) {
        let labels = Controller { controller };
        self.runs.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// A run of `controller` failed for `reason`, a constant.
    pub fn failed(&self, controller: &'static str, reason: &'static str) {
        self.failures.get_or_create(&Failure { controller, reason }).inc();
    }

    /// `objects` of `controller` wait for their next attempt.
    pub fn backing_off(&self, controller: &'static str, objects: usize) {
        let objects = i64::try_from(objects).unwrap_or(i64::MAX);
        self.backing_off.get_or_create(&Controller { controller }).set(objects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_controller_and_reason() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.run("cache", Duration::from_millis(5));
        metrics.failed("cache", "Denied");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(r#"regcache_operator_reconcile_runs_total{controller="cache"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"regcache_operator_reconcile_failures_total{controller="cache",reason="Denied"} 1"#),
            "{text}"
        );
    }
}
