//! What the regcache programs share: telemetry, admin server, shutdown, argument types.

pub mod admin;
pub mod args;
pub mod shutdown;
pub mod telemetry;
