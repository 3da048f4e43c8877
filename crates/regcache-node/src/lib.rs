//! The regcache node helper: publishes `hosts.toml` and is the loopback gateway that it names.

pub mod router;
