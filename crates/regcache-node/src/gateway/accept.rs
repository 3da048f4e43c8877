//! Connections: accepted, wrapped in TLS, served, and ended so that the client sees an end and no error.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use regcache_runtime::linger;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::BUFFER;
use super::shared::Gateway;

/// How long a client may take over TLS; the shutdown waits for it too, since to leave in the middle is an RST.
const HANDSHAKE: Duration = Duration::from_secs(5);

pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    gateway: Arc<Gateway>,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(gateway.limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // Out of descriptors, or a client that is gone already: neither is a reason to stop.
                warn!(%error, "gateway cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Closed at once, so that containerd goes on to the registry; left waiting it would hang.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            debug!("gateway has too many connections");
            continue;
        };
        let (acceptor, gateway, shutdown) = (acceptor.clone(), gateway.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(tcp, acceptor, gateway, shutdown).await;
            drop(place);
        });
    }
    // The port is free from here on: whoever comes is refused, which costs containerd nothing.
    drop(listener);
    info!(connections = connections.len(), "gateway stops");
    connections.close();
    connections.wait().await;
}

async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, gateway: Arc<Gateway>, shutdown: CancellationToken) {
    let limits = gateway.limits;
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "gateway cannot set TCP_NODELAY");
    }
    let tls = match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return debug!(%error, "gateway's client failed the TLS handshake"),
        Err(_) => return debug!("gateway's client did not finish the TLS handshake"),
    };
    let service = service_fn(move |request| {
        let gateway = gateway.clone();
        Box::pin(async move { Ok::<_, std::convert::Infallible>(gateway.answer(request).await) })
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(tls), service);
    // Never hyper's own ending: when a body fails it drops the socket, and with unread input that is an RST.
    let served = tokio::select! {
        served = poll_fn(|cx| http.poll_without_shutdown(cx)) => Some(served),
        () = shutdown.cancelled() => None,
    };
    let served = if served.is_some() {
        served
    } else {
        std::pin::Pin::new(&mut http).graceful_shutdown();
        timeout(limits.grace, poll_fn(|cx| http.poll_without_shutdown(cx)))
            .await
            .ok()
    };
    match served {
        Some(Ok(())) => {}
        Some(Err(error)) => debug!(%error, "gateway ends a connection"),
        None => info!("gateway ends a body that did not finish within the grace period"),
    }
    let tls = http.into_parts().io.into_inner();
    linger::close(tls, |tls| tls.into_inner().0, limits.linger).await;
}
