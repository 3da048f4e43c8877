//! A registry with everything behind it.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode};
use tempfile::TempDir;

use super::upstream::FakeUpstream;
use crate::content::{Body, Piece};
use crate::fill::{FillLimits, FillMetrics, Fills};
use crate::registry::{Entry, Registry, RegistryMetrics, RepositoryLists, Upstreams};
use crate::store::{Options, Store, StoreMetrics};
use crate::tags::TagPolicy;
use crate::upstream::{Settings, Upstream, UpstreamMetrics};

/// What containerd sends.
pub const CONTAINERD: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, */*";

pub struct Rig {
    pub upstream: FakeUpstream,
    pub registry: Arc<Registry>,
    pub store: Arc<Store>,
    pub upstreams: Arc<ArcSwap<Upstreams>>,
    pub metrics: RegistryMetrics,
    _directory: TempDir,
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    pub fn digest(&self) -> String {
        self.header("docker-content-digest").to_owned()
    }

    pub fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        document["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

impl Rig {
    /// One upstream, `up.test`, asked about each tag each time.
    pub async fn new() -> Self {
        Self::with(Duration::ZERO, RepositoryLists::default()).await
    }

    pub async fn with(max_age: Duration, repositories: RepositoryLists) -> Self {
        let upstream = FakeUpstream::start().await;
        let directory = TempDir::new().unwrap();
        let store_metrics = StoreMetrics::register(&mut prometheus_client::registry::Registry::default());
        let mut options = Options::new(directory.path());
        // However full the disk is that tests run on.
        options.max_bytes = Some(64 * 1024 * 1024);
        let store = Store::open(options, &store_metrics);
        let fills = Fills::new(store.clone(), FillLimits::default(), &FillMetrics::default());
        let entry = entry("up.test", &upstream, max_age, repositories);
        let upstreams = Arc::new(ArcSwap::from_pointee(Upstreams::from_iter([entry])));
        let metrics = RegistryMetrics::default();
        let registry = Registry::new(store.clone(), fills, upstreams.clone(), metrics.clone());
        Self {
            upstream,
            registry,
            store,
            upstreams,
            metrics,
            _directory: directory,
        }
    }

    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.registry.answer(request.body(()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = collect(body).await;
        assert!(!parts.headers.contains_key("www-authenticate"));
        assert!(![401, 429].contains(&parts.status.as_u16()));
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// As containerd asks.
    pub async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[("accept", CONTAINERD)]).await
    }

    pub async fn head(&self, path: &str) -> Reply {
        self.ask(Method::HEAD, path, &[("accept", CONTAINERD)]).await
    }

    /// How many requests ended so.
    pub fn counted(&self, kind: &str, result: &str) -> u64 {
        let mut registry = prometheus_client::registry::Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let (kind, result) = (format!("kind=\"{kind}\""), format!("result=\"{result}\""));
        let line = text.lines().find(|line| line.contains(&kind) && line.contains(&result));
        line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }
}

pub fn entry(host: &str, upstream: &FakeUpstream, max_age: Duration, repositories: RepositoryLists) -> Entry {
    let settings = Settings {
        host: host.into(),
        url: format!("http://{}", upstream.address).parse().unwrap(),
        credentials: None,
        ca_pem: None,
        realm_hosts: Vec::new(),
        proxy: None,
        max_transfers: 4,
    };
    Entry {
        upstream: Upstream::new(settings, &UpstreamMetrics::default()).unwrap(),
        tags: TagPolicy {
            max_age,
            stale_for: Duration::from_secs(3600),
        },
        repositories,
    }
}

async fn collect(body: Body) -> Bytes {
    let mut pieces = match body {
        Body::Full(bytes) => return bytes,
        Body::Pieces(pieces) => pieces,
    };
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().await {
        match piece.unwrap() {
            Piece::Bytes(bytes) => all.extend_from_slice(&bytes),
            Piece::File { file, offset, len } => {
                let mut bytes = vec![0; usize::try_from(len).unwrap()];
                file.read_exact_at(&mut bytes, offset).unwrap();
                all.extend(bytes);
            }
        }
    }
    all.into()
}
