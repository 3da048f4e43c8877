//! The proxy's program.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread::available_parallelism;

use anyhow::Context as _;
use clap::Parser as _;
use regcache_proxy::cli::Cli;
use regcache_proxy::config::{Loaded, Source};
use regcache_proxy::run::{Proxy, Times};
use regcache_runtime::{shutdown, telemetry};
use rustix::process::{Resource, getrlimit, setrlimit};

/// More threads move no more bytes: the kernel does the moving.
const MOST_THREADS: usize = 16;
/// Threads that wait for the disk. More of them make no disk faster, and each has a stack.
const MOST_WAITING: usize = 64;

/// From this size on a buffer is the kernel's again as soon as it is free, bytes. Left to itself, glibc raises its limit
/// over time, and a herd over TLS leaves 10 MiB behind in arenas that never shrink.
const LARGE: &str = "glibc.malloc.mmap_threshold=49152";

fn main() -> ExitCode {
    let cli = Cli::parse();
    tune_memory();
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with all its causes.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> anyhow::Result<()> {
    let source = cli.source().map_err(anyhow::Error::msg)?;
    let loaded = source.read()?;
    telemetry::init(loaded.config.log_format);
    raise_descriptors();
    let threads = available_parallelism().map_or(2, |cores| cores.get().clamp(2, MOST_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(MOST_WAITING)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let times = Times {
        drain: cli.drain,
        grace: cli.grace,
        ..Times::default()
    };
    runtime.block_on(run(source, loaded, times))
}

async fn run(source: Source, loaded: Loaded, times: Times) -> anyhow::Result<()> {
    let token = shutdown::signal_token().context("cannot listen for SIGTERM")?;
    Proxy::start(source, loaded, times).await?.run(token).await
}

/// Starts this program anew with a setting that glibc reads before `main` alone. Under an operator's own setting, or
/// when it cannot be done, the program runs as it is: it only takes more memory.
fn tune_memory() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if cfg!(target_env = "gnu")
        && std::env::var_os(TUNABLES).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let _unless_it_fails = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(TUNABLES, LARGE)
            .exec();
    }
}

/// A connection and an open file for each client: as many as the machine lets us have.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
