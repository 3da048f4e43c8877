//! What the regcache programs share: telemetry, admin server, shutdown, argument types, and the contract of probes.

pub mod admin;
pub mod args;
pub mod linger;
pub mod probe;
pub mod shutdown;
pub mod telemetry;
