//! PID 1 of a node: mounts the node's own files over the machine's, starts its daemons, and reaps orphans.
//!
//! Runs as `testbed node-init FILE` in fresh mount, PID and UTS namespaces. When it dies, the kernel kills every process
//! of the node, pods included: that is a power cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{WaitOptions, wait};
use serde::{Deserialize, Serialize};

use crate::bed::wait::wait_until;
use crate::bed::{paths, shell};

/// What a node needs to know of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Init {
    /// `n1`.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its labels as kubelet takes them.
    pub labels: String,
    /// The cluster's work directory.
    pub work: PathBuf,
    /// The node's own directory below it.
    pub dir: PathBuf,
    /// Image archives to load at the first start.
    pub images: Vec<PathBuf>,
}

/// A daemon of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// The container runtime.
    Containerd,
    /// The node's agent.
    Kubelet,
    /// The services' network rules.
    KubeProxy,
}

impl Daemon {
    /// The program's name, also that of its log.
    pub fn program(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }
}

/// The directories of a node that lie over the machine's: name below the node's directory, place on the node.
pub const DIRECTORIES: [(&str, &str); 8] = [
    ("etc-containerd", "/etc/containerd"),
    ("containerd", "/var/lib/containerd"),
    ("kubelet", "/var/lib/kubelet"),
    ("cni", "/etc/cni/net.d"),
    ("cni-state", "/var/lib/cni"),
    ("log-pods", "/var/log/pods"),
    ("log-containers", "/var/log/containers"),
    ("run", "/run"),
];

/// Where containerd's images have been loaded once.
const LOADED: &str = "images-loaded";

/// Becomes the node. Returns only on an error.
pub fn run(file: &Path) -> Result<()> {
    let init: Init = serde_json::from_slice(&fs::read(file).with_context(|| format!("read {}", file.display()))?)?;
    init.mount().context("mount the node's files")?;
    rustix::system::sethostname(init.name.as_bytes())?;
    init.start(Daemon::Containerd)?;
    init.load_images()?;
    let marker = init.work.join("control-plane-ready");
    wait_until("the control plane", Duration::from_secs(120), || marker.exists())?;
    init.start(Daemon::KubeProxy)?;
    init.start(Daemon::Kubelet)?;
    loop {
        // Children that died are collected; there are always some that live.
        if wait(WaitOptions::empty()).is_err() {
            bail!("no process of the node is left");
        }
    }
}

impl Init {
    /// What lies in the node's directory.
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join("init.json");
        Ok(serde_json::from_slice(
            &fs::read(&file).with_context(|| format!("read {}", file.display()))?,
        )?)
    }

    fn mount(&self) -> Result<()> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount(c"proc", c"/proc", c"proc", MountFlags::empty(), c"")?;
        for (name, place) in DIRECTORIES {
            fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
            bind(&self.dir.join(name), Path::new(place))?;
        }
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default()
            + &fs::read_to_string(self.work.join("internet.hosts"))?;
        fs::write(self.dir.join("hosts"), hosts)?;
        bind(&self.dir.join("hosts"), Path::new("/etc/hosts"))?;
        bind(
            &self.work.join("ca-bundle.crt"),
            Path::new("/etc/ssl/certs/ca-certificates.crt"),
        )?;
        fs::write(
            self.dir.join("resolv.conf"),
            format!("nameserver {}\n", crate::bed::names::DNS),
        )?;
        bind_over_link(&self.dir.join("resolv.conf"), Path::new("/etc/resolv.conf"))?;
        // Pods with mount propagation need shared mounts.
        mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
        Ok(())
    }

    /// Starts one of the node's daemons, in the namespaces of the caller.
    pub fn start(&self, daemon: Daemon) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log(daemon))?;
        let mut command = self.command("setsid");
        command.arg(paths::tool(daemon.program()));
        match daemon {
            // Only the test bed's own bundle: the machine's directory of single certificates is another set.
            Daemon::Containerd => {
                command
                    .env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
                    .env("SSL_CERT_DIR", "/nonexistent");
            }
            Daemon::KubeProxy => {
                command.arg("--config").arg(self.dir.join("kube-proxy.yaml"));
            }
            Daemon::Kubelet => {
                command.arg("--config").arg(self.dir.join("kubelet.yaml"));
                command.arg("--kubeconfig").arg(self.work.join("admin.kubeconfig"));
                command.args(["--hostname-override", &self.name, "--node-ip", &self.address]);
                if !self.labels.is_empty() {
                    command.args(["--node-labels", &self.labels]);
                }
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {}", daemon.program()))?;
        fs::write(self.pid_file(daemon), child.id().to_string())?;
        if daemon == Daemon::Containerd {
            wait_until("containerd", Duration::from_secs(60), || {
                shell::run(self.command("ctr").arg("version")).is_ok()
            })?;
        }
        Ok(())
    }

    fn load_images(&self) -> Result<()> {
        let marker = self.dir.join(LOADED);
        if marker.exists() {
            return Ok(());
        }
        for archive in &self.images {
            shell::run(
                self.command("ctr")
                    .args(["-n", "k8s.io", "images", "import"])
                    .arg(archive),
            )?;
        }
        fs::write(marker, "")?;
        Ok(())
    }

    /// A command with the tools in PATH.
    fn command(&self, program: &str) -> Command {
        let mut command = shell::plain(program);
        command
            .env("PATH", path_variable())
            .env("TMPDIR", self.work.join("tmp"))
            .current_dir("/");
        command
    }

    /// The daemon's log.
    pub fn log(&self, daemon: Daemon) -> PathBuf {
        self.dir.join(format!("{}.log", daemon.program()))
    }

    /// The daemon's process id, as the node counts.
    pub fn pid_file(&self, daemon: Daemon) -> PathBuf {
        self.dir.join(format!("{}.pid", daemon.program()))
    }
}

/// PATH on a node.
pub fn path_variable() -> String {
    format!(
        "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        paths::bin().display()
    )
}

fn bind(source: &Path, place: &Path) -> Result<()> {
    mount_bind(source, place).with_context(|| format!("mount {} on {}", source.display(), place.display()))
}

/// Binds over the file that a link leads to; on some systems that lies in /run, which is empty here.
fn bind_over_link(source: &Path, place: &Path) -> Result<()> {
    let target = match fs::read_link(place) {
        Ok(link) => place.parent().unwrap_or(Path::new("/")).join(link),
        Err(_) => place.to_owned(),
    };
    if !target.exists() {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, "")?;
    }
    bind(source, &target)
}
