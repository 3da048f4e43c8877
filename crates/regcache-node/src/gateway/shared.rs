//! What all requests share.

use std::sync::Arc;

use super::GatewayLimits;
use super::caches::Caches;
use super::metrics::GatewayMetrics;
use super::sick::Sick;
use crate::router::Router;

/// All that requests share.
pub(super) struct Gateway {
    pub(super) router: Arc<dyn Router>,
    pub(super) caches: Caches,
    pub(super) limits: GatewayLimits,
    pub(super) metrics: GatewayMetrics,
    pub(super) sick: Sick,
}

impl Gateway {
    pub(super) fn new(router: Arc<dyn Router>, limits: GatewayLimits, metrics: GatewayMetrics) -> Self {
        Self {
            router,
            caches: Caches::new(&limits),
            limits,
            metrics,
            sick: Sick::new(limits.remember, limits.remembered),
        }
    }
}
