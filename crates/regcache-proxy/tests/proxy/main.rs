//! The program against registries that misbehave: real processes, real sockets, faults at a chosen byte.
//!
//! `registry` plays the upstream and does what it is told, `client` is as strict as containerd, `program` starts and
//! kills the real program.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

mod client;
mod content;
mod program;
mod registry;

mod bad_input;
mod disk;
mod faults;
mod kills;
mod leaving;
mod statuses;
mod tags;
