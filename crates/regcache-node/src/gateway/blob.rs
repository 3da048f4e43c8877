//! GET of a blob: the exact bytes from whichever caches have them, or a short end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use regcache_transfer::{Ask, Digest, Failed, Limits, Observer, Outcome, Report, Source, Transfer, fetch};

use super::answer::refusal;
use super::ask::range;
use super::body::{BlobBody, Outgoing};
use super::caches::{CacheBlob, Call};
use super::metrics::Ended;
use super::shared::Gateway;
use crate::router::Candidate;

/// The header that names what a body is.
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Hears how each cache did, and whether any of them cost time or sent wrong bytes.
struct Ear {
    gateway: Arc<Gateway>,
    call: Arc<Call>,
    cost: AtomicBool,
}

impl Observer for Ear {
    fn ended(&self, report: &Report) {
        self.gateway
            .heard(&self.call.content, &report.source, &report.reason, report.at);
        if matches!(
            report.reason.outcome(),
            Outcome::Silent | Outcome::Short | Outcome::Corrupt
        ) {
            self.cost.store(true, Ordering::Relaxed);
        }
    }
}

impl Gateway {
    pub(super) async fn blob(
        self: &Arc<Self>,
        candidates: &[Candidate],
        call: Arc<Call>,
        digest: Digest,
        headers: &HeaderMap,
    ) -> Response<Outgoing> {
        let wanted = headers.get(RANGE).and_then(|header| range(header.to_str().ok()?));
        let source = |candidate: &Candidate| -> Arc<dyn Source> {
            Arc::new(CacheBlob {
                candidate: candidate.clone(),
                caches: self.caches.clone(),
                call: call.clone(),
            })
        };
        let ear = Arc::new(Ear {
            gateway: self.clone(),
            call: call.clone(),
            cost: AtomicBool::new(false),
        });
        let ask = Ask {
            span: wanted.unwrap_or_default(),
            digest: Some(digest),
        };
        let upstream = &call.content.upstream;
        let sources = candidates.iter().map(source).collect();
        let limits = Limits {
            headers: self.limits.blob_headers,
            ..self.limits.transfer
        };
        match fetch(sources, ask, limits, ear.clone()).await {
            Ok(transfer) => {
                let mut response = Response::new(());
                describe(response.headers_mut(), &transfer, &digest);
                // A blob without bytes has no range that a header could state.
                if wanted.is_some() && transfer.start < transfer.end {
                    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                    let range = format!("bytes {}-{}/{}", transfer.start, transfer.end - 1, transfer.total);
                    insert(response.headers_mut(), CONTENT_RANGE, &range);
                }
                let body = BlobBody::new(transfer, self.clone(), upstream.clone(), digest);
                response.map(|()| Outgoing::Blob(Box::new(body)))
            }
            Err(Failed::NotFound) => self.not_found(&call.content),
            Err(Failed::PastEnd(size)) => {
                self.metrics.request(upstream, Ended::NoRange);
                let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", "no such range");
                if let Some(size) = size {
                    insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
                }
                response
            }
            Err(Failed::Unavailable) => {
                // One that only refused may work again in a moment, and asking it costs nothing.
                if ear.cost.load(Ordering::Relaxed) {
                    self.sick.remember(upstream, digest);
                }
                self.unavailable(upstream, "no cache could deliver this blob")
            }
        }
    }
}

fn describe(headers: &mut HeaderMap, transfer: &Transfer, digest: &Digest) {
    insert(headers, CONTENT_LENGTH, &(transfer.end - transfer.start).to_string());
    insert(headers, CONTENT_TYPE, "application/octet-stream");
    insert(headers, ACCEPT_RANGES, "bytes");
    insert(headers, DOCKER_CONTENT_DIGEST, &digest.to_string());
    insert(headers, ETAG, &format!("\"{digest}\""));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Numbers and hex: always a valid value.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
