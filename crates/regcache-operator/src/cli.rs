//! The command line; every flag can be given by an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use regcache_runtime::args::duration;
use regcache_runtime::telemetry::LogFormat;

use crate::context::Settings;

/// Turns RegistryCache objects into caches, plans and node helpers.
#[derive(Parser, Debug)]
#[command(name = "regcache-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Print every CustomResourceDefinition as YAML.
    Crds {
        /// Write a file for each into this directory instead.
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
}

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Namespace of the caches and of the operator itself.
    #[arg(long, env = "REGCACHE_NAMESPACE", default_value = "regcache-system")]
    pub namespace: String,
    /// Namespace of the node helpers.
    #[arg(long, env = "REGCACHE_NODES_NAMESPACE", default_value = "regcache-nodes")]
    pub nodes_namespace: String,
    /// Image of the node helper and of the engine Builtin, unless a RegistryCache names another for its caches.
    #[arg(long, env = "REGCACHE_IMAGE")]
    pub image: String,
    /// Pull policy of helpers and caches.
    #[arg(long, env = "REGCACHE_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub image_pull_policy: String,
    /// Secrets that the caches' images are pulled with; may be given several times.
    #[arg(
        long = "image-pull-secret",
        env = "REGCACHE_IMAGE_PULL_SECRETS",
        value_delimiter = ','
    )]
    pub image_pull_secrets: Vec<String>,
    /// Image of the engine Distribution, unless a RegistryCache names its own.
    #[arg(
        long,
        env = "REGCACHE_DISTRIBUTION_IMAGE",
        default_value = "docker.io/library/registry:3.1.2"
    )]
    pub distribution_image: String,
    /// ConfigMap whose ca.crt holds authorities that the caches believe beside the public ones.
    #[arg(long, env = "REGCACHE_UPSTREAM_CA", value_name = "CONFIGMAP")]
    pub upstream_ca: Option<String>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "REGCACHE_ADMIN_ADDRESS", default_value = "[::]:8080")]
    pub admin_address: SocketAddr,
    /// Port of the helpers' gateway on each node's 127.0.0.1.
    #[arg(long, env = "REGCACHE_GATEWAY_PORT", default_value_t = 21500, value_parser = clap::value_parser!(u16).range(1..))]
    pub gateway_port: u16,
    /// Port of the helpers' metrics on each node's address.
    #[arg(long, env = "REGCACHE_NODE_METRICS_PORT", default_value_t = 21501, value_parser = clap::value_parser!(u16).range(1..))]
    pub node_metrics_port: u16,
    /// The nodes' directory of hosts.toml files.
    #[arg(long, env = "REGCACHE_CERTS_DIR", default_value = "/etc/containerd/certs.d")]
    pub certs_dir: String,
    /// The nodes' containerd configuration.
    #[arg(
        long,
        env = "REGCACHE_CONTAINERD_CONFIG",
        default_value = "/etc/containerd/config.toml"
    )]
    pub containerd_config: String,
    /// Percent of nodes that try a new plan first.
    #[arg(long, env = "REGCACHE_CANARY_PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub canary_percent: u8,
    /// How long they try it.
    #[arg(long, env = "REGCACHE_SOAK", default_value = "60s", value_parser = duration)]
    pub soak: Duration,
    /// How long it takes until every pod has surely read a changed ConfigMap: so long a plan must have been without a
    /// cache before the cache goes, and so long a running cache's configuration must have named an upstream before a
    /// plan does.
    #[arg(long, env = "REGCACHE_WITHDRAW_GRACE", default_value = "3m", value_parser = duration)]
    pub withdraw_grace: Duration,
    /// Node label that names the region.
    #[arg(long, env = "REGCACHE_REGION_LABEL", default_value = "topology.kubernetes.io/region")]
    pub region_label: String,
    /// Node label that names the zone.
    #[arg(long, env = "REGCACHE_ZONE_LABEL", default_value = "topology.kubernetes.io/zone")]
    pub zone_label: String,
    /// json or text.
    #[arg(long, env = "REGCACHE_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// Name of this pod: who holds the lease and signs events.
    #[arg(long, env = "POD_NAME", default_value = "regcache-operator")]
    pub pod_name: String,
}

impl From<RunArgs> for Settings {
    fn from(args: RunArgs) -> Self {
        Self {
            namespace: args.namespace,
            nodes_namespace: args.nodes_namespace,
            image: args.image,
            image_pull_policy: args.image_pull_policy,
            image_pull_secrets: args.image_pull_secrets,
            distribution_image: args.distribution_image,
            upstream_ca: args.upstream_ca,
            gateway_port: args.gateway_port,
            node_metrics_port: args.node_metrics_port,
            certs_dir: args.certs_dir,
            containerd_config: args.containerd_config,
            canary_percent: args.canary_percent,
            soak: args.soak,
            withdraw_grace: args.withdraw_grace,
            region_label: args.region_label,
            zone_label: args.zone_label,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_defaults_are_the_settings_defaults() {
        let cli = Cli::try_parse_from(["regcache-operator", "run", "--image", "regcache:dev"]).unwrap();
        let Command::Run(args) = cli.command else {
            panic!("not run")
        };
        assert_eq!(Settings::from(*args), Settings::default());
    }

    #[test]
    fn wrong_flags_are_refused() {
        for wrong in [
            &["--canary-percent", "0"][..],
            &["--canary-percent", "101"],
            &["--soak", "soon"],
            &["--gateway-port", "0"],
            &["--image-pull-policy", "Sometimes"],
            &["--log-format", "xml"],
        ] {
            let line = ["regcache-operator", "run", "--image", "i"].iter().chain(wrong);
            assert!(Cli::try_parse_from(line).is_err(), "{wrong:?}");
        }
    }
}
