//! The servers that are compared: how each is configured, started, stopped, and what it costs.

mod configuration;
mod process;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use crate::client::{self, Target};
use crate::image::Image;
use crate::tls::Tls;
use process::Group;

/// The registry name by which the engine is asked.
pub const NAMESPACE: &str = "bench.test";

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// regcache-proxy.
    Regcache,
    /// CNCF distribution as a pull-through cache.
    Distribution,
    /// nginx with `proxy_cache`.
    Nginx,
    /// nginx with the blobs as plain files and sendfile: what hits can cost at best.
    Files,
    /// No cache at all.
    Direct,
}

/// Where the programs are.
pub struct Programs {
    /// regcache-proxy.
    pub regcache: PathBuf,
    /// `registry`.
    pub distribution: PathBuf,
    /// nginx.
    pub nginx: PathBuf,
}

/// What a server is started with.
#[derive(Clone)]
pub struct Setup {
    /// Where upstream is.
    pub upstream: SocketAddr,
    /// Set: serve TLS.
    pub tls: Option<Arc<Tls>>,
    /// What may be stored, MiB.
    pub budget_mib: u64,
}

/// A running server; it is killed with this value.
pub struct Server {
    /// What it is.
    pub kind: Kind,
    /// Where clients find it.
    pub target: Target,
    /// What it stores.
    pub store: PathBuf,
    directory: PathBuf,
    setup: Setup,
    program: Option<PathBuf>,
    group: Option<Group>,
}

impl Kind {
    /// The column's heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Regcache => "regcache-proxy",
            Self::Distribution => "distribution",
            Self::Nginx => "nginx cache",
            Self::Files => "nginx files",
            Self::Direct => "direct",
        }
    }
}

impl Programs {
    /// What has to be run for this column; None for none.
    pub fn of(&self, kind: Kind) -> Option<&Path> {
        match kind {
            Kind::Regcache => Some(&self.regcache),
            Kind::Distribution => Some(&self.distribution),
            Kind::Nginx | Kind::Files => Some(&self.nginx),
            Kind::Direct => None,
        }
    }

    /// Its version as it says it itself; an error when it is not there.
    pub fn version(&self, kind: Kind) -> Result<Option<String>> {
        let Some(program) = self.of(kind) else { return Ok(None) };
        let flag = if matches!(kind, Kind::Nginx | Kind::Files) {
            "-v"
        } else {
            "--version"
        };
        let output = Command::new(program)
            .arg(flag)
            .output()
            .with_context(|| format!("{} is not there", program.display()))?;
        let said = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&said)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Some(line))
    }
}

impl Server {
    /// Starts a server with an empty store in a directory of its own, and waits until it serves.
    pub async fn start(kind: Kind, programs: &Programs, directory: PathBuf, setup: Setup) -> Result<Self> {
        let store = directory.join("store");
        fs::create_dir_all(&store)?;
        let address = if kind == Kind::Direct {
            setup.upstream
        } else {
            free_port()?
        };
        let target = Target {
            address,
            tls: setup.tls.as_ref().map(|tls| tls.client.clone()),
            query: if kind == Kind::Regcache {
                format!("?ns={NAMESPACE}")
            } else {
                String::new()
            },
        };
        let mut server = Self {
            kind,
            target,
            store,
            directory,
            setup,
            program: programs.of(kind).map(Path::to_path_buf),
            group: None,
        };
        server.run().await?;
        Ok(server)
    }

    /// Starts it again on what it has stored; returns the time until it served.
    pub async fn run(&mut self) -> Result<Duration> {
        let Some(program) = &self.program else {
            return Ok(Duration::ZERO);
        };
        let arguments = configuration::write(
            self.kind,
            &self.directory,
            &self.store,
            self.target.address,
            free_port()?,
            &self.setup,
        )?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let began = Instant::now();
        self.group = Some(Group::spawn(&mut command).with_context(|| format!("run {}", program.display()))?);
        // Plain files have no API root.
        let path = if self.kind == Kind::Files { "/" } else { "/v2/" };
        while let Err(error) = client::answers(&self.target, path).await {
            let ended = self.group.as_mut().is_none_or(Group::has_ended);
            if ended || began.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                bail!(
                    "{} does not serve: {error:#}; its last words: {last:?}",
                    self.kind.title()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(began.elapsed())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.group = None;
    }

    /// Puts the image there as plain files, for the server that serves those.
    pub fn place(&self, image: &Image) -> Result<()> {
        let base = self.store.join("v2").join(&image.repository);
        fs::create_dir_all(base.join("manifests"))?;
        fs::create_dir_all(base.join("blobs"))?;
        let manifest = image.manifest.from(0).concat();
        for reference in [&*image.tag, &*image.manifest.digest] {
            fs::write(base.join("manifests").join(reference), &manifest)?;
        }
        for blob in &image.blobs {
            fs::write(base.join("blobs").join(&*blob.digest), blob.from(0).concat())?;
        }
        Ok(())
    }

    /// The processor time that it has used, all its processes together. None without a server.
    pub fn cpu(&self) -> Option<Duration> {
        self.group.as_ref().map(Group::cpu)
    }

    /// The most memory that it used since `reset_peak`, MiB, over all its processes. None without a server.
    pub fn peak_mib(&self) -> Option<f64> {
        self.group.as_ref().map(Group::peak_mib)
    }

    /// Forgets the peak so far.
    pub fn reset_peak(&self) -> Result<()> {
        self.group.as_ref().map_or(Ok(()), Group::reset_peak)
    }

    /// What its store takes on disk now.
    pub fn stored(&self) -> u64 {
        process::disk_usage(&self.store)
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }
}

/// A port of loopback that is free at this moment.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
