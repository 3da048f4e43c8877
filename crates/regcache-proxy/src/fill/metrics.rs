//! What fills count.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    upstream: Arc<str>,
    outcome: &'static str,
}

/// Handles to what is counted; clones count together.
#[derive(Clone, Debug)]
pub struct FillMetrics {
    in_flight: Family<UpstreamLabels, Gauge>,
    resumes: Family<UpstreamLabels, Counter>,
    ended: Family<OutcomeLabels, Counter>,
    bytes: Family<UpstreamLabels, Counter>,
    first_byte: Histogram,
}

impl Default for FillMetrics {
    fn default() -> Self {
        let buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
        Self {
            in_flight: Family::default(),
            resumes: Family::default(),
            ended: Family::default(),
            bytes: Family::default(),
            first_byte: Histogram::new(buckets),
        }
    }
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
