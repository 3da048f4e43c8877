//! What fills count.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::answer::How;
use super::log::Outcome;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    upstream: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HowLabels {
    how: &'static str,
}

/// Handles to what is counted; clones count together.
#[derive(Clone, Debug)]
pub struct FillMetrics {
    in_flight: Family<UpstreamLabels, Gauge>,
    resumes: Family<UpstreamLabels, Counter>,
    ended: Family<OutcomeLabels, Counter>,
    bytes: Family<UpstreamLabels, Counter>,
    first_byte: Family<HowLabels, Histogram>,
}

impl Default for FillMetrics {
    fn default() -> Self {
        Self {
            in_flight: Family::default(),
            resumes: Family::default(),
            ended: Family::default(),
            bytes: Family::default(),
            first_byte: Family::new_with_constructor(first_byte),
        }
    }
}

fn first_byte() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
}

impl FillMetrics {
    /// Registers everything under `regcache_fill_`.
    pub fn register(&self, registry: &mut Registry) {
        let fill = registry.sub_registry_with_prefix("regcache_fill");
        fill.register("in_flight", "Blobs being fetched from upstream", self.in_flight.clone());
        fill.register(
            "resumes",
            "Times that a fetch went on by Range, or was tried again",
            self.resumes.clone(),
        );
        fill.register("ended", "Fetches by how they ended", self.ended.clone());
        fill.register_with_unit(
            "received",
            "Bytes fetched from upstream to be stored",
            Unit::Bytes,
            self.bytes.clone(),
        );
        fill.register_with_unit(
            "first_byte",
            "Time from a client's request to the first byte of a blob, stored or not",
            Unit::Seconds,
            self.first_byte.clone(),
        );
    }
}

/// Counts one fill as in flight until it is dropped.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl FillMetrics {
    pub(super) fn in_flight(&self, upstream: &Arc<str>) -> InFlight {
        let gauge = self.in_flight.get_or_create_owned(&UpstreamLabels::new(upstream));
        gauge.inc();
        InFlight(gauge)
    }

    pub(super) fn resumed(&self, upstream: &Arc<str>, times: u64) {
        self.resumes.get_or_create(&UpstreamLabels::new(upstream)).inc_by(times);
    }

    pub(super) fn received(&self, upstream: &Arc<str>, bytes: u64) {
        self.bytes.get_or_create(&UpstreamLabels::new(upstream)).inc_by(bytes);
    }

    pub(super) fn ended(&self, upstream: &Arc<str>, outcome: Outcome) {
        let labels = OutcomeLabels {
            upstream: upstream.to_string(),
            outcome: outcome.as_str(),
        };
        self.ended.get_or_create(&labels).inc();
    }

    pub(super) fn first_byte(&self, how: How, took: Duration) {
        let labels = HowLabels { how: how.as_str() };
        self.first_byte.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

impl UpstreamLabels {
    fn new(upstream: &Arc<str>) -> Self {
        Self {
            upstream: upstream.to_string(),
        }
    }
}
