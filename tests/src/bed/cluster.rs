//! A running cluster: start, use, stop.

pub mod control;
mod dump;
pub mod kubectl;
pub mod network;
pub mod pull;
pub mod spec;
mod storage;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::internet::Internet;
use super::node::Node;
use super::wait::{Look, wait_for};
use super::{images, interrupt, names, paths, reaper, shell, tools};
use control::Component;
use spec::ClusterSpec;

/// How long a start may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster. When it goes out of scope everything of it is taken away.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    work: PathBuf,
    /// Held while the cluster belongs to this process; none: it belongs to nobody and stays.
    lock: Option<File>,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes are Ready. What a crashed run left under its name is removed first.
    pub fn start(spec: ClusterSpec) -> Result<Self> {
        names::check_cluster(&spec.name)?;
        if spec.nodes.is_empty() || spec.nodes.len() > 90 {
            bail!("a cluster has 1 to 90 nodes");
        }
        if !shell::is_root() {
            bail!("the test bed needs root: it makes namespaces and runs kubelets");
        }
        tools::ensure()?;
        let mut archives = images::ensure()?;
        for archive in &spec.images {
            archives.push(fs::canonicalize(archive).with_context(|| format!("image archive {}", archive.display()))?);
        }
        let lock = lock(&spec.name)?;
        let work = paths::work(&spec.name);
        if kept_marker(&work).exists() && !reaper::leftovers(&spec.name).is_empty() {
            bail!(
                "cluster {0} is up already; take it down first: testbed down {0}",
                spec.name
            );
        }
        reaper::remove(&spec.name).context("remove what an earlier run left")?;
        interrupt::protect(&spec.name);
        let cluster = Self {
            spec,
            work,
            lock: Some(lock),
        };
        // On an error `cluster` is dropped here, and with it everything that was started.
        cluster
            .bring_up(&archives)
            .with_context(|| format!("start cluster {}", cluster.spec.name))?;
        Ok(cluster)
    }

    /// A cluster that was kept by [`Cluster::keep`].
    pub fn open(name: &str) -> Result<Self> {
        names::check_cluster(name)?;
        let work = paths::work(name);
        let text = fs::read(work.join("spec.json")).with_context(|| format!("there is no cluster {name}"))?;
        Ok(Self {
            spec: serde_json::from_slice(&text)?,
            work,
            lock: None,
        })
    }

    /// Leaves it running when this process ends.
    pub fn keep(mut self) -> Result<()> {
        fs::write(kept_marker(&self.work), "")?;
        interrupt::release(&self.spec.name);
        self.lock = None;
        Ok(())
    }

    /// Lets go of it without cleaning, as a process does that is killed.
    pub fn abandon(mut self) {
        interrupt::release(&self.spec.name);
        self.lock = None;
    }

    /// Takes everything of it away.
    pub fn stop(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        reaper::remove(&self.spec.name)?;
        interrupt::release(&self.spec.name);
        self.lock = None;
        Ok(())
    }

    fn bring_up(&self, archives: &[PathBuf]) -> Result<()> {
        let name = &self.spec.name;
        interrupt::guarded(|| {
            fs::create_dir_all(&self.work)?;
            fs::write(self.work.join("spec.json"), serde_json::to_vec_pretty(&self.spec)?)?;
            network::create_cluster(name)?;
            control::write_files(&self.work)
        })?;
        Component::Etcd.start(name, &self.work)?;
        Component::ApiServer.start(name, &self.work)?;
        // Nodes boot while the API server starts; their kubelets wait for the marker.
        for node in self.nodes() {
            interrupt::guarded(|| node.prepare(&self.spec, archives))?;
            node.power_on()?;
        }
        for (host, _) in names::INTERNET.iter().take(names::STARTED) {
            Internet::new(self, host)?.start()?;
        }
        self.wait_api()?;
        Component::ControllerManager.start(name, &self.work)?;
        Component::Scheduler.start(name, &self.work)?;
        fs::write(self.work.join("control-plane-ready"), "")?;
        Component::Dns.start(name, &self.work)?;
        self.apply(&storage::objects())?;
        Component::VolumeProvisioner.start(name, &self.work)?;
        self.wait_nodes_ready()?;
        // Pods are refused until it exists.
        wait_for("the default service account", PATIENCE, || {
            Ok(Look::Done(self.kubectl(&["get", "serviceaccount", "default"])?))
        })?;
        Ok(())
    }

    /// Waits until the API server says that it is ready.
    pub fn wait_api(&self) -> Result<()> {
        wait_for("the API server", PATIENCE, || {
            Ok(Look::Done(self.kubectl(&["get", "--raw", "/readyz"])?))
        })
        .map(drop)
    }

    /// Waits until every node is Ready.
    pub fn wait_nodes_ready(&self) -> Result<()> {
        wait_for("all nodes to be Ready", PATIENCE, || {
            let text = self.kubectl(&["get", "nodes", "--no-headers"])?;
            let ready = text
                .lines()
                .filter(|line| line.split_whitespace().nth(1) == Some("Ready"))
                .count();
            Ok(if ready == self.spec.nodes.len() {
                Look::Done(())
            } else {
                Look::NotYet(text)
            })
        })
    }

    /// What it was started from.
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// Its directory: kubeconfig, logs, the nodes' files.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Node `index`, counted from 1 as in its name.
    pub fn node(&self, index: usize) -> Node {
        Node::new(&self.spec.name, index, &self.work)
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<Node> {
        (1..=self.spec.nodes.len()).map(|index| self.node(index)).collect()
    }

    /// A registry of the internet by its name in [`names::INTERNET`]; `images.test` and `other.test` run already.
    pub fn internet(&self, host: &str) -> Result<Internet> {
        Internet::new(self, host)
    }

    /// Starts a component of the control plane that was killed.
    pub fn start_component(&self, component: Component) -> Result<()> {
        component.start(&self.spec.name, &self.work)
    }

    /// Kills a component of the control plane.
    pub fn kill_component(&self, component: Component) -> Result<()> {
        component.kill(&self.work)
    }

    /// Loads an image archive into every node.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        self.nodes().iter().try_for_each(|node| node.import_image(archive))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        if std::thread::panicking() {
            match self.dump() {
                Ok(dir) => eprintln!(
                    "logs and objects of cluster {} are in {}",
                    self.spec.name,
                    dir.display()
                ),
                Err(error) => eprintln!("cannot keep the logs of cluster {}: {error:#}", self.spec.name),
            }
        }
        if let Err(error) = self.take_down() {
            eprintln!("cluster {} is not gone: {error:#}", self.spec.name);
        }
    }
}

/// Removes a cluster of that name, whoever started it, unless a living process still uses it.
pub fn down(name: &str) -> Result<()> {
    names::check_cluster(name)?;
    let _lock = lock(name)?;
    reaper::remove(name)
}

fn kept_marker(work: &Path) -> PathBuf {
    work.join("kept")
}

/// The lock of a cluster's name. A process that died let go of it.
fn lock(name: &str) -> Result<File> {
    let path = paths::cluster_lock(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = File::create(&path)?;
    let started = Instant::now();
    while file.try_lock().is_err() {
        // Whoever holds it may be about to end.
        if started.elapsed() > Duration::from_secs(10) {
            bail!("cluster {name} is in use by another process (lock {})", path.display());
        }
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(file)
}

/// The `testbed` program, which is also a node's PID 1: `$REGCACHE_TESTBED`, this very program, or beside it.
pub fn testbed_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("REGCACHE_TESTBED") {
        return Ok(path.into());
    }
    let me = std::env::current_exe()?;
    // Tests lie in `deps` below the programs.
    for directory in me.ancestors().skip(1).take(2) {
        let candidate = directory.join("testbed");
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!(
        "the program `testbed` is not beside {}; build it: cargo build -p regcache-tests --bin testbed",
        me.display()
    )
}
