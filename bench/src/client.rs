//! A client that pulls as containerd does: HEAD of the tag, GET of the manifest by digest, then config and layers, three
//! at a time, each within 30 s to its header.

mod connection;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::ClientConfig;
use serde::Deserialize;

use connection::Connection;

/// containerd's limit for a header, since 2.3.
const HEADER: Duration = Duration::from_secs(30);
/// containerd has no limit here; this one only ends the measurement.
const SILENCE: Duration = Duration::from_secs(60);
/// Blobs at a time, as in containerd.
const PARALLEL: usize = 3;

/// What clients talk to.
#[derive(Clone)]
pub struct Target {
    /// Its address, on loopback.
    pub address: SocketAddr,
    /// Set: by TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// What comes after each path: empty, or `?ns=...`.
    pub query: String,
}

/// How a client goes about its pull.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// Digests are checked. Without, lengths are, and bodies on plain HTTP are thrown away in the kernel.
    pub checks: bool,
    /// It hangs up after so many bytes of blobs.
    pub gives_up_after: Option<u64>,
}

impl Manner {
    /// To the end, with every digest checked.
    pub fn checking() -> Self {
        Self {
            checks: true,
            gives_up_after: None,
        }
    }
}

/// How a pull went, be it complete or not.
#[derive(Clone, Copy, Default)]
pub struct Timings {
    /// The longest that it waited for a header, from before it connected.
    pub header: Duration,
    /// The longest that it waited for the first byte of a body.
    pub first_byte: Duration,
    /// From beginning to end.
    pub total: Duration,
    /// Bytes of blobs received.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

/// One pull under way.
struct Pull<'a> {
    target: &'a Target,
    base: String,
    manner: Manner,
    received: AtomicU64,
    timings: Mutex<Timings>,
}

/// Pulls an image by its tag. What was measured is there though the pull may have failed.
pub async fn pull(target: &Target, repository: &str, tag: &str, manner: Manner) -> (Timings, Result<()>) {
    let began = Instant::now();
    let pull = Pull {
        target,
        base: format!("/v2/{repository}"),
        manner,
        received: AtomicU64::new(0),
        timings: Mutex::default(),
    };
    let result = pull.run(tag).await;
    let mut timings = *pull.timings();
    timings.total = began.elapsed();
    timings.bytes = pull.received.load(Ordering::Relaxed);
    (timings, result)
}

/// The digest that the tag has by a HEAD, which is how a pull begins.
pub async fn resolve(target: &Target, repository: &str, tag: &str) -> Result<String> {
    let path = format!("/v2/{repository}/manifests/{tag}{}", target.query);
    let asked = async { Connection::open(target).await?.ask("HEAD", &path).await };
    let answer = tokio::time::timeout(HEADER, asked).await??;
    ensure!(answer.word(1) == "200", "{} to HEAD {path}", answer.line);
    Ok(answer.field("docker-content-digest").unwrap_or_default().to_owned())
}

/// Whether a GET of this path is answered 200, body and all.
pub async fn answers(target: &Target, path: &str) -> Result<()> {
    let mut connection = Connection::open(target).await?;
    let answer = connection.ask("GET", &format!("{path}{}", target.query)).await?;
    ensure!(answer.word(1) == "200", "{} to GET {path}", answer.line);
    let length = connection::length(&answer)?;
    connection.whole(length).await?;
    Ok(())
}

impl Pull<'_> {
    fn timings(&self) -> MutexGuard<'_, Timings> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, tag: &str) -> Result<()> {
        let mut connection = None;
        let path = format!("{}/manifests/{tag}", self.base);
        let (head, _) = self.request(&mut connection, "HEAD", &path, "200").await?;
        // Without the digest, as containerd does, by GET of the tag.
        let reference = head.unwrap_or_else(|| tag.to_owned());
        let path = format!("{}/manifests/{reference}", self.base);
        let (_, length) = self.request(&mut connection, "GET", &path, "200").await?;
        let body = self.open(&mut connection).await?.whole(length).await?;
        if reference != tag {
            ensure!(
                connection::digest_of(&body) == reference,
                "the manifest has another digest"
            );
        }
        let manifest: Manifest = serde_json::from_slice(&body).context("read the manifest")?;
        let blobs = std::iter::once(manifest.config).chain(manifest.layers);
        let queue: Mutex<VecDeque<Descriptor>> = Mutex::new(blobs.collect());
        let first = self.worker(&queue, connection);
        let others = (1..PARALLEL).map(|_| self.worker(&queue, None));
        futures::future::try_join_all(std::iter::once(first).chain(others)).await?;
        Ok(())
    }

    async fn worker(&self, queue: &Mutex<VecDeque<Descriptor>>, mut connection: Option<Connection>) -> Result<()> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(descriptor) = next else { return Ok(()) };
            self.blob(&mut connection, &descriptor)
                .await
                .with_context(|| format!("blob of {} bytes", descriptor.size))?;
        }
    }

    async fn blob(&self, connection: &mut Option<Connection>, descriptor: &Descriptor) -> Result<()> {
        let path = format!("{}/blobs/{}", self.base, descriptor.digest);
        let began = Instant::now();
        let (_, length) = self.request(connection, "GET", &path, "200").await?;
        ensure!(length == descriptor.size, "{length} bytes announced");
        let connection = self.open(connection).await?;
        let mut body = connection.body(length, self.manner.checks);
        let mut first = true;
        while let Some(bytes) = tokio::time::timeout(SILENCE, body.next())
            .await
            .context("no byte for a minute")??
        {
            if first {
                let mut timings = self.timings();
                timings.first_byte = timings.first_byte.max(began.elapsed());
                first = false;
            }
            let received = self.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if self.manner.gives_up_after.is_some_and(|limit| received >= limit) {
                bail!("gives up");
            }
        }
        let digest = body.digest();
        ensure!(digest.is_none_or(|digest| digest == descriptor.digest), "wrong digest");
        Ok(())
    }

    /// The connection that is there, or a new one.
    async fn open<'c>(&self, connection: &'c mut Option<Connection>) -> Result<&'c mut Connection> {
        if connection.is_none() {
            *connection = Some(Connection::open(self.target).await?);
        }
        connection.as_mut().context("no connection")
    }

    /// Asks and waits for the header: the digest it names and the length of the body. A kept connection that was closed
    /// meanwhile is replaced once.
    async fn request(
        &self,
        connection: &mut Option<Connection>,
        method: &str,
        path: &str,
        expected: &str,
    ) -> Result<(Option<String>, u64)> {
        let began = Instant::now();
        let path = format!("{path}{}", self.target.query);
        let asked = async {
            let kept = connection.as_ref().is_some_and(|connection| !connection.ends);
            if !kept {
                *connection = None;
            }
            match self.open(connection).await?.ask(method, &path).await {
                Err(_) if kept => {
                    *connection = None;
                    self.open(connection).await?.ask(method, &path).await
                }
                other => other,
            }
        };
        let answer = tokio::time::timeout(HEADER, asked).await;
        {
            let mut timings = self.timings();
            timings.header = timings.header.max(began.elapsed());
            timings.first_byte = timings.first_byte.max(timings.header);
        }
        let answer = answer.with_context(|| format!("no header within 30 s: {method}"))??;
        ensure!(answer.word(1) == expected, "{} to {method}", answer.line);
        let digest = answer.field("docker-content-digest").map(str::to_owned);
        Ok((digest, connection::length(&answer)?))
    }
}
