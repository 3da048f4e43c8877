//! A gateway on a real port with a router that the test sets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use regcache_node::gateway::{GatewayLimits, GatewayMetrics, LoopbackIdentity, serve};
use regcache_node::router::{Candidate, Outcome, Router};
use regcache_transfer::Digest;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cache::{Act, Cache};
use crate::client::Client;

pub const UPSTREAM: &str = "docker.io";

/// Always the same caches, and a note of what was said of them.
#[derive(Default)]
pub struct Fixed {
    pub candidates: Vec<Candidate>,
    pub observed: Mutex<Vec<(String, Outcome)>>,
}

impl Router for Fixed {
    fn candidates(&self, upstream: &str) -> Option<Vec<Candidate>> {
        (upstream == UPSTREAM).then(|| self.candidates.clone())
    }

    fn observe(&self, upstream: &str, cache: &str, outcome: Outcome) {
        assert_eq!(upstream, UPSTREAM);
        self.observed.lock().unwrap().push((cache.to_owned(), outcome));
    }
}

pub struct Bench {
    pub client: Client,
    pub caches: Vec<Cache>,
    pub router: Arc<Fixed>,
    pub registry: Registry,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<()>,
    pub blob: Arc<Vec<u8>>,
    pub digest: Digest,
}

/// Tenths of the real limits.
pub fn limits() -> GatewayLimits {
    GatewayLimits {
        transfer: regcache_transfer::Limits {
            headers: Duration::from_millis(900),
            stall: Duration::from_millis(500),
            start: Duration::from_secs(2),
            gap: Duration::from_secs(1),
            ..regcache_transfer::Limits::default()
        },
        blob_headers: Duration::from_millis(500),
        connect: Duration::from_millis(200),
        grace: Duration::from_millis(500),
        linger: Duration::from_millis(500),
        ..GatewayLimits::default()
    }
}

pub fn bytes(size: usize) -> Arc<Vec<u8>> {
    Arc::new(
        (0..size)
            .map(|i| u8::try_from((i * 31 + i / 251) % 251).unwrap())
            .collect(),
    )
}

impl Bench {
    /// A gateway in front of one cache for each act: named `c0`, `c1`…, the last of them with `ns`.
    pub async fn start(size: usize, acts: &[Act]) -> Self {
        Self::with(size, acts, Vec::new(), limits()).await
    }

    /// The same, with caches before them at which nobody listens.
    pub async fn with(size: usize, acts: &[Act], dead: Vec<SocketAddr>, limits: GatewayLimits) -> Self {
        let blob = bytes(size);
        let mut caches = Vec::new();
        for act in acts {
            caches.push(Cache::start(&blob, act.clone()).await);
        }
        let addresses = dead.into_iter().chain(caches.iter().map(|cache| cache.address));
        let candidates: Vec<_> = addresses
            .enumerate()
            .map(|(i, address)| Candidate {
                name: format!("c{i}").into(),
                url: format!("http://{address}").into(),
                ns: i + 1 == acts.len(),
            })
            .collect();
        let router = Arc::new(Fixed {
            candidates,
            ..Fixed::default()
        });
        let identity = LoopbackIdentity::generate().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap(), &identity.ca_pem);
        let mut registry = Registry::default();
        let metrics = GatewayMetrics::register(&mut registry);
        let shutdown = CancellationToken::new();
        let (asked, token) = (router.clone(), shutdown.clone());
        let serving = tokio::spawn(async move { serve(listener, &identity, asked, limits, metrics, token).await });
        Self {
            client,
            caches,
            router,
            registry,
            shutdown,
            serving,
            digest: Digest::sha256(&blob),
            blob,
        }
    }

    pub fn blob_path(&self) -> String {
        format!("/v2/library/app/blobs/{}?ns={UPSTREAM}", self.digest)
    }

    pub fn manifest_path(&self) -> String {
        format!("/v2/library/app/manifests/{}?ns={UPSTREAM}", self.digest)
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        self.router
            .observed
            .lock()
            .unwrap()
            .iter()
            .map(|(_, outcome)| *outcome)
            .collect()
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// An address at which nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
