//! The test bed: real Kubernetes clusters made of processes, on one machine, without docker.
//!
//! ```text
//! tools -> images -> cluster: network -> control plane -> nodes -> DNS, volumes -> internet
//!            (built once, cached)        (all recorded, so that each process, mount and cgroup can be taken away again)
//! ```
//! A cluster has a network namespace for its control plane, its DNS and the registries that play the internet, and
//! each node has network, mount, PID and UTS namespaces of its own. Everything of a cluster carries its name, so
//! several clusters run side by side with the same addresses. Needs root.
//!
//! | address | what |
//! |---|---|
//! | 10.77.0.1 | control plane |
//! | 10.77.0.53 | DNS |
//! | 10.77.0.11 … | node n1 … |
//! | 10.77.11.0/24 … | pods of n1 … |
//! | 10.77.0.200 … 250 | the internet: `images.test`, `other.test`, and what a test adds |
//! | 10.78.0.0/16 | services |

pub mod build;
pub mod cgroups;
pub mod cluster;
pub mod faulty;
pub mod http;
pub mod images;
pub mod internet;
pub mod interrupt;
pub mod json;
pub mod names;
pub mod node;
pub mod oci;
pub mod paths;
pub mod pki;
pub mod process;
pub mod reaper;
pub mod shell;
pub mod tools;
pub mod wait;

pub use cluster::Cluster;
pub use cluster::pull::{PodRequest, PullResult};
pub use cluster::spec::{ClusterSpec, NodeSpec};
pub use internet::{Internet, Request};
pub use node::Node;
pub use wait::wait_for;
