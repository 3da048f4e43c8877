//! Requests to caches: what is sent, and what an answer's headers say.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use regcache_transfer::{BodyError, OpenError, Opened, Source, Span};

use super::BUFFER;
use super::GatewayLimits;
use super::ask::Content;
use crate::router::Candidate;

/// One client for all caches, with its connections kept alive.
#[derive(Clone)]
pub(super) struct Caches {
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// What all requests to caches for one request of containerd have in common.
pub(super) struct Call {
    pub(super) content: Content,
    pub(super) accept: Vec<HeaderValue>,
}

impl Caches {
    pub(super) fn new(limits: &GatewayLimits) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(true);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.connect));
        // A connection kept alive to a cache that vanished without a word fails by this, not by the header limit.
        connector.set_tcp_user_timeout(Some(limits.transfer.stall));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(16)
            .http1_max_buf_size(BUFFER)
            .build(connector);
        Self { client }
    }

    /// Sends one request; done when the headers are there. No limit on time here but on connecting.
    pub(super) async fn send(
        &self,
        candidate: &Candidate,
        method: &Method,
        call: &Call,
        span: Span,
    ) -> Result<Response<Incoming>, OpenError> {
        let mut again = true;
        loop {
            let request = request(candidate, method, call, span)?;
            match self.client.request(request).await {
                Ok(response) => return Ok(response),
                // A kept connection may have been closed by the cache in the same moment: says nothing about it.
                Err(error) if again && !error.is_connect() => again = false,
                Err(error) => return Err(OpenError::Unreachable(chain(&error))),
            }
        }
    }
}

fn request(
    candidate: &Candidate,
    method: &Method,
    call: &Call,
    span: Span,
) -> Result<Request<Empty<Bytes>>, OpenError> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(&call.content.query);
    if candidate.ns {
        query.append_pair("ns", &call.content.upstream);
    }
    let query = query.finish();
    let mut uri = format!("{}{}", candidate.url.trim_end_matches('/'), call.content.path);
    if !query.is_empty() {
        uri.push('?');
        uri.push_str(&query);
    }
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(USER_AGENT, concat!("regcache-node/", env!("CARGO_PKG_VERSION")));
    for accept in &call.accept {
        request = request.header(ACCEPT, accept);
    }
    match span {
        Span { start: 0, end: None } => {}
        Span { start, end: None } => request = request.header(RANGE, format!("bytes={start}-")),
        Span { start, end: Some(end) } => {
            request = request.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
        }
    }
    request
        .body(Empty::new())
        .map_err(|error| OpenError::Unreachable(chain(&error)))
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// One blob at one cache.
pub(super) struct CacheBlob {
    pub(super) candidate: Candidate,
    pub(super) caches: Caches,
    pub(super) call: Arc<Call>,
}

impl Source for CacheBlob {
    fn name(&self) -> &Arc<str> {
        &self.candidate.name
    }

    fn open(&self, span: Span) -> BoxFuture<'_, Result<Opened, OpenError>> {
        Box::pin(async move {
            let response = self
                .caches
                .send(&self.candidate, &Method::GET, &self.call, span)
                .await?;
            let (total, start) = extent(response.status(), response.headers())?;
            let body = response
                .into_body()
                .into_data_stream()
                .map(|chunk| chunk.map_err(|error| BodyError(chain(&error))));
            Ok(Opened {
                total,
                start,
                body: body.boxed(),
            })
        })
    }
}

/// The size of the blob and the offset of the body's first byte.
fn extent(status: StatusCode, headers: &HeaderMap) -> Result<(u64, u64), OpenError> {
    let refused = OpenError::Refused(status.as_u16());
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match status {
        StatusCode::OK => {
            let length = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
            Ok((length.ok_or(refused)?, 0))
        }
        StatusCode::PARTIAL_CONTENT => {
            let range = text(CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
            let (range, total) = range.and_then(|range| range.split_once('/')).ok_or(refused.clone())?;
            let start = range.split_once('-').and_then(|(start, _)| start.parse().ok());
            Ok((total.parse().map_err(|_| refused.clone())?, start.ok_or(refused)?))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let size = text(CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes */"));
            Err(OpenError::PastEnd(size.and_then(|size| size.parse().ok())))
        }
        StatusCode::NOT_FOUND => Err(OpenError::NotFound),
        _ => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| (name.parse().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn size_and_start_come_from_the_headers_or_the_cache_is_refused() {
        let range = |value| headers(&[("content-range", value), ("content-length", "5")]);
        let size = headers(&[("content-length", "10")]);
        assert_eq!(extent(StatusCode::OK, &size), Ok((10, 0)));
        assert_eq!(extent(StatusCode::PARTIAL_CONTENT, &range("bytes 5-9/10")), Ok((10, 5)));
        assert_eq!(extent(StatusCode::OK, &HeaderMap::new()), Err(OpenError::Refused(200)));
        for odd in ["bytes 5-9/*", "bytes x-9/10", "5-9/10"] {
            assert_eq!(
                extent(StatusCode::PARTIAL_CONTENT, &range(odd)),
                Err(OpenError::Refused(206))
            );
        }
        assert_eq!(
            extent(StatusCode::RANGE_NOT_SATISFIABLE, &range("bytes */10")),
            Err(OpenError::PastEnd(Some(10)))
        );
        assert_eq!(extent(StatusCode::NOT_FOUND, &size), Err(OpenError::NotFound));
        assert_eq!(extent(StatusCode::FOUND, &size), Err(OpenError::Refused(302)));
    }

    #[test]
    fn ns_and_range_are_sent_where_they_are_wanted() {
        let content = Content {
            upstream: "registry.corp:5000".into(),
            kind: super::super::ask::Kind::List,
            path: "/v2/a/tags/list".into(),
            query: vec![("n".into(), "5".into())],
        };
        let call = Call {
            content,
            accept: vec![HeaderValue::from_static("a/b"), HeaderValue::from_static("*/*")],
        };
        let mut cache = Candidate {
            name: "c".into(),
            url: "http://10.0.0.1:5000/".into(),
            ns: true,
        };
        let span = Span {
            start: 5,
            end: Some(10),
        };
        let sent = request(&cache, &Method::GET, &call, span).unwrap();
        let uri = "http://10.0.0.1:5000/v2/a/tags/list?n=5&ns=registry.corp%3A5000";
        assert_eq!(sent.uri(), uri);
        assert_eq!(sent.headers()[RANGE], "bytes=5-9");
        assert_eq!(sent.headers().get_all(ACCEPT).iter().count(), 2);
        cache.ns = false;
        let sent = request(&cache, &Method::GET, &call, Span::default()).unwrap();
        assert_eq!(sent.uri(), "http://10.0.0.1:5000/v2/a/tags/list?n=5");
        assert!(sent.headers().get(RANGE).is_none());
    }
}
