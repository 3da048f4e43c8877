//! From a plan to containerd's `hosts.toml` files: ranking, plan, rendering, crash-safe files.
//!
//! Pure, apart from the file system; knows nothing of Kubernetes.

pub mod files;
pub mod host_dir;
pub mod hosts_toml;
pub mod plan;
pub mod rank;
