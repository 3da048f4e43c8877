//! Real sockets on loopback, clients that write and read bytes by hand where it matters.

mod bodies;
mod end;
mod limits;
mod tls;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{Request, Response};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Limits, ServeMetrics, Service, TlsReload, bind, serve};
use crate::content::{Body, Piece, ShortEnd};

/// Answers by a function.
struct By<F>(F);

impl<F: Fn(Request<()>) -> Response<Body> + Send + Sync + 'static> Service for By<F> {
    async fn answer(&self, request: Request<()>) -> Response<Body> {
        (self.0)(request)
    }
}

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    tls: TlsReload,
    metrics: ServeMetrics,
}

impl Server {
    async fn start(
        limits: Limits,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(Request<()>) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let tls: TlsReload = Arc::new(ArcSwapOption::new(tls));
        let metrics = ServeMetrics::register(&mut Registry::default());
        let task = tokio::spawn(serve(
            listener,
            Arc::clone(&tls),
            Arc::new(By(answer)),
            limits,
            metrics.clone(),
            shutdown.clone(),
        ));
        Self {
            address,
            shutdown,
            task,
            tls,
            metrics,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until no connection is left.
    async fn quiet(&self) {
        while self.metrics.open.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A file with bytes that tell where they are.
fn file(len: usize) -> (Arc<File>, Bytes) {
    // A prime's length, so that no power of two falls on the same byte again.
    let number = |number: u32| (number ^ 0x5a5a_1234).wrapping_mul(2_654_435_761).to_le_bytes();
    let block: Vec<u8> = (0..).flat_map(number).take(99_991).collect();
    let mut content = block.repeat(len.div_ceil(block.len()));
    content.truncate(len);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    (Arc::new(file), content.into())
}

fn pieces(len: u64, pieces: Vec<Result<Piece, ShortEnd>>) -> Response<Body> {
    Response::builder()
        .header("content-length", len)
        .body(Body::Pieces(stream::iter(pieces).boxed()))
        .unwrap()
}

fn ok(text: &'static str) -> Response<Body> {
    Response::new(Body::Full(Bytes::from_static(text.as_bytes())))
}

/// Reads one answer's head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn length(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.unwrap().parse().unwrap()
}

/// Asks on an open HTTP/1.1 connection and reads the whole answer.
async fn get(stream: &mut (impl AsyncRead + tokio::io::AsyncWrite + Unpin), path: &str) -> (String, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // With TLS a write may leave everything in the client's own buffer.
    stream.flush().await.unwrap();
    let head = head(stream).await;
    let mut body = vec![0; length(&head)];
    stream.read_exact(&mut body).await.unwrap();
    (head, body)
}
