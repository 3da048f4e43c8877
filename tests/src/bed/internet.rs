//! The registries that play the internet: CNCF distribution, with TLS by the test bed's authority, inside the cluster's
//! network. What was asked of them is read from distribution's own access log.
//!
//! In front of each stands a byte-forwarding process (`testbed front`), so that a test can make the line slow and see how
//! many bytes crossed it, without touching the registry.

pub mod front;
pub mod log;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

pub use log::Request;

use super::pki::Authority;
use super::process::Journal;
use super::wait::{Look, wait_for};
use super::{Cluster, cluster, http, interrupt, names, paths, shell};

/// Where the registry itself listens; port 443 is the front.
const INNER_PORT: u16 = 5443;

/// A registry of the internet.
#[derive(Clone, Debug)]
pub struct Internet {
    cluster: String,
    work: PathBuf,
    host: &'static str,
    address: &'static str,
}

/// A place in the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marker(u64);

impl Internet {
    pub(crate) fn new(cluster: &Cluster, host: &str) -> Result<Self> {
        let (host, address) = names::INTERNET
            .into_iter()
            .find(|(name, _)| *name == host)
            .with_context(|| format!("{host} is not a name of the test bed's internet"))?;
        Ok(Self {
            cluster: cluster.spec().name.clone(),
            work: cluster.work().to_owned(),
            host,
            address,
        })
    }

    /// Its host name, as image names spell it.
    pub fn host(&self) -> &'static str {
        self.host
    }

    /// Its address in the cluster's network.
    pub fn address(&self) -> &'static str {
        self.address
    }

    /// Starts it (again); its content is kept. Returns when it answers.
    pub fn start(&self) -> Result<()> {
        let dir = self.dir();
        interrupt::guarded(|| self.write_files(&dir))?;
        let journal = Journal::of(&self.work);
        let netns = names::cluster_netns(&self.cluster);
        let mut registry = shell::in_netns(&netns, paths::tool("registry"));
        registry
            .arg("serve")
            .arg(dir.join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none")
            .current_dir(&dir);
        journal.spawn(&self.registry_role(), &self.log_file(), &registry)?;
        let mut front = shell::in_netns(&netns, cluster::testbed_program()?);
        front.args(["front", "--listen", &format!("{}:443", self.address)]);
        front
            .args(["--to", &format!("{}:{INNER_PORT}", self.address), "--dir"])
            .arg(&dir);
        journal.spawn(&self.front_role(), &dir.join("front.log"), &front)?;
        self.wait_answers()
    }

    fn write_files(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        let identity = Authority::of_the_bed()?.issue(dir, "server", &[self.host, self.address])?;
        let config = format!(
            "version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage:
  filesystem: {{rootdirectory: {dir}/storage}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http:
  addr: {address}:{INNER_PORT}
  tls: {{certificate: {certificate}, key: {key}}}
",
            dir = dir.display(),
            address = self.address,
            certificate = identity.certificate.display(),
            key = identity.key.display(),
        );
        fs::write(dir.join("config.yml"), config)?;
        Ok(())
    }

    fn wait_answers(&self) -> Result<()> {
        wait_for(&format!("{} to answer", self.host), Duration::from_secs(60), || {
            let (address, host) = (format!("{}:443", self.address).parse()?, self.host);
            let authority = Authority::of_the_bed()?.certificate();
            http::block_on_in_netns(&names::cluster_netns(&self.cluster), async move {
                let mut connection = http::Connection::tls(address, host, &authority).await?;
                let response = connection
                    .send(::http::Method::GET, "/v2/", None, bytes::Bytes::new())
                    .await?;
                Ok(if response.status == 200 {
                    Look::Done(())
                } else {
                    Look::NotYet(response.status.to_string())
                })
            })
        })
    }

    /// Takes it away: connections break and new ones are refused.
    pub fn stop(&self) -> Result<()> {
        for role in [self.front_role(), self.registry_role()] {
            if let Some(process) = Journal::of(&self.work).find(&role) {
                process.end()?;
            }
        }
        Ok(())
    }

    /// Freezes it: connections are accepted by the kernel and nothing ever comes.
    pub fn freeze(&self) {
        self.signal_front(Signal::STOP);
    }

    /// Goes on after [`Internet::freeze`].
    pub fn thaw(&self) {
        self.signal_front(Signal::CONT);
    }

    fn signal_front(&self, signal: Signal) {
        if let Some(process) = Journal::of(&self.work).find(&self.front_role()) {
            process.signal(signal);
        }
    }

    /// Limits what it sends, all connections together; also those that are open. None: as fast as it can.
    pub fn limit(&self, bytes_per_second: Option<u64>) -> Result<()> {
        let text = bytes_per_second.unwrap_or(0).to_string();
        let partial = self.dir().join("rate.partial");
        fs::write(&partial, text)?;
        fs::rename(partial, self.dir().join(front::RATE_FILE))?;
        Ok(())
    }

    /// Bytes that crossed the front towards clients since its start, TLS included; grows while an answer is being sent.
    pub fn bytes_through(&self) -> u64 {
        fs::read_to_string(self.dir().join(front::SENT_FILE))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Now, as a place in the access log.
    pub fn marker(&self) -> Marker {
        Marker(fs::metadata(self.log_file()).map_or(0, |metadata| metadata.len()))
    }

    /// The requests that ended since then. A request appears when its answer is complete or broken off.
    pub fn requests(&self, since: Marker) -> Vec<Request> {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        let from = usize::try_from(since.0).unwrap_or(usize::MAX);
        log::parse(&String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()))
    }

    /// The GETs of blobs of a repository among them.
    pub fn blob_gets(&self, since: Marker, repository: &str) -> Vec<Request> {
        self.requests(since)
            .into_iter()
            .filter(|request| request.is_blob_get(repository))
            .collect()
    }

    /// Bytes of bodies sent for a repository.
    pub fn bytes_sent(&self, since: Marker, repository: &str) -> u64 {
        self.requests(since)
            .iter()
            .filter(|request| request.is_of(repository))
            .map(|request| request.bytes)
            .sum()
    }

    /// Where it keeps its files.
    pub fn dir(&self) -> PathBuf {
        self.work.join("internet").join(self.host)
    }

    /// The network namespace where it can be reached.
    pub(crate) fn netns(&self) -> String {
        names::cluster_netns(&self.cluster)
    }

    fn log_file(&self) -> PathBuf {
        self.work.join("logs").join(format!("{}.log", self.registry_role()))
    }

    fn registry_role(&self) -> String {
        format!("internet-{}", self.host)
    }

    fn front_role(&self) -> String {
        format!("front-{}", self.host)
    }
}
