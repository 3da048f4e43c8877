//! Arguments. Each can be given by the environment too, as `REGCACHE_…`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use regcache_runtime::telemetry::LogFormat;

/// The regcache node helper: turns this node's containerd to the nearest healthy cache.
#[derive(Debug, Parser)]
#[command(name = "regcache-node", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the helper until SIGTERM.
    Run(Box<RunArgs>),
    /// Say whether the running helper is ready; one line why not (readiness probe).
    Ready(StateArgs),
    /// Say whether the running helper's gateway answers; one line why not (liveness probe).
    Live(StateArgs),
}

/// Where the running helper keeps its state.
#[derive(Clone, Debug, Args)]
pub struct StateArgs {
    /// Directory with the running helper's state.
    #[arg(long, env = "REGCACHE_STATE_DIR", default_value = "/run/regcache")]
    pub state_dir: PathBuf,
}

/// What the helper works on.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The plan, as mounted from its ConfigMap.
    #[arg(long, env = "REGCACHE_PLAN", default_value = "/etc/regcache/plan/plan.json")]
    pub plan: PathBuf,
    /// containerd's registry directory, as mounted here.
    #[arg(long, env = "REGCACHE_CERTS_DIR", default_value = "/host/certs.d")]
    pub certs_dir: PathBuf,
    /// The same directory as the node knows it; used in messages and compared with containerd's config.
    #[arg(long, env = "REGCACHE_CERTS_DIR_ON_HOST", default_value = "/etc/containerd/certs.d")]
    pub certs_dir_on_host: PathBuf,
    /// containerd's config, as mounted here. Read, never written.
    #[arg(
        long,
        env = "REGCACHE_CONTAINERD_CONFIG",
        default_value = "/host/containerd/config.toml"
    )]
    pub containerd_config: PathBuf,
    /// The gateway's port on 127.0.0.1.
    #[arg(long, env = "REGCACHE_PORT", default_value_t = 21500)]
    pub port: u16,
    /// Address for metrics, such as 10.0.0.7:21501; none: no metrics.
    #[arg(long, env = "REGCACHE_METRICS_ADDRESS", value_parser = address)]
    pub metrics_address: Option<SocketAddr>,
    /// Where the state lies that the probes read.
    #[command(flatten)]
    pub state: StateArgs,
    /// The node's name; decides whether a canary plan applies.
    #[arg(long, env = "REGCACHE_NODE")]
    pub node: String,
    /// How log lines look: json or text.
    #[arg(long, env = "REGCACHE_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

/// An address with port; a bare IPv6 address before the port is understood too, as `$(NODE_IP):21501` makes it.
fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = || {
        let (ip, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?))
    };
    let parsed = text.parse().ok().or_else(bare);
    parsed.ok_or_else(|| format!("{text:?} is not an address with port; write for example 10.0.0.7:21501"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_arguments_are_understood() {
        let line = "regcache-node run --plan /etc/regcache/plan/plan.json --certs-dir /host/certs.d \
                    --containerd-config /host/containerd/config.toml --port 21500 --metrics-address 10.0.0.7:21501 \
                    --state-dir /run/regcache --node n1";
        let cli = Cli::try_parse_from(line.split_ascii_whitespace()).unwrap();
        assert!(matches!(cli.command, Command::Run(args) if args.node == "n1" && args.port == 21500));
        for probe in ["ready", "live"] {
            assert!(Cli::try_parse_from(["regcache-node", probe, "--state-dir", "/run/regcache"]).is_ok());
        }
    }

    #[test]
    fn addresses_of_both_families() {
        for good in ["10.0.0.7:21501", "[fd00::1]:21501", "fd00::1:21501"] {
            assert_eq!(address(good).map(|address| address.port()), Ok(21501), "{good}");
        }
        assert!(address(":21501").unwrap_err().contains("10.0.0.7:21501"));
    }
}
