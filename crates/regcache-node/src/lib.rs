//! The regcache node helper: publishes `hosts.toml` and is the loopback gateway that it names.

pub mod cli;
pub mod gateway;
pub mod health;
pub mod loopback;
pub mod metrics;
pub mod node_config;
pub mod plan_file;
pub mod port_owner;
pub mod probes;
pub mod publish;
pub mod readiness;
pub mod report;
pub mod router;
pub mod run;
pub mod state;
pub mod supervise;
pub mod watchdog;
