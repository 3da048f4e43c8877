//! The program `regcache-operator`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use kube::Config;
use regcache_operator::cli::{Cli, Command, RunArgs};
use regcache_operator::error::chain;
use regcache_operator::{crds, run};
use regcache_runtime::{shutdown, telemetry};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => {
            telemetry::init(args.log_format);
            start(*args).inspect_err(|error| tracing::error!("{}", chain(&**error)))
        }
        Command::Crds { write: Some(directory) } => crds::write(&directory).map_err(told),
        Command::Crds { write: None } => crds::all().map_err(told).map(|crds| {
            for (_, text) in crds {
                print!("{text}");
            }
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Without a log.
fn told(error: crds::Error) -> anyhow::Error {
    eprintln!("regcache-operator: {}", chain(&error));
    error.into()
}

fn start(args: RunArgs) -> anyhow::Result<()> {
    // Fails only when there is one already, which is as good.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            let shutdown = shutdown::signal_token().context("cannot listen for signals")?;
            let config = Config::infer()
                .await
                .context("no way to an API server: run in a pod with a service account, or set KUBECONFIG")?;
            let (pod, address) = (args.pod_name.clone(), args.admin_address);
            Ok(Box::pin(run::run(config, args.into(), pod, address, shutdown)).await?)
        })
}
