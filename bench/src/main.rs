//! Measures the cache engine, CNCF distribution, nginx and no cache at all side by side: `make bench`.
//!
//! Everything runs on this machine over loopback: an upstream that counts and has the rate and latency of a link, the
//! server, and clients that pull as containerd does. They share the processors, so that of the servers only their own
//! processor time is counted; walls and first bytes are those of a machine that does all three.

mod client;
mod http1;
mod image;
mod number;
mod others;
mod scenario;
mod server;
mod table;
mod tls;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use scenario::{Bench, Scenario};
use server::{Kind, Programs};
use table::Table;
use tls::Tls;

/// Measures regcache-proxy side by side with other caches, all in the same way.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Only these scenarios; all but `start` otherwise, which takes minutes and has to be asked for
    #[arg(long, value_delimiter = ',', value_name = "SCENARIO")]
    only: Vec<Scenario>,
    /// Only these columns; those whose program is not there are left out
    #[arg(long, value_delimiter = ',', value_name = "SERVER")]
    servers: Vec<Kind>,
    /// Writes the numbers to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One client of a herd in so many checks digests, the others lengths: hashing takes more than serving
    #[arg(long, default_value_t = 10, value_name = "N")]
    check_every: usize,
    /// Blobs to be stored before the scenario `start`
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    start_blobs: u32,
    /// Fails when the engine misses a mark
    #[arg(long)]
    strict: bool,
    /// The program regcache-proxy; beside this one otherwise
    #[arg(long, value_name = "FILE")]
    regcache: Option<PathBuf>,
    /// The program registry of CNCF distribution; the test bed's otherwise
    #[arg(long, value_name = "FILE")]
    distribution: Option<PathBuf>,
    /// The program nginx
    #[arg(long, default_value = "/usr/sbin/nginx", value_name = "FILE")]
    nginx: PathBuf,
    /// Where the temporary directory is made; the system's place otherwise
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
}

impl Arguments {
    fn programs(&self) -> Result<Programs> {
        let beside = std::env::current_exe()?.with_file_name("regcache-proxy");
        let bed = std::env::var_os("REGCACHE_TESTBED_DIR").unwrap_or("/var/tmp/regcache-testbed".into());
        let registry = PathBuf::from(bed).join("bin/registry");
        Ok(Programs {
            regcache: self.regcache.clone().unwrap_or(beside),
            distribution: self.distribution.clone().unwrap_or(registry),
            nginx: self.nginx.clone(),
        })
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let asked = |scenario: &Scenario| {
            if self.only.is_empty() {
                *scenario != Scenario::Start
            } else {
                self.only.contains(scenario)
            }
        };
        Scenario::value_variants().iter().copied().filter(asked).collect()
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    raise_file_limit()?;
    let mut temporary = tempfile::Builder::new();
    temporary.prefix("regcache-bench-");
    let work = match &arguments.work {
        Some(place) => temporary.tempdir_in(place),
        None => temporary.tempdir(),
    }
    .context("make a temporary directory")?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Whatever ends first, servers are killed before their directory goes.
    let result = tokio::select! {
        result = run(&arguments, work.path().to_path_buf()) => result,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    };
    work.close().context("remove the temporary directory")?;
    result
}

async fn run(arguments: &Arguments, work: PathBuf) -> Result<ExitCode> {
    let bench = Bench {
        programs: arguments.programs()?,
        tls: Tls::new(&work)?,
        work,
        check_every: arguments.check_every,
        start_blobs: arguments.start_blobs,
        directories: AtomicUsize::new(0),
    };
    let (mut servers, mut versions) = (Vec::new(), Vec::new());
    let wanted = |kind: &&Kind| arguments.servers.is_empty() || arguments.servers.contains(kind);
    for kind in Kind::value_variants().iter().filter(wanted) {
        match bench.programs.version(*kind) {
            Ok(version) => {
                versions.extend(version.map(|version| format!("{}: {version}", kind.title())));
                servers.push(*kind);
            }
            Err(error) => println!("without {}: {error:#}", kind.title()),
        }
    }
    versions.push(format!(
        "{} processors for upstream, server and clients together; one client in {} checks digests, the others lengths",
        std::thread::available_parallelism()?,
        bench.check_every
    ));
    let mut table = Table::new(servers.clone(), versions);
    println!("{}", table.heading());
    for scenario in arguments.scenarios() {
        let about = scenario.about();
        let taken = others::share().await;
        let kinds = servers.iter().copied().filter(|kind| about.servers.contains(kind));
        let outcomes = if about.together {
            let runs = kinds.map(|kind| {
                let bench = &bench;
                async move { (kind, scenario.run(bench, kind).await) }
            });
            futures::future::join_all(runs).await
        } else {
            let mut outcomes = Vec::new();
            for kind in kinds {
                outcomes.push((kind, scenario.run(&bench, kind).await));
            }
            outcomes
        };
        println!("{}", table.add(scenario.name(), taken, &about, outcomes));
    }
    let (marks, missed) = table.marks();
    println!("regcache-proxy: {} of {marks} marks reached", marks - missed);
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&table)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    let failed = arguments.strict && missed > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Hundreds of clients have three connections each, and servers inherit the limit.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")
}
