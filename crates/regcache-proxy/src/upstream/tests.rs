//! Against real servers on loopback: a small registry whose answers each test writes itself, and what it was asked.

mod blobs;
mod connections;
mod manifests;
mod redirects;
mod rest;
mod tokens;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use regcache_transfer::{Digest, OpenError, Opened, Source, Span};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    method: Method,
    /// With its query.
    path: String,
    headers: HeaderMap,
    version: Version,
    /// The connection it came over, counted from 0.
    connection: usize,
}

impl Seen {
    fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    fn authorization(&self) -> Option<String> {
        self.header("authorization")
    }
}

/// A server that writes down what it is asked. Ends, with all its connections, when dropped.
pub(super) struct Server {
    address: SocketAddr,
    url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start<F: Future<Output = Reply> + Send + 'static>(
        answer: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), None, answer).await
    }

    async fn start_at<F: Future<Output = Reply> + Send + 'static>(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(Seen) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = move |seen| answer(seen).boxed();
        Self {
            address,
            url: format!("{scheme}://{address}").parse().unwrap(),
            seen: seen.clone(),
            task: tokio::spawn(run(listener, tls, seen, Arc::new(answer))),
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests whose path begins so.
    fn asked(&self, path: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.path.starts_with(path))
            .collect()
    }
}

type Answerer = Arc<dyn Fn(Seen) -> BoxFuture<'static, Reply> + Send + Sync>;

async fn run(listener: TcpListener, tls: Option<TlsAcceptor>, seen: Arc<Mutex<Vec<Seen>>>, answer: Answerer) {
    let mut connections = JoinSet::new();
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, seen, answer) = (tls.clone(), seen.clone(), answer.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let one = Seen {
                    method: request.method().clone(),
                    // A proxy is asked for whole addresses.
                    path: match request.uri().authority() {
                        Some(_) if request.version() < Version::HTTP_2 => request.uri().to_string(),
                        _ => request.uri().path_and_query().unwrap().to_string(),
                    },
                    headers: request.headers().clone(),
                    version: request.version(),
                    connection,
                };
                seen.lock().unwrap().push(one.clone());
                answer(one).map(Ok::<_, Infallible>)
            });
            let server = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is the client's affair.
            let _ = match tls {
                None => server.serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

/// An answer with all its bytes.
pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::builder().status(status);
    for (name, value) in headers {
        reply = reply.header(*name, *value);
    }
    let body = Full::new(body.into()).map_err(|never| match never {});
    reply.body(body.boxed_unsync()).unwrap()
}

/// An answer whose bytes come one chunk after the other, without a length of its own; `None` breaks the connection.
pub(super) fn chunks(status: u16, headers: &[(&str, &str)], chunks: Vec<Option<&'static [u8]>>) -> Reply {
    let frames = stream::iter(chunks).then(|chunk| async move {
        if let Some(bytes) = chunk {
            return Ok(Frame::data(Bytes::from_static(bytes)));
        }
        // Only a body that lets the server wait gets what came before onto the wire.
        tokio::task::yield_now().await;
        Err(io::Error::other("broken on purpose"))
    });
    reply(status, headers, "").map(|_| StreamBody::new(frames).boxed_unsync())
}

/// `count` bytes that differ along the way.
pub(super) fn content(count: usize) -> Bytes {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// A blob or a part of it, as registries give it.
pub(super) fn blob_reply(seen: &Seen, blob: &Bytes) -> Reply {
    let Some(range) = seen.header("range") else {
        return reply(200, &[], blob.clone());
    };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let end = last.parse().map_or(blob.len(), |last: usize| blob.len().min(last + 1));
    if first >= end {
        return reply(416, &[("content-range", &format!("bytes */{}", blob.len()))], "");
    }
    let place = format!("bytes {first}-{}/{}", end - 1, blob.len());
    reply(206, &[("content-range", &place)], blob.slice(first..end))
}

/// A manifest, or a blob or a part of it.
pub(super) fn thing_reply(seen: &Seen, blob: &Bytes) -> Reply {
    if seen.path.contains("/manifests/") {
        return reply(200, &[], "{}");
    }
    blob_reply(seen, blob)
}

pub(super) fn settings(url: &Url) -> Settings {
    Settings {
        host: "registry.test".into(),
        url: url.clone(),
        credentials: None,
        ca_pem: None,
        realm_hosts: Vec::new(),
        proxy: None,
        max_transfers: 4,
    }
}

pub(super) fn credentials() -> Credentials {
    Credentials {
        username: "user".into(),
        password: "secret".into(),
    }
}

/// `user:secret`
pub(super) const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

pub(super) fn upstream(settings: Settings) -> Arc<Upstream> {
    Upstream::with(settings, &UpstreamMetrics::default(), |_| None).unwrap()
}

pub(super) fn repository() -> Repository {
    "library/a".parse().unwrap()
}

pub(super) fn latest() -> Reference {
    "latest".parse().unwrap()
}

pub(super) fn digest() -> Digest {
    Digest::sha256(b"whatever")
}

/// The two sources of a blob: kept connection, fresh connection.
pub(super) fn sources(upstream: &Arc<Upstream>) -> [Arc<dyn Source>; 2] {
    upstream
        .blob(&repository(), &digest())
        .try_into()
        .unwrap_or_else(|_| panic!("two sources"))
}

pub(super) async fn open(upstream: &Arc<Upstream>, start: u64) -> Result<Opened, OpenError> {
    sources(upstream)[0].open(Span { start, end: None }).await
}

/// All bytes of a body, and whether it ended well.
pub(super) async fn drain(opened: Opened) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut body = opened.body;
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}

/// Waits until it is so, for five seconds at most.
pub(super) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !so() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
