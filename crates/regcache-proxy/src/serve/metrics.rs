//! What the connections count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Connections and the bytes that they carry.
#[derive(Clone, Debug, Default)]
pub struct ServeMetrics {
    pub(super) open: Gauge,
    pub(super) sent: Counter,
    connections: Family<ConnectionLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConnectionLabels {
    result: &'static str,
}

impl ServeMetrics {
    /// Registers everything in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "regcache_connections_open",
            "Connections of clients now",
            metrics.open.clone(),
        );
        registry.register(
            "regcache_connections",
            "Connections of clients by what became of them: served, refused (too many), handshake (failed)",
            metrics.connections.clone(),
        );
        registry.register_with_unit(
            "regcache_sent",
            "Sent to clients, headers included, before encryption",
            Unit::Bytes,
            metrics.sent.clone(),
        );
        metrics
    }

    pub(super) fn connection(&self, result: &'static str) {
        self.connections.get_or_create(&ConnectionLabels { result }).inc();
    }
}
