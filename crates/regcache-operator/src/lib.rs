//! The regcache operator: RegistryCache objects into caches, plans and node helpers.
//!
//! Two controllers, each a pipeline of `gather` (asks the API server) -> `validate` (pure) -> `build` (pure) -> `apply`
//! -> `status`: [`cache`] turns one RegistryCache into its caches, [`nodes`] turns all RegistryCaches and all nodes
//! into one plan and one DaemonSet per place. What they share stands beside them.

pub mod apply;
pub mod backoff;
pub mod cache;
pub mod changes;
pub mod cli;
pub mod context;
pub mod crds;
pub mod error;
pub mod events;
pub mod lease;
pub mod metrics;
pub mod named_since;
pub mod nodes;
pub mod resolve;
pub mod run;
