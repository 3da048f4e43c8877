//! Starts and stops real clusters out of processes; see `testbed help`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use regcache_tests::bed::internet::front;
use regcache_tests::bed::node::init::{self, Daemon, Init};
use regcache_tests::bed::oci::{self, Image, Source};
use regcache_tests::bed::{Cluster, ClusterSpec, cluster, images, reaper, tools};
use regcache_tests::demo;

/// Real Kubernetes clusters out of processes, for regcache's tests and developers.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build the pinned tools (Kubernetes, containerd, …) unless they are there already
    Tools,
    /// Start a cluster and leave it running
    Up {
        #[command(flatten)]
        which: Which,
        /// Number of nodes: n1, n2, …
        #[arg(long, default_value_t = 4)]
        nodes: usize,
        /// Number of regions that the nodes are dealt to
        #[arg(long, default_value_t = 2)]
        regions: usize,
        /// Image archives to load into every node
        #[arg(long = "image", value_name = "TAR")]
        images: Vec<PathBuf>,
    },
    /// Take a cluster down: every process, namespace, mount, cgroup and file of it
    Down {
        #[command(flatten)]
        which: Which,
        /// All clusters that no running process owns
        #[arg(long)]
        all: bool,
    },
    /// Run kubectl
    Kubectl {
        #[command(flatten)]
        which: Which,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run helm
    Helm {
        #[command(flatten)]
        which: Which,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run a command inside a node
    Exec {
        #[command(flatten)]
        which: Which,
        /// n1, n2, …
        node: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Load image archives into every node
    Load {
        #[command(flatten)]
        which: Which,
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Cut a node's power and switch it on again
    PowerCycle {
        #[command(flatten)]
        which: Which,
        /// n1, n2, …
        node: String,
    },
    /// Make an image archive from static programs, which go to /
    Image {
        /// The archive
        #[arg(long)]
        out: PathBuf,
        /// Full name with tag
        #[arg(long)]
        name: String,
        /// `uid[:gid]`
        #[arg(long, default_value = "65532:65532")]
        user: String,
        /// A program; may be given several times
        #[arg(long = "program", required = true)]
        programs: Vec<PathBuf>,
    },
    /// Show the main job: a two-region cluster, regcache on it, pods pulled through it (what `make demo` runs)
    Demo,
    /// Say which clusters there are
    Status,
    #[command(hide = true)]
    NodeInit { file: PathBuf },
    #[command(hide = true)]
    NodeDaemon { dir: PathBuf, daemon: String },
    #[command(hide = true)]
    Front {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
struct Which {
    /// The cluster's name
    #[arg(long, default_value = "dev", env = "REGCACHE_CLUSTER")]
    name: String,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Tools => {
            tools::ensure()?;
            images::ensure()?;
        }
        Action::Demo => demo::run(&std::env::current_dir()?)?,
        Action::Up {
            which,
            nodes,
            regions,
            images,
        } => up(&which.name, nodes, regions, images)?,
        Action::Down { which, all } => {
            let names = if all {
                reaper::known_clusters()
            } else {
                vec![which.name]
            };
            for name in names {
                cluster::down(&name)?;
                println!("cluster {name} is gone");
            }
        }
        Action::Kubectl { which, words } => {
            return interactive(Cluster::open(&which.name)?.command("kubectl").args(words));
        }
        Action::Helm { which, words } => return interactive(Cluster::open(&which.name)?.command("helm").args(words)),
        Action::Exec { which, node, words } => {
            let (program, arguments) = words.split_first().context("no command")?;
            return interactive(
                find_node(&Cluster::open(&which.name)?, &node)?
                    .command(program)?
                    .args(arguments),
            );
        }
        Action::Load { which, archives } => {
            let cluster = Cluster::open(&which.name)?;
            archives.iter().try_for_each(|archive| cluster.import_image(archive))?;
        }
        Action::PowerCycle { which, node } => find_node(&Cluster::open(&which.name)?, &node)?.power_cycle()?,
        Action::Image {
            out,
            name,
            user,
            programs,
        } => {
            let digest = oci::write(&program_image(name, user, programs)?, &out)?;
            println!("{} {digest}", out.display());
        }
        Action::Status => status(),
        Action::NodeInit { file } => init::run(&file)?,
        Action::NodeDaemon { dir, daemon } => {
            let known = [Daemon::Containerd, Daemon::Kubelet, Daemon::KubeProxy];
            let daemon = known
                .into_iter()
                .find(|it| it.program() == daemon)
                .context("no such daemon")?;
            Init::read(&dir)?.start(daemon)?;
        }
        Action::Front { listen, to, dir } => front::run(listen, to, &dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &str, nodes: usize, regions: usize, images: Vec<PathBuf>) -> Result<()> {
    let started = std::time::Instant::now();
    let mut spec = ClusterSpec::regions(name, nodes, regions);
    spec.images = images;
    println!("starting cluster {name}: {nodes} nodes in {regions} regions");
    let cluster = Cluster::start(spec)?;
    let script = cluster.work().join("k");
    let program = cluster::testbed_program()?;
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nexec {} kubectl --name {name} -- \"$@\"\n",
            program.display()
        ),
    )?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    println!(
        "{}",
        cluster.kubectl(&["get", "nodes", "-L", "topology.kubernetes.io/region"])?
    );
    println!("cluster {name} is up after {:.1} s", started.elapsed().as_secs_f64());
    println!("  kubectl        {} get pods -A", script.display());
    println!(
        "  on a node      {} exec --name {name} n1 -- ls /etc/containerd/certs.d",
        program.display()
    );
    println!("  take it down   {} down --name {name}", program.display());
    cluster.keep()
}

fn find_node(cluster: &Cluster, name: &str) -> Result<regcache_tests::bed::Node> {
    let known = cluster.nodes();
    known
        .into_iter()
        .find(|node| node.name() == name)
        .with_context(|| format!("there is no node {name}"))
}

fn interactive(command: &mut std::process::Command) -> Result<ExitCode> {
    let status = command.status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

fn program_image(name: String, user: String, programs: Vec<PathBuf>) -> Result<Image> {
    let mut files = Vec::new();
    for program in programs {
        let Some(stem) = program.file_name().and_then(|stem| stem.to_str()) else {
            bail!("{} has no name", program.display())
        };
        files.push((format!("/{stem}"), Source::Program(program.clone())));
    }
    Ok(Image {
        name,
        user,
        files,
        env: vec!["PATH=/".to_owned()],
        ..Image::default()
    })
}

fn status() {
    let known = reaper::known_clusters();
    if known.is_empty() {
        println!("no cluster");
    }
    for name in known {
        match Cluster::open(&name).and_then(|cluster| cluster.kubectl(&["get", "nodes", "--request-timeout=5s"])) {
            Ok(nodes) => println!("{name}: up\n{nodes}"),
            Err(error) => println!("{name}: not in order ({error:#}); testbed down --name {name} removes it"),
        }
    }
}
