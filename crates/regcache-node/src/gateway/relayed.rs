//! Manifests, lists of tags and referrers, and every HEAD: an answer that is had whole and checked before it is given.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LINK};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use regcache_transfer::{Digest, Outcome, Reason, Span};
use tokio::time::{Instant, timeout_at};

use super::ask::Content;
use super::blob::DOCKER_CONTENT_DIGEST;
use super::body::Outgoing;
use super::caches::{Call, chain};
use super::metrics::Ended;
use super::shared::Gateway;
use crate::router::Candidate;

/// What is passed on of a cache's headers: what the body is, never how to get it elsewhere or who may.
const PASSED_ON: [HeaderName; 6] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    ETAG,
    ACCEPT_RANGES,
    DOCKER_CONTENT_DIGEST,
    HeaderName::from_static("oci-filters-applied"),
];

/// Why a cache's answer is not used.
enum Miss {
    /// 404: an answer, and the end of the search.
    NotFound,
    /// The next cache may do better.
    Because(Reason),
    /// The same, and nothing is wrong with this cache.
    Unsuitable,
}

impl From<Reason> for Miss {
    fn from(reason: Reason) -> Self {
        Self::Because(reason)
    }
}

impl Gateway {
    pub(super) async fn relayed(&self, candidates: &[Candidate], call: &Call, method: &Method) -> Response<Outgoing> {
        let content = &call.content;
        let deadline = Instant::now() + self.limits.transfer.start;
        let mut cost = false;
        for (tried, candidate) in candidates.iter().enumerate() {
            match self.relay(candidate, call, method, deadline).await {
                Ok(response) => {
                    self.heard(content, &candidate.name, &Reason::Complete, 0);
                    self.metrics.request(&content.upstream, Ended::Ok);
                    if let Outgoing::Whole(bytes) = response.body() {
                        self.metrics.bytes(&content.upstream, bytes.len() as u64);
                    }
                    return response;
                }
                // Signatures and referrers are asked for all the time and seldom exist: one cache's word is enough,
                // since containerd asks the registry next. After a failure it is not: the nearer one may know more.
                Err(Miss::NotFound) => {
                    self.heard(content, &candidate.name, &Reason::NotFound, 0);
                    if tried == 0 {
                        return self.not_found(content);
                    }
                    break;
                }
                Err(Miss::Unsuitable) => {}
                Err(Miss::Because(reason)) => {
                    cost |= matches!(reason.outcome(), Outcome::Silent | Outcome::Short | Outcome::Corrupt);
                    self.heard(content, &candidate.name, &reason, 0);
                }
            }
        }
        if let (true, Some(digest)) = (cost, content.digest()) {
            self.sick.remember(&content.upstream, digest);
        }
        self.unavailable(&content.upstream, "no cache could answer")
    }

    async fn relay(
        &self,
        candidate: &Candidate,
        call: &Call,
        method: &Method,
        deadline: Instant,
    ) -> Result<Response<Outgoing>, Miss> {
        let own = Instant::now() + self.limits.transfer.headers;
        let answer = self.caches.send(candidate, method, call, Span::default());
        let response = match timeout_at(own.min(deadline), answer).await {
            Err(_) if own > deadline => return Err(Reason::OutOfTime.into()),
            Err(_) => return Err(Reason::NoHeaders.into()),
            Ok(sent) => sent.map_err(Reason::from)?,
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(Miss::NotFound),
            // A list that a cache does not offer, or a request that it does not understand.
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_ACCEPTABLE => {
                return Err(Miss::Unsuitable);
            }
            status => return Err(Reason::Status(status.as_u16()).into()),
        }
        let (parts, body) = response.into_parts();
        let mut headers = passed_on(&parts.headers);
        let named = stated(&headers);
        let body = if method == Method::HEAD {
            // The digest of the request is the one that counts; a cache that names another is wrong about something.
            if let (Some(asked), Some(named)) = (call.content.digest(), named)
                && std::mem::discriminant(&asked) == std::mem::discriminant(&named)
                && asked != named
            {
                return Err(Reason::WrongDigest.into());
            }
            Bytes::new()
        } else {
            let bytes = self.collect(body, deadline).await?;
            if let Some(digest) = expected(&call.content, named)
                && !digest.matches(&bytes)
            {
                return Err(Reason::WrongDigest.into());
            }
            headers.remove(CONTENT_LENGTH);
            bytes
        };
        let mut response = Response::new(Outgoing::Whole(body));
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// The whole body, within the limits on size, stall and time.
    async fn collect(&self, mut body: Incoming, deadline: Instant) -> Result<Bytes, Miss> {
        let mut bytes = BytesMut::new();
        loop {
            let own = Instant::now() + self.limits.transfer.stall;
            let frame = match timeout_at(own.min(deadline), body.frame()).await {
                Err(_) if own > deadline => return Err(Reason::OutOfTime.into()),
                Err(_) => return Err(Reason::Stalled.into()),
                Ok(None) => return Ok(bytes.freeze()),
                Ok(Some(Err(error))) => return Err(Reason::Broke(chain(&error)).into()),
                Ok(Some(Ok(frame))) => frame,
            };
            if let Ok(chunk) = frame.into_data() {
                if bytes.len() + chunk.len() > self.limits.manifest {
                    return Err(Miss::Unsuitable);
                }
                bytes.extend_from_slice(&chunk);
            }
        }
    }
}

/// What the body has to be: what was asked for, or else what the cache itself calls it.
fn expected(content: &Content, named: Option<Digest>) -> Option<Digest> {
    content.digest().or(named)
}

fn stated(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DOCKER_CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

fn passed_on(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in PASSED_ON {
        if let Some(value) = from.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    // The next page of a list, when it is here and not at the cache's own address.
    if let Some(link) = from.get(LINK).filter(|link| link.as_bytes().starts_with(b"</v2/")) {
        headers.insert(LINK, link.clone());
    }
    headers
}
