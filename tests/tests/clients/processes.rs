//! The registry, the engine before it, and children that end with the test.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use regcache_tests::bed::wait::wait_until;
use regcache_tests::bed::{build, paths, shell};
use tempfile::TempDir;

/// A child process, killed and waited for when dropped.
pub struct Child(std::process::Child);

impl Child {
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Self(command.spawn().with_context(|| format!("start {command:?}"))?))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CNCF distribution on loopback, in plain HTTP.
pub struct Upstream {
    pub work: TempDir,
    pub address: SocketAddr,
    _child: Child,
}

impl Upstream {
    pub fn start() -> Result<Self> {
        let work = tempfile::tempdir()?;
        let address = free_address()?;
        let config = work.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}/storage}}\nhttp:\n  addr: {address}\n",
            work.path().display()
        );
        fs::write(&config, text)?;
        let mut command = shell::plain(paths::tool("registry"));
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let child = Child::spawn(command, &work.path().join("log"))?;
        listening(address)?;
        Ok(Self {
            work,
            address,
            _child: child,
        })
    }
}

/// The built-in engine before that registry, which it calls `up.test`.
pub struct Proxy {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    _child: Child,
}

impl Proxy {
    pub fn start(work: &Path, upstream: &Upstream) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = shell::plain(build::static_program("regcache-proxy")?);
        command.args([
            "--listen",
            &address.to_string(),
            "--admin",
            &admin.to_string(),
            "--store",
        ]);
        command.arg(work.join("store"));
        command
            .arg("--upstream")
            .arg(format!("up.test=http://{}", upstream.address));
        let child = Child::spawn(command, &work.join("proxy.log"))?;
        listening(address)?;
        listening(admin)?;
        Ok(Self {
            address,
            admin,
            _child: child,
        })
    }
}

/// A metric's value, summed over the label sets that contain `labels`.
pub fn metric(proxy: &Proxy, name: &str, labels: &str) -> Result<f64> {
    let url = format!("http://{}/metrics", proxy.admin);
    let text = shell::run(shell::plain("curl").args(["--silent", "--fail", &url]))?;
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(labels));
    Ok(lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn listening(address: SocketAddr) -> Result<()> {
    wait_until(
        &format!("somebody to listen on {address}"),
        Duration::from_secs(60),
        || TcpStream::connect(address).is_ok(),
    )
}
