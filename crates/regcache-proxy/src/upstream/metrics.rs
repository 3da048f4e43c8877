//! What is counted about upstreams. No image names: the labels are the upstream, what was asked, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the time to an answer's headers, seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Asked {
    Manifest,
    Blob,
    List,
    Token,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfUpstream {
    upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    upstream: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    upstream: String,
    kind: &'static str,
    /// The status code, `unreachable` or `timeout`.
    status: String,
}

/// Handles to what all upstreams count.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    requests: Family<OfStatus, Counter>,
    seconds: Family<OfKind, Histogram, fn() -> Histogram>,
    remaining: Family<OfUpstream, Gauge>,
    resting: Family<OfUpstream, Gauge>,
    transfers: Family<OfUpstream, Gauge>,
    waiting: Family<OfUpstream, Gauge>,
    received: Family<OfUpstream, Counter>,
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            remaining: Family::default(),
            resting: Family::default(),
            transfers: Family::default(),
            waiting: Family::default(),
            received: Family::default(),
        }
    }
}

impl UpstreamMetrics {
    /// Registers everything as `upstream_…`; the caller's registry brings the prefix.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("upstream");
        registry.register(
            "requests",
            "Requests to upstreams and their token servers by how they ended, each redirect and each retry counted",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "response",
            "Time until the headers of an answer came",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "rate_limit_remaining",
            "Requests that the upstream said it would still answer",
            self.remaining.clone(),
        );
        registry.register(
            "resting",
            "1 while the upstream is left alone after a failure",
            self.resting.clone(),
        );
        registry.register("transfers", "Blobs being fetched", self.transfers.clone());
        registry.register(
            "transfers_waiting",
            "Blobs that wait for a place among the transfers",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "received",
            "Bytes of blobs that came from the upstream, to be stored or passed on",
            Unit::Bytes,
            self.received.clone(),
        );
    }

    /// The handle of one upstream.
    pub(crate) fn meter(&self, upstream: &Arc<str>) -> Meter {
        Meter {
            metrics: self.clone(),
            upstream: upstream.to_string(),
        }
    }
}

/// Counts for one upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    metrics: UpstreamMetrics,
    upstream: String,
}

impl Meter {
    /// The upstream's name, for logs.
    pub(crate) fn upstream(&self) -> &str {
        &self.upstream
    }

    pub(crate) fn answered(&self, asked: Asked, status: StatusCode, after: Duration) {
        self.ended(asked, status.as_str());
        let labels = OfKind {
            upstream: self.upstream.clone(),
            kind: asked.as_str(),
        };
        self.metrics.seconds.get_or_create(&labels).observe(after.as_secs_f64());
    }

    pub(crate) fn failed(&self, asked: Asked, error: &reqwest::Error) {
        self.ended(asked, if error.is_timeout() { "timeout" } else { "unreachable" });
    }

    /// Reads what Docker Hub (`ratelimit-remaining: 76;w=21600`) and others say about our allowance.
    pub(crate) fn allowance(&self, headers: &HeaderMap) {
        let names = ["ratelimit-remaining", "x-ratelimit-remaining"];
        let value = names.iter().find_map(|name| headers.get(*name));
        let number = value
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split(';').next());
        if let Some(number) = number.and_then(|text| text.trim().parse().ok()) {
            self.metrics.remaining.get_or_create(&self.labels()).set(number);
        }
    }

    pub(crate) fn resting(&self, resting: bool) {
        self.metrics
            .resting
            .get_or_create(&self.labels())
            .set(i64::from(resting));
    }

    pub(crate) fn transferring(&self) -> Counted {
        Counted::new(&self.metrics.transfers, &self.labels())
    }

    pub(crate) fn waiting(&self) -> Counted {
        Counted::new(&self.metrics.waiting, &self.labels())
    }

    /// The counter of blobs' bytes, looked up once for a body.
    pub(crate) fn received(&self) -> Counter {
        self.metrics.received.get_or_create_owned(&self.labels())
    }

    fn ended(&self, asked: Asked, status: &str) {
        let labels = OfStatus {
            upstream: self.upstream.clone(),
            kind: asked.as_str(),
            status: status.into(),
        };
        self.metrics.requests.get_or_create(&labels).inc();
    }

    fn labels(&self) -> OfUpstream {
        OfUpstream {
            upstream: self.upstream.clone(),
        }
    }
}

impl Asked {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::List => "list",
            Self::Token => "token",
        }
    }
}

/// One in a gauge, as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(family: &Family<OfUpstream, Gauge>, labels: &OfUpstream) -> Self {
        let gauge = family.get_or_create_owned(labels);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("ratelimit-remaining", "76;w=21600", Some(76))]
    #[case("x-ratelimit-remaining", " 5", Some(5))]
    #[case("ratelimit-remaining", "many", None)]
    #[case("ratelimit-limit", "100", None)]
    fn the_allowance_that_is_left_is_read(#[case] name: &'static str, #[case] value: &str, #[case] left: Option<i64>) {
        let meter = UpstreamMetrics::default().meter(&"docker.io".into());
        meter.allowance(&HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            value.parse().unwrap(),
        )]));
        let found = meter.metrics.remaining.get(&meter.labels()).map(|gauge| gauge.get());
        assert_eq!(found, left);
    }

    #[test]
    fn everything_has_its_name_and_unit() {
        let metrics = UpstreamMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let meter = metrics.meter(&"a.io".into());
        meter.answered(Asked::Blob, StatusCode::PARTIAL_CONTENT, Duration::from_millis(20));
        let turn = meter.transferring();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(r#"upstream_requests_total{upstream="a.io",kind="blob",status="206"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"upstream_response_seconds_bucket{le="0.025",upstream="a.io",kind="blob"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"upstream_transfers{upstream="a.io"} 1"#), "{text}");
        drop(turn);
        assert_eq!(metrics.transfers.get(&meter.labels()).unwrap().get(), 0);
    }
}
