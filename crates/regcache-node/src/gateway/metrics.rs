//! What the gateway counts. Upstreams of the plan and results are labels; images are not.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use regcache_transfer::Outcome;

/// Counters of one gateway. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct GatewayMetrics {
    requests: Family<Labels, Counter>,
    answers: Family<Labels, Counter>,
    bytes: Family<UpstreamLabel, Counter>,
    containerd: Family<VersionLabel, Gauge>,
    heard: Arc<ArcSwapOption<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: String,
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
        registry.register(
            "regcache_gateway_containerd",
            "1 for the version of containerd that asked last; nothing: it has not asked yet",
            metrics.containerd.clone(),
        );
        metrics
    }

    /// The version of containerd that asked last; `None`: none has asked since this process began.
    pub fn containerd(&self) -> Option<String> {
        self.heard.load().as_deref().cloned()
    }

    /// Somebody asks for content.
    pub(super) fn asked_by(&self, user_agent: Option<&HeaderValue>) {
        let Some(version) = user_agent.and_then(version) else {
            return;
        };
        let before = self.heard.load();
        if before.as_deref().is_some_and(|before| before == version) {
            return;
        }
        self.heard.store(Some(Arc::new(version.to_owned())));
        self.containerd.clear();
        let version = version.to_owned();
        self.containerd.get_or_create(&VersionLabel { version }).set(1);
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

/// Of containerd's `containerd/v2.4.2` or `containerd/1.6.20~ds1` the version; anybody else is not it.
fn version(user_agent: &HeaderValue) -> Option<&str> {
    let rest = user_agent.to_str().ok()?.strip_prefix("containerd/")?;
    let word = rest.split(' ').next()?;
    let version = word.strip_prefix('v').unwrap_or(word);
    (1..=64).contains(&version.len()).then_some(version)
}

fn labels(upstream: &str, result: &'static str) -> Labels {
    Labels {
        upstream: upstream.to_owned(),
        result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_containerd_is_heard_and_the_last_one_counts() {
        let metrics = GatewayMetrics::default();
        let hear = |text: &str| {
            metrics.asked_by(Some(&text.parse().unwrap()));
            metrics.containerd()
        };
        let long = format!("containerd/{}", "1".repeat(65));
        for other in [
            "",
            "curl/8.5.0",
            "containerd",
            "containerd/",
            "containerd/v",
            long.as_str(),
        ] {
            assert_eq!(hear(other), None, "{other}");
        }
        for (said, version) in [
            ("containerd/v2.4.2", "2.4.2"),
            ("containerd/1.6.20~ds1", "1.6.20~ds1"),
            ("containerd/v1.7.34-k3s1 linux/amd64", "1.7.34-k3s1"),
        ] {
            assert_eq!(hear(said).as_deref(), Some(version));
        }
        assert_eq!(hear("curl/8.5.0").as_deref(), Some("1.7.34-k3s1"));
        metrics.asked_by(None);
        let mut registry = Registry::default();
        registry.register("containerd", "", metrics.containerd.clone());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(text.matches("version=").count(), 1, "{text}");
    }
}
