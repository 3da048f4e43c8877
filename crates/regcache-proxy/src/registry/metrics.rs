//! What requests are counted by. Upstreams of the configuration and results are labels; images are not.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// With what is stored, or with something asked of upstream by a request before.
    Hit,
    /// With something asked of upstream for this request.
    Miss,
    /// With something being asked of upstream already.
    Join,
    /// With what is stored, though upstream could not confirm it.
    Stale,
    /// From upstream, without storing.
    Bypass,
    /// Upstream does not have it.
    NotFound,
    /// Neither stored nor to be had.
    Unavailable,
    /// Outside the lists, or upstream does not let us have it.
    Denied,
    /// Not understood.
    BadRequest,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Join => "join",
            Self::Stale => "stale",
            Self::Bypass => "bypass",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::BadRequest => "bad_request",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    upstream: Arc<str>,
    kind: &'static str,
    result: &'static str,
}

/// Handles to what is counted; clones count together.
#[derive(Clone, Debug, Default)]
pub struct RegistryMetrics {
    requests: Family<Labels, Counter>,
}

impl RegistryMetrics {
    /// Registers everything under `regcache_`.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register(
            "regcache_requests",
            "Requests for manifests, blobs and lists by upstream and how they were answered",
            self.requests.clone(),
        );
    }

    /// `upstream` is one of the configured, or empty.
    pub(super) fn request(&self, upstream: &Arc<str>, kind: &'static str, result: Outcome) {
        let (upstream, result) = (upstream.clone(), result.as_str());
        self.requests.get_or_create(&Labels { upstream, kind, result }).inc();
    }
}
