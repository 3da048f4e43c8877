//! The helper's program: `run`, and the exec probes `ready` and `live`.

use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::Context as _;
use clap::Parser as _;
use regcache_node::cli::{Cli, Command, RunArgs};
use regcache_node::state::StateDir;
use regcache_node::{probes, run, watchdog};
use regcache_runtime::{shutdown, telemetry};

/// More threads move no more bytes here, and each costs memory on every node.
const MOST_THREADS: usize = 4;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => start(*args),
        Command::Ready(args) => probes::ready(&StateDir::new(args.state_dir)).map_err(anyhow::Error::from),
        Command::Live(args) => probes::live(&StateDir::new(args.state_dir)).map_err(anyhow::Error::from),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with all its causes: kubelet shows it as it is.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: RunArgs) -> anyhow::Result<()> {
    telemetry::init(args.log_format);
    let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, MOST_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        watchdog::start(watchdog::end_process).context("cannot start the watchdog")?;
        let token = shutdown::signal_token().context("cannot listen for SIGTERM")?;
        run::run(args, token).await
    })
}
