//! The gateway through its real TLS port, in front of real caches that misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests count as tests"
)]

mod bench;
mod cache;
mod client;

mod endings;
mod faults;
mod load;
mod registry;
