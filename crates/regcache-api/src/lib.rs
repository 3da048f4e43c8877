//! API types, names and labels of regcache: what users write and what the parts agree on.
//!
//! Knows neither a client nor an async runtime.

pub mod conditions;
pub mod crd;
pub mod labels;
pub mod names;
pub mod registry_cache;
pub mod status;

pub use registry_cache::{
    CacheSpec, Engine, NodesMode, NodesSpec, RegionSpec, RegistryCache, RegistryCacheSpec, StorageSpec, UpstreamSpec,
};
pub use status::{RegistryCacheStatus, SitePhase, SiteStatus};
