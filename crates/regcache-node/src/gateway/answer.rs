//! One request of containerd to one answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use regcache_transfer::{Outcome, Reason};
use tracing::{info, warn};

use super::ask::{Ask, BadAsk, Content, Kind};
use super::body::Outgoing;
use super::caches::Call;
use super::metrics::Ended;
use super::shared::Gateway;

impl Gateway {
    pub(super) async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Outgoing> {
        let mut response = self.dispatch(&request).await;
        response.headers_mut().insert(
            "docker-distribution-api-version",
            HeaderValue::from_static("registry/2.0"),
        );
        response
    }

    async fn dispatch(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Outgoing> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "only GET and HEAD");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let uri = request.uri();
        let content = match Ask::parse(uri.path(), uri.query().unwrap_or_default()) {
            Ok(Ask::Live | Ask::Base) => return Response::new(Outgoing::Whole(Bytes::new())),
            Ok(Ask::Content(content)) => content,
            Err(bad) => {
                let code = match bad {
                    BadAsk::Path => "UNSUPPORTED",
                    BadAsk::NoUpstream => "NAME_UNKNOWN",
                    BadAsk::Digest => "DIGEST_INVALID",
                };
                return refusal(StatusCode::NOT_FOUND, code, &bad.to_string());
            }
        };
        self.metrics.asked_by(request.headers().get(USER_AGENT));
        let Some(candidates) = self.router.candidates(&content.upstream) else {
            let why = "this registry is not mirrored on this node";
            return refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN", why);
        };
        if content
            .digest()
            .is_some_and(|digest| self.sick.contains(&content.upstream, digest))
        {
            return self.unavailable(&content.upstream, "no cache could deliver this digest a moment ago");
        }
        if candidates.is_empty() {
            return self.unavailable(&content.upstream, "no healthy cache");
        }
        let headers = request.headers();
        let kind = content.kind;
        let call = Arc::new(Call {
            content,
            accept: headers.get_all(ACCEPT).iter().cloned().collect(),
        });
        match kind {
            Kind::Blob(digest) if request.method() == Method::GET => {
                self.blob(&candidates, call, digest, headers).await
            }
            _ => self.relayed(&candidates, &call, request.method()).await,
        }
    }

    /// 503, on which containerd asks the registry itself.
    pub(super) fn unavailable(&self, upstream: &str, why: &str) -> Response<Outgoing> {
        self.metrics.request(upstream, Ended::Unavailable);
        refusal(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", why)
    }

    /// 404, since a cache says so.
    pub(super) fn not_found(&self, content: &Content) -> Response<Outgoing> {
        self.metrics.request(&content.upstream, Ended::NotFound);
        let code = match content.kind {
            Kind::Manifest(_) => "MANIFEST_UNKNOWN",
            Kind::Blob(_) => "BLOB_UNKNOWN",
            Kind::List => "NAME_UNKNOWN",
        };
        refusal(StatusCode::NOT_FOUND, code, "not found")
    }

    /// Passes on how a cache did: to the router, the metrics and, when another one has to take over, the log.
    pub(super) fn heard(&self, content: &Content, cache: &str, reason: &Reason, at: u64) {
        let outcome = reason.outcome();
        self.router.observe(&content.upstream, cache, outcome);
        self.metrics.answer(&content.upstream, outcome);
        let (upstream, digest) = (content.upstream.as_str(), content.reference());
        match outcome {
            Outcome::Ok => {}
            Outcome::Short | Outcome::Refused => {
                info!(upstream, cache, digest, bytes = at, %reason, "cache could not finish a request");
            }
            Outcome::Unreachable | Outcome::Silent | Outcome::Corrupt => {
                warn!(upstream, cache, digest, bytes = at, %reason, "cache failed a request");
            }
        }
    }
}

/// An answer with a registry's error document.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Outgoing> {
    let document = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let mut response = Response::new(Outgoing::Whole(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
