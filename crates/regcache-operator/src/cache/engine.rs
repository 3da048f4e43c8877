//! The program in a cache pod, behind a trait: what it can do, and how it is configured and started.

pub mod builtin;
pub mod distribution;

use k8s_openapi::api::core::v1::{EnvVar, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::validate::Site;

/// What an engine can do. Plans and sites are made accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent capabilities, each asked for by its name"
)]
pub struct Capabilities {
    /// One process serves several upstreams: one cache for each region, and not one for each upstream too.
    pub several_upstreams: bool,
    /// It picks the upstream by containerd's `?ns=`.
    pub ns: bool,
    /// It has a blob to probe it with.
    pub probe_blob: bool,
    /// It keeps what the nodes' helpers report with their probes.
    pub node_table: bool,
    /// It takes up a changed configuration while it runs: its pods stay.
    pub hot_reload: bool,
}

/// Port that nodes pull from.
pub const PORT: u16 = 5000;
/// Port of metrics and health.
pub const METRICS_PORT: u16 = 5001;

/// Directory in the container of authorities that the cache believes beside the public ones, if there are any.
pub const CA_DIRECTORY: &str = "/etc/regcache/upstream-ca";
/// The file there, and the key in its ConfigMap.
pub const CA_FILE: &str = "ca.crt";

/// An engine's configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its directory in the container.
    pub directory: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub text: String,
}

/// A configuration cannot be made: a defect of this program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be written as YAML.
    #[error("cannot write the configuration of cache {site}")]
    Serialize {
        /// The cache.
        site: String,
        /// Why.
        #[source]
        source: serde_yaml::Error,
    },
    /// The engine serves one upstream, and the cache has another number of them.
    #[error("cache {site} has {count} upstreams, and its engine serves one")]
    NotOneUpstream {
        /// The cache.
        site: String,
        /// How many it has.
        count: usize,
    },
}

/// The program in a cache pod.
pub trait Engine: Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;
    /// Its configuration for `site`.
    fn config(&self, site: &Site) -> Result<ConfigFile, Error>;
    /// What the container runs.
    fn command(&self) -> Vec<String>;
    /// Its environment.
    fn env(&self, site: &Site) -> Vec<EnvVar>;
    /// Where its volume is mounted.
    fn data_directory(&self) -> &'static str;
    /// Serves pulls.
    fn readiness(&self) -> Probe;
    /// Still works.
    fn liveness(&self) -> Probe;
    /// Seconds that it may take to end after SIGTERM.
    fn termination_grace_seconds(&self) -> i64;
}

/// The engine of that name.
pub fn of(engine: regcache_api::Engine) -> &'static dyn Engine {
    match engine {
        regcache_api::Engine::Builtin => &builtin::Builtin,
        regcache_api::Engine::Distribution => &distribution::Distribution,
    }
}

fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    }
}

/// An HTTP probe: `failures` in a row, `period` seconds apart, count.
fn probe(path: &str, port: u16, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(port.into()),
            ..Default::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Default::default()
    }
}
