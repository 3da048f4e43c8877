//! Blobs: by whom they may be had, which part is wanted, and what a HEAD says.

use std::sync::Arc;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use regcache_transfer::{Digest, Span};

use super::Registry;
use super::metrics::Outcome;
use super::origin::RepositoryOrigin;
use super::range::Range;
use super::reply::{DOCKER_CONTENT_DIGEST, Kind, Reply, failed, insert, not_found, refusal, unavailable};
use super::upstreams::Entry;
use crate::access::What;
use crate::content::Body;
use crate::fill::{Answer, How, NoBlob};
use crate::names::Repository;
use crate::upstream::Error;

/// One blob that somebody asks for.
struct Wanted<'a> {
    entry: &'a Entry,
    repository: &'a Repository,
    digest: Digest,
}

impl Registry {
    pub(super) async fn blob(
        &self,
        entry: &Entry,
        repository: &Repository,
        digest: Digest,
        request: &Request<()>,
    ) -> Reply {
        let wanted = Wanted {
            entry,
            repository,
            digest,
        };
        self.try_blob(&wanted, request).await.unwrap_or_else(|reply| *reply)
    }

    async fn try_blob(&self, wanted: &Wanted<'_>, request: &Request<()>) -> Result<Reply, Box<Reply>> {
        let digest = wanted.digest;
        let known = self
            .access
            .known(&wanted.entry.upstream, wanted.repository, &digest)
            .await;
        let asked = if known { None } else { self.ask(wanted).await? };
        if request.method() == Method::HEAD {
            let (size, result) = self.size(wanted, asked).await?;
            let mut response = Response::new(Body::empty());
            describe(response.headers_mut(), size, &digest);
            return Ok(Reply { response, result });
        }
        let span = match wanted_range(request.headers(), &digest) {
            None => None,
            Some(Range::From(span)) => Some(span),
            // The end has to be known first.
            Some(range @ Range::Last(_)) => {
                let (size, _) = self.size(wanted, asked).await?;
                Some(range.within(size).map_err(|_| past_end(Some(size)))?)
            }
        };
        let origin = Arc::new(RepositoryOrigin {
            upstream: wanted.entry.upstream.clone(),
            repository: wanted.repository.clone(),
        });
        let mut answer = self.fills.blob(origin.clone(), digest, span).await;
        if matches!(answer, Err(NoBlob::NotFound)) {
            // The fetch may have been begun for another repository, which does not have it any more.
            self.ask(wanted).await?;
            answer = self.fills.blob(origin, digest, span).await;
        }
        match answer {
            Ok(answer) => Ok(with_bytes(answer, span, &digest)),
            Err(NoBlob::NotFound) => Err(not_found(Kind::Blob).into()),
            Err(NoBlob::PastEnd(size)) => Err(past_end(size)),
            Err(NoBlob::Unavailable) => Err(unavailable(None, "the blob cannot be had at the moment").into()),
        }
    }

    /// The size of a blob that may be had, without beginning to fetch it; `asked` is what upstream has just said.
    async fn size(&self, wanted: &Wanted<'_>, asked: Option<u64>) -> Result<(u64, Outcome), Box<Reply>> {
        if let Some(stored) = self.store.blob(&wanted.digest).await {
            return Ok((stored.size, Outcome::Hit));
        }
        if let Some(size) = self.fills.size(wanted.entry.upstream.host(), &wanted.digest) {
            return Ok((size, Outcome::Join));
        }
        let size = match asked {
            Some(size) => Some(size),
            None => self.ask(wanted).await?,
        };
        let unsaid = || failed(Kind::Blob, &Error::Malformed("no size".into()));
        Ok((size.ok_or_else(unsaid)?, Outcome::Miss))
    }

    async fn ask(&self, wanted: &Wanted<'_>) -> Result<Option<u64>, Box<Reply>> {
        let upstream = &wanted.entry.upstream;
        let asked = self
            .access
            .ask(upstream, wanted.repository, wanted.digest, What::Blob)
            .await;
        asked.map_err(|error| failed(Kind::Blob, &error).into())
    }
}

/// The range, unless it is meant for other bytes than these.
fn wanted_range(headers: &HeaderMap, digest: &Digest) -> Option<Range> {
    let same = |tag: &http::HeaderValue| tag.as_bytes() == etag(digest).as_bytes();
    if headers.get(IF_RANGE).is_some_and(|tag| !same(tag)) {
        return None;
    }
    let mut all = headers.get_all(RANGE).iter();
    let only = all.next().filter(|_| all.next().is_none());
    Range::parse(only?.to_str().ok()?)
}

fn with_bytes(answer: Answer, span: Option<Span>, digest: &Digest) -> Reply {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    describe(headers, answer.end - answer.start, digest);
    // A blob without bytes has no range that a header could state.
    if span.is_some() && answer.start < answer.end {
        let range = format!("bytes {}-{}/{}", answer.start, answer.end - 1, answer.total);
        insert(headers, CONTENT_RANGE, range);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    *response.body_mut() = Body::Pieces(answer.pieces);
    let result = match answer.how {
        How::Hit => Outcome::Hit,
        How::Join => Outcome::Join,
        How::Miss => Outcome::Miss,
        How::Bypass => Outcome::Bypass,
    };
    Reply { response, result }
}

fn past_end(size: Option<u64>) -> Box<Reply> {
    let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", "no such range");
    if let Some(size) = size {
        insert(response.headers_mut(), CONTENT_RANGE, format!("bytes */{size}"));
    }
    let result = Outcome::BadRequest;
    Reply { response, result }.into()
}

fn describe(headers: &mut HeaderMap, length: u64, digest: &Digest) {
    insert(headers, CONTENT_LENGTH, length);
    insert(headers, CONTENT_TYPE, "application/octet-stream");
    insert(headers, ACCEPT_RANGES, "bytes");
    insert(headers, DOCKER_CONTENT_DIGEST, digest);
    insert(headers, ETAG, etag(digest));
}

/// The digest is the strongest tag there is.
pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}
