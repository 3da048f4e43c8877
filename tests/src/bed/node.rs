//! One node of a running cluster: commands on it, its files from outside, its daemons, its power.

pub mod config;
pub mod containers;
pub mod init;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::cluster::network;
use super::cluster::spec::ClusterSpec;
use super::process::{self, Journal};
use super::wait::wait_until;
use super::{cgroups, cluster, names, paths, reaper, shell};
use init::{Daemon, Init};

/// A node: `n1`, `n2`, …
#[derive(Clone, Debug)]
pub struct Node {
    cluster: String,
    index: usize,
    work: PathBuf,
}

impl Node {
    /// Node `index` (from 1) of a cluster.
    pub(crate) fn new(cluster: &str, index: usize, work: &Path) -> Self {
        Self {
            cluster: cluster.to_owned(),
            index,
            work: work.to_owned(),
        }
    }

    /// `n1`.
    pub fn name(&self) -> String {
        format!("n{}", self.index)
    }

    /// Its address in the cluster's network.
    pub fn address(&self) -> String {
        names::node_address(self.index)
    }

    /// Its files, seen from outside; `run` in it is the node's `/run` (see [`init::DIRECTORIES`]).
    pub fn dir(&self) -> PathBuf {
        paths::node(&self.work, &self.name())
    }

    /// The node's `/etc/containerd/certs.d`, seen from outside. Read and write it as any directory.
    pub fn certs_dir(&self) -> PathBuf {
        self.dir().join("etc-containerd/certs.d")
    }

    /// Writes the node's configuration and wires it to the network.
    pub(crate) fn prepare(&self, spec: &ClusterSpec, images: &[PathBuf]) -> Result<()> {
        let node = spec.nodes.get(self.index - 1).context("no such node in the spec")?;
        let dir = self.dir();
        for (name, _) in init::DIRECTORIES {
            fs::create_dir_all(dir.join(name))?;
        }
        if node.certs_dir {
            fs::create_dir_all(self.certs_dir())?;
        }
        fs::write(dir.join("etc-containerd/config.toml"), config::containerd(node))?;
        fs::write(dir.join("cni/10-bridge.conflist"), config::cni(self.index))?;
        fs::write(dir.join("kubelet.yaml"), config::kubelet())?;
        fs::write(dir.join("kube-proxy.yaml"), config::kube_proxy(&self.work, self.index))?;
        let init = Init {
            name: self.name(),
            address: self.address(),
            labels: node.labels(),
            work: self.work.clone(),
            dir: dir.clone(),
            images: images.to_vec(),
        };
        fs::write(dir.join("init.json"), serde_json::to_vec_pretty(&init)?)?;
        network::create_node(&self.cluster, self.index, spec.nodes.len())
    }

    /// Starts the node's PID 1. Returns at once; the node becomes Ready some seconds later.
    pub fn power_on(&self) -> Result<()> {
        let mut command = shell::in_netns(&names::node_netns(&self.cluster, self.index), "unshare");
        command.args(["--mount", "--uts", "--pid", "--fork", "--kill-child"]);
        command
            .arg(cluster::testbed_program()?)
            .arg("node-init")
            .arg(self.dir().join("init.json"));
        Journal::of(&self.work)
            .spawn(&self.name(), &self.dir().join("node.log"), &command)
            .map(drop)
    }

    /// A power cut: every process of the node dies at once, `/run` and the network rules are forgotten.
    pub fn power_off(&self) -> Result<()> {
        if let Some(unshare) = Journal::of(&self.work).find(&self.name()) {
            let first = process::first_child(unshare.pid).and_then(|pid| process::look_up(pid, &self.name()));
            first.map_or(Ok(()), |first| first.end())?;
            unshare.end()?;
        }
        let netns = names::node_netns(&self.cluster, self.index);
        wait_until("the end of all processes of the node", Duration::from_secs(20), || {
            reaper::processes_in(&netns).is_empty()
        })?;
        cgroups::remove(&cgroups::containers(&self.dir()))?;
        network::reset_node(&self.cluster, self.index)?;
        let run = self.dir().join("run");
        fs::remove_dir_all(&run).context("empty /run")?;
        fs::create_dir(&run)?;
        Ok(())
    }

    /// Power off and on. Returns when the node boots, not when it is Ready.
    pub fn power_cycle(&self) -> Result<()> {
        self.power_off()?;
        self.power_on()
    }

    /// The node's PID 1 as this machine counts.
    fn first_process(&self) -> Result<i32> {
        let name = self.name();
        let unshare = Journal::of(&self.work)
            .find(&name)
            .with_context(|| format!("{name} is not running"))?;
        process::first_child(unshare.pid).with_context(|| format!("{name} is not running"))
    }

    /// A command inside the node: all of its namespaces, the tools in PATH.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = shell::plain("nsenter");
        command.args([
            "-t",
            &self.first_process()?.to_string(),
            "--net",
            "--mount",
            "--uts",
            "--pid",
            "--wd=/",
        ]);
        command.arg(program).env("PATH", init::path_variable());
        Ok(command)
    }

    /// Runs a command inside the node: its standard output, or an error with what it said.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        let (program, arguments) = words.split_first().context("no command")?;
        shell::run(self.command(program)?.args(arguments))
    }

    /// The same, whatever comes out.
    pub fn try_exec(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("no command")?;
        self.command(program)?
            .args(arguments)
            .output()
            .with_context(|| format!("start {program}"))
    }

    /// Sends a signal to one of the node's daemons, by the id that it was started with.
    pub fn signal_daemon(&self, daemon: Daemon, signal: Signal) -> Result<()> {
        let pid = fs::read_to_string(Init::read(&self.dir())?.pid_file(daemon))?;
        self.exec(&["busybox", "kill", &format!("-{}", signal.as_raw()), pid.trim()])
            .map(drop)
    }

    /// Starts one of the node's daemons again, after a kill.
    pub fn start_daemon(&self, daemon: Daemon) -> Result<()> {
        let program = cluster::testbed_program()?.display().to_string();
        let dir = self.dir().display().to_string();
        self.exec(&[&program, "node-daemon", &dir, daemon.program()]).map(drop)
    }

    /// Loads an image archive into the node.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        let archive = fs::canonicalize(archive).with_context(|| format!("find {}", archive.display()))?;
        self.exec(&[
            "ctr",
            "-n",
            "k8s.io",
            "images",
            "import",
            &archive.display().to_string(),
        ])
        .map(drop)
    }

    /// The logs of the node and its daemons.
    pub fn logs(&self) -> Vec<PathBuf> {
        let mut logs = vec![self.dir().join("node.log")];
        for daemon in [Daemon::Containerd, Daemon::Kubelet, Daemon::KubeProxy] {
            logs.push(self.dir().join(format!("{}.log", daemon.program())));
        }
        logs
    }
}
