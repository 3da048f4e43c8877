//! The operator's two controllers on an API server in memory, run turn by turn: no cluster, no waiting.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

#[path = "operator/converge.rs"]
mod converge;
#[path = "operator/deletion.rs"]
mod deletion;
#[path = "operator/engines.rs"]
mod engines;
#[path = "operator/faults.rs"]
mod faults;
#[path = "operator/rbac.rs"]
mod rbac;
#[path = "operator/running.rs"]
mod running;
#[path = "operator/world.rs"]
mod world;
