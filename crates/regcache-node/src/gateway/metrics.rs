//! What the gateway counts. Upstreams of the plan and results are labels; images are not.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use regcache_transfer::Outcome;

/// Counters of one gateway. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct GatewayMetrics {
    requests: Family<Labels, Counter>,
    answers: Family<Labels, Counter>,
    bytes: Family<UpstreamLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    upstream: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: String,
}

/// How a request of containerd ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// In full.
    Ok,
    /// 404: the caches say that it is not there.
    NotFound,
    /// 416: no such range.
    NoRange,
    /// 503 before any byte: containerd goes to the registry.
    Unavailable,
    /// FIN in the middle: containerd goes on at the registry.
    Short,
    /// The client went away.
    HungUp,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::NoRange => "no_range",
            Self::Unavailable => "unavailable",
            Self::Short => "short",
            Self::HungUp => "hung_up",
        }
    }
}

impl GatewayMetrics {
    /// Registers the counters.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "regcache_gateway_requests",
            "Requests of containerd, by how they ended (unavailable and short: containerd went on to the registry)",
            metrics.requests.clone(),
        );
        registry.register(
            "regcache_gateway_cache_answers",
            "Requests to caches, by how the cache did",
            metrics.answers.clone(),
        );
        registry.register(
            "regcache_gateway_bytes",
            "Bytes of manifests and blobs handed to containerd",
            metrics.bytes.clone(),
        );
        metrics
    }

    pub(super) fn request(&self, upstream: &str, ended: Ended) {
        self.requests.get_or_create(&labels(upstream, ended.as_str())).inc();
    }

    pub(super) fn answer(&self, upstream: &str, outcome: Outcome) {
        self.answers.get_or_create(&labels(upstream, outcome.as_str())).inc();
    }

    pub(super) fn bytes(&self, upstream: &str, bytes: u64) {
        let label = UpstreamLabel {
            upstream: upstream.to_owned(),
        };
        self.bytes.get_or_create(&label).inc_by(bytes);
    }
}

fn labels(upstream: &str, result: &'static str) -> Labels {
    Labels {
        upstream: upstream.to_owned(),
        result,
    }
}
