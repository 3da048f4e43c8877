//! One client: handshake, requests, end.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use regcache_runtime::linger;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::link::Link;
use super::outgoing::{Outgoing, Way};
use super::wire::{Patience, Stream, Wire};
use super::{Service, Shared};

/// Streams of one HTTP/2 connection: more than containerd or a node's helper open.
const STREAMS: u32 = 256;
/// What one HTTP/2 stream may hold of its answer, bytes, and TLS below all of them of what it has encrypted.
const STREAM_BUFFER: usize = 32 * 1024;
/// How often an HTTP/2 client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);

pub(super) async fn run<S: Service>(tcp: TcpStream, shared: &Arc<Shared<S>>) {
    let Some(config) = shared.tls.load_full() else {
        shared.metrics.connection("served");
        return http1(Stream::Plain(tcp), Way::Sendfile, shared).await;
    };
    let handshake = TlsAcceptor::from(config).accept(tcp).into_fallible();
    let mut tls = match timeout(shared.limits.handshake, handshake).await {
        Ok(Ok(tls)) => Box::new(tls),
        Ok(Err((error, tcp))) => {
            shared.metrics.connection("handshake");
            debug!(%error, "a client failed the TLS handshake");
            // So that the alert arrives, which says why.
            return linger::fin(tcp, shared.limits.linger).await;
        }
        Err(_) => {
            shared.metrics.connection("handshake");
            return debug!("a client did not finish the TLS handshake");
        }
    };
    shared.metrics.connection("served");
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        tls.get_mut().1.set_buffer_limit(Some(STREAM_BUFFER));
        http2(Stream::Tls(tls), shared).await;
    } else {
        http1(Stream::Tls(tls), Way::Copy, shared).await;
    }
}

async fn http1<S: Service>(stream: Stream, way: Way, shared: &Arc<Shared<S>>) {
    let limits = shared.limits;
    let link = Arc::new(Link::default());
    let patience = Patience {
        head: Some(limits.head),
        write: limits.stalled,
    };
    let wire = Wire::new(stream, Arc::clone(&link), patience, shared.metrics.sent.clone());
    let service = {
        let shared = Arc::clone(shared);
        service_fn(move |request| Box::pin(answer(Arc::clone(&shared), Arc::clone(&link), way, request)))
    };
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        // Runs from the end of the last answer on, so it is the time between requests as well.
        .header_read_timeout(limits.idle)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .writev(true)
        .serve_connection(TokioIo::new(wire), service);
    // Never hyper's own ending: when a body fails it drops the socket, and with unread input that is an RST.
    let served = tokio::select! {
        served = poll_fn(|cx| http.poll_without_shutdown(cx)) => Some(served),
        () = shared.shutdown.cancelled() => None,
    };
    let served = if served.is_some() {
        served
    } else {
        Pin::new(&mut http).graceful_shutdown();
        tokio::select! {
            served = poll_fn(|cx| http.poll_without_shutdown(cx)) => Some(served),
            () = shared.cut.cancelled() => None,
        }
    };
    if let Some(Err(error)) = served {
        debug!(%error, "a connection ends");
    }
    let stream = http.into_parts().io.into_inner().into_stream();
    match stream {
        Stream::Plain(tcp) => linger::fin(tcp, limits.linger).await,
        Stream::Tls(tls) => linger::close(tls, |tls| tls.into_inner().0, limits.linger).await,
    }
}

async fn http2<S: Service>(stream: Stream, shared: &Arc<Shared<S>>) {
    let limits = shared.limits;
    let link = Arc::new(Link::default());
    // hyper drops the socket when it is done; with a second descriptor the connection can be ended properly.
    let Ok(tcp) = stream.tcp().and_then(TcpStream::from_std) else {
        return debug!("out of descriptors for a connection");
    };
    let patience = Patience {
        head: None,
        write: limits.stalled,
    };
    let wire = Wire::new(stream, Arc::clone(&link), patience, shared.metrics.sent.clone());
    let service = {
        let (shared, link) = (Arc::clone(shared), Arc::clone(&link));
        service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&link), Way::Streams, request))
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(STREAM_BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    {
        let mut http = pin!(builder.serve_connection(TokioIo::new(wire), service));
        let mut unused = false;
        let served = tokio::select! {
            served = http.as_mut() => Some(served),
            () = shared.shutdown.cancelled() => None,
            () = idle(&link, limits.idle) => { unused = true; None }
            () = stuck(&link, limits.stalled) => { unused = true; None }
        };
        let served = if served.is_some() {
            served
        } else {
            http.as_mut().graceful_shutdown();
            let over = async {
                if !unused {
                    pending::<()>().await;
                }
                // A client that has closed its streams' windows, and answers pings, would be waited for without end.
                sleep(limits.grace).await;
            };
            let ended = tokio::select! {
                served = http.as_mut() => Some(served),
                () = shared.cut.cancelled() => None,
                () = over => None,
            };
            match ended {
                Some(served) => Some(served),
                // The bodies end their streams by themselves.
                None => timeout(limits.linger, http).await.ok(),
            }
        };
        if let Some(Err(error)) = served {
            debug!(%error, "a connection ends");
        }
    }
    linger::fin(tcp, limits.linger).await;
}

/// Ends when there are answers, and nothing of any has been taken for so long: the socket shows nothing of it, since a
/// client closes the windows of its streams.
async fn stuck(link: &Link, limit: Duration) {
    let mut before = link.steps();
    loop {
        sleep(limit).await;
        let now = link.steps();
        if now == before && !link.is_idle() {
            return;
        }
        before = now;
    }
}

/// Ends when there has been no request for so long.
async fn idle(link: &Link, limit: Duration) {
    let (mut requests, mut since) = (link.requests(), Instant::now());
    loop {
        sleep_until(since + limit).await;
        let now = link.requests();
        if link.is_idle() && now == requests {
            return;
        }
        (requests, since) = (now, Instant::now());
    }
}

async fn answer<S: Service>(
    shared: Arc<Shared<S>>,
    link: Arc<Link>,
    way: Way,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Infallible> {
    let active = link.begin();
    let is_head = request.method() == Method::HEAD;
    let answer = shared.service.answer(request.map(|_| ())).await;
    let length = answer.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let cut = shared.cut.clone().cancelled_owned();
    Ok(answer.map(|body| {
        let body = Outgoing::new(body, length, way, link, cut, active);
        if is_head { body.nothing() } else { body }
    }))
}
