//! The first to see a request: probes are answered here and reports taken up, everything else is the registry's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use regcache_runtime::probe;

use crate::content::Body;
use crate::nodes::Nodes;
use crate::registry::Registry;
use crate::serve::Service;

/// Answers what the main port is asked.
pub(super) struct Front {
    pub(super) registry: Arc<Registry>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) draining: Arc<AtomicBool>,
}

impl Service for Front {
    async fn answer(&self, request: Request<()>) -> Response<Body> {
        match request.uri().path() {
            "/v2/" | "/v2" => self.nodes.note(request.headers()),
            probe::PATH => {
                self.nodes.note(request.headers());
                return self.probe(request.method());
            }
            _ => {}
        }
        self.registry.answer(request).await
    }
}

impl Front {
    fn probe(&self, method: &Method) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        if self.draining.load(Ordering::Relaxed) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
        }
        let mut answer = Response::new(Body::Full(probe::blob()));
        let headers = answer.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(probe::SIZE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("docker-content-digest", HeaderValue::from_static(probe::DIGEST));
        answer
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::Full(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    answer
}
