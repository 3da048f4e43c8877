//! All that is counted, in one registry: each part's own numbers, and what belongs to the program.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::fill::FillMetrics;
use crate::nodes::Nodes;
use crate::registry::RegistryMetrics;
use crate::serve::ServeMetrics;
use crate::store::StoreMetrics;
use crate::upstream::UpstreamMetrics;

/// Handles for every part.
#[derive(Clone)]
pub struct Metrics {
    /// The registry's interface.
    pub registry: RegistryMetrics,
    /// Fetches.
    pub fill: FillMetrics,
    /// What is kept.
    pub store: StoreMetrics,
    /// Upstreams.
    pub upstream: UpstreamMetrics,
    /// Connections.
    pub serve: ServeMetrics,
    reloads: Family<ReloadLabels, Counter>,
    refused: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

impl Metrics {
    /// Everything, in a new registry.
    pub fn new(nodes: &Arc<Nodes>) -> (Self, Registry) {
        let mut registry = Registry::default();
        let metrics = Self {
            registry: RegistryMetrics::default(),
            fill: FillMetrics::default(),
            store: StoreMetrics::register(&mut registry),
            upstream: UpstreamMetrics::default(),
            serve: ServeMetrics::register(&mut registry),
            reloads: Family::default(),
            refused: Gauge::default(),
        };
        metrics.registry.register(&mut registry);
        metrics.fill.register(&mut registry);
        metrics.upstream.register(registry.sub_registry_with_prefix("regcache"));
        registry.register(
            "regcache_config_reloads",
            "Changes of the configuration by what became of them: applied, refused",
            metrics.reloads.clone(),
        );
        registry.register(
            "regcache_config_refused",
            "1 while the configuration there is now is not the one in use, since it was refused",
            metrics.refused.clone(),
        );
        registry.register(
            "regcache_build",
            "What is running",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(Reporting(Arc::clone(nodes))));
        (metrics, registry)
    }

    /// A changed configuration was taken up, or refused and the old one goes on.
    pub fn reloaded(&self, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
        self.refused.set(i64::from(!applied));
    }
}

/// Counted when asked for, since nodes leave without a word.
#[derive(Debug)]
struct Reporting(Arc<Nodes>);

impl Collector for Reporting {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::try_from(self.0.count()).unwrap_or(i64::MAX));
        let help = "Nodes whose helpers reported within the last 90 s";
        gauge.encode(encoder.encode_descriptor("regcache_nodes_reporting", help, None, gauge.metric_type())?)
    }
}
