//! Connections: accepted, wrapped in TLS, served by HTTP/1.1 or 2, and ended so that clients see an end and no error.
//!
//! `connection` (one client from handshake to FIN) drives hyper between `outgoing` (an answer's body, above it) and
//! `wire` (the socket, below it). Files go from the page cache to plain sockets without coming into memory: see `ghost`.
//! `link` is what body and socket share, `file` how files are read.

mod connection;
mod file;
mod ghost;
mod link;
mod metrics;
mod outgoing;
#[cfg(test)]
mod tests;
mod wire;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{Request, Response};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::content::Body;

pub use metrics::ServeMetrics;

/// What answers requests. Request bodies are not read: nothing here takes any.
pub trait Service: Send + Sync + 'static {
    /// The answer; its body's length is in its `Content-Length`.
    fn answer(&self, request: Request<()>) -> impl Future<Output = Response<Body>> + Send;
}

/// The certificate that new connections are served with; `None`: plain HTTP. Swapped while connections live.
pub type TlsReload = Arc<ArcSwapOption<ServerConfig>>;

/// How much and how long a client may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; further ones are closed at once, so that clients go elsewhere instead of waiting.
    pub connections: usize,
    /// A request's head, bytes: at least 8 KiB.
    pub head_bytes: usize,
    /// A request's headers.
    pub headers: usize,
    /// From a request's first byte to the end of its head.
    pub head: Duration,
    /// TLS handshake. The shutdown waits for it too, since to leave in the middle is an RST.
    pub handshake: Duration,
    /// Between requests.
    pub idle: Duration,
    /// A client that takes no byte of its answer for so long is gone.
    pub stalled: Duration,
    /// Each step of ending a connection.
    pub linger: Duration,
    /// Bodies that run when the shutdown begins.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16 * 1024,
            head_bytes: 16 * 1024,
            headers: 64,
            head: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            stalled: Duration::from_secs(600),
            linger: Duration::from_secs(2),
            grace: Duration::from_secs(30),
        }
    }
}

/// Listens on `address`; where a machine has no IPv6, `[::]` means all of IPv4.
///
/// # Errors
/// When the address is taken or not ours.
#[allow(
    clippy::unused_async,
    reason = "it works within a runtime only, which its being async says; the lint spares tests"
)]
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match listen(address) {
        Err(error) if address.ip() == std::net::Ipv6Addr::UNSPECIFIED && error.kind() != io::ErrorKind::AddrInUse => {
            let all = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, address.port()));
            listen(all).map_err(|_| error)
        }
        bound => bound,
    }
}

/// With a queue for a whole region that connects at once: the usual 128 places make the 129th client wait a second for
/// its second SYN. The kernel cuts it to `net.core.somaxconn`.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()
    } else {
        TcpSocket::new_v4()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Shared by all connections of one listener.
struct Shared<S> {
    service: Arc<S>,
    tls: TlsReload,
    limits: Limits,
    metrics: ServeMetrics,
    /// Finish what runs and take no more.
    shutdown: CancellationToken,
    /// The grace is over: every body ends here.
    cut: CancellationToken,
}

/// Serves until `shutdown`, then finishes what runs within the grace period, and returns when all connections are
/// closed. The port is free from `shutdown` on.
pub async fn serve<S: Service>(
    listener: TcpListener,
    tls: TlsReload,
    service: Arc<S>,
    limits: Limits,
    metrics: ServeMetrics,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Shared {
        service,
        tls,
        limits,
        metrics,
        shutdown,
        cut: CancellationToken::new(),
    });
    let room = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // Out of descriptors, or a client that is gone already: neither is a reason to stop.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            shared.metrics.connection("refused");
            tracing::debug!("too many connections");
            continue;
        };
        prepare(&tcp);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            shared.metrics.open.inc();
            connection::run(tcp, &shared).await;
            shared.metrics.open.dec();
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    tracing::info!(connections = connections.len(), "no more connections are taken");
    if tokio::time::timeout(limits.grace, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "bodies that did not finish within the grace period are ended"
        );
        shared.cut.cancel();
        connections.wait().await;
    }
}

fn prepare(tcp: &TcpStream) {
    use rustix::net::sockopt;
    // Clients that vanished without a word are noticed within two minutes.
    let set = tcp
        .set_nodelay(true)
        .and_then(|()| Ok(sockopt::set_socket_keepalive(tcp, true)?))
        .and_then(|()| Ok(sockopt::set_tcp_keepidle(tcp, Duration::from_secs(60))?))
        .and_then(|()| Ok(sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(15))?))
        .and_then(|()| Ok(sockopt::set_tcp_keepcnt(tcp, 4)?));
    if let Err(error) = set {
        tracing::debug!(%error, "cannot set a socket's options");
    }
}
