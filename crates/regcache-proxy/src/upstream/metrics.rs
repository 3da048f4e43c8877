//! What is counted about upstreams.

use prometheus_client::registry::Registry;

/// Handles to what all upstreams count.
#[derive(Clone, Debug, Default)]
pub struct UpstreamMetrics {}

impl UpstreamMetrics {
    /// Registers everything as `upstream_…`; the caller's registry brings the prefix.
    pub fn register(&self, _registry: &mut Registry) {}
}
