//! What the store counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::error::NotStored;

/// Counters and gauges of one store. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct StoreMetrics {
    pub(super) used: Gauge<u64, AtomicU64>,
    pub(super) limit: Gauge<u64, AtomicU64>,
    pub(super) blobs: Gauge<u64, AtomicU64>,
    pub(super) evicted_bytes: Counter,
    pub(super) evicted_blobs: Counter,
    pub(super) usable: Gauge,
    pub(super) corrupt: Counter,
    not_stored: Family<ReasonLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl StoreMetrics {
    /// Registers them all.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "regcache_store_used_bytes",
            "Bytes on disk, and those promised to fills under way",
            metrics.used.clone(),
        );
        registry.register(
            "regcache_store_limit_bytes",
            "The most bytes the store may use",
            metrics.limit.clone(),
        );
        registry.register(
            "regcache_store_blobs",
            "Blobs and manifests kept",
            metrics.blobs.clone(),
        );
        registry.register(
            "regcache_store_evicted_bytes",
            "Bytes removed to make room",
            metrics.evicted_bytes.clone(),
        );
        registry.register(
            "regcache_store_evicted_blobs",
            "Blobs and manifests removed to make room",
            metrics.evicted_blobs.clone(),
        );
        registry.register(
            "regcache_store_usable",
            "0 while nothing can be stored: the disk fails or is full, or another process uses the store",
            metrics.usable.clone(),
        );
        registry.register(
            "regcache_store_corrupt_blobs",
            "Stored files that were not what their digest says, and are removed",
            metrics.corrupt.clone(),
        );
        registry.register(
            "regcache_store_not_stored",
            "Blobs and manifests that were passed on without being kept, by reason",
            metrics.not_stored.clone(),
        );
        metrics
    }

    pub(super) fn not_stored(&self, reason: NotStored) {
        let label = ReasonLabel {
            reason: reason.as_str(),
        };
        self.not_stored.get_or_create(&label).inc();
    }
}
