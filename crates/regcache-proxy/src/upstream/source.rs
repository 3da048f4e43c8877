//! A blob at its upstream, as a transfer sees it.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderName, Method};
use regcache_transfer::{BodyError, Digest, OpenError, Opened, Source, Span};
use tokio::time::timeout;

use super::client::{Via, describe, discard};
use super::error::Error;
use super::exchange::{Answer, Ask, Exchange, status_error};
use super::metrics::Asked;
use super::{LIMIT, Upstream};
use crate::names::Repository;

/// One blob over one kind of connection. Redirects and tokens are renewed at each opening: signed addresses end.
pub(crate) struct BlobSource {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) repository: Repository,
    pub(crate) digest: Digest,
    pub(crate) via: Via,
}

impl Source for BlobSource {
    fn name(&self) -> &Arc<str> {
        self.upstream.host()
    }

    fn open(&self, span: Span) -> BoxFuture<'_, Result<Opened, OpenError>> {
        let opening = open(&self.upstream.exchange, &self.repository, &self.digest, span, self.via);
        timeout(LIMIT, opening)
            .map(|opened| opened.unwrap_or(Err(OpenError::NoHeaders)))
            .boxed()
    }
}

/// The blob's size: by HEAD, or by its first byte where HEAD does not say (signed addresses are for GET alone).
pub(crate) async fn size(exchange: &Exchange, repository: &Repository, digest: &Digest) -> Result<u64, Error> {
    let answer = ask(exchange, Method::HEAD, repository, digest, Span::default(), Via::Kept).await?;
    let status = answer.response.status();
    if let Some(size) = number(answer.response.headers(), &CONTENT_LENGTH).filter(|_| status.is_success()) {
        return Ok(size);
    }
    let get_may_tell = match status.as_u16() {
        405 | 501 => true,
        400 | 401 | 403 => answer.redirected,
        _ => status.is_success(),
    };
    if !get_may_tell {
        return Err(status_error(status, answer.response.headers()));
    }
    let first = Span { start: 0, end: Some(1) };
    match open(exchange, repository, digest, first, Via::Kept).await {
        Ok(opened) => Ok(opened.total),
        Err(OpenError::NotFound) => Err(Error::NotFound),
        // No first byte: it has none.
        Err(OpenError::PastEnd(_)) => Ok(0),
        Err(OpenError::NoHeaders) => Err(Error::TimedOut),
        Err(OpenError::Refused(status @ (401 | 403))) => Err(Error::Denied(status)),
        Err(OpenError::Refused(429)) => Err(Error::Limited { retry_after: None }),
        Err(OpenError::Refused(status)) => Err(Error::Status(status)),
        Err(OpenError::Unreachable(text)) => Err(Error::Unreachable(text)),
    }
}

async fn open(
    exchange: &Exchange,
    repository: &Repository,
    digest: &Digest,
    span: Span,
    via: Via,
) -> Result<Opened, OpenError> {
    let answer = ask(exchange, Method::GET, repository, digest, span, via).await;
    let response = answer.map_err(open_error)?.response;
    let placed = match response.status().as_u16() {
        200 | 206 => place(response.status().as_u16(), response.headers()),
        404 => Err(OpenError::NotFound),
        416 => Err(OpenError::PastEnd(whole_size(response.headers()))),
        status => Err(OpenError::Refused(status)),
    };
    let (total, start) = match placed {
        Ok(placed) => placed,
        Err(error) => {
            discard(response).await;
            return Err(error);
        }
    };
    let received = exchange.meter().received();
    let body = response.bytes_stream().map(move |chunk| {
        chunk
            .inspect(|bytes| {
                received.inc_by(bytes.len() as u64);
            })
            .map_err(|error| BodyError(describe(error)))
    });
    Ok(Opened {
        total,
        start,
        body: body.boxed(),
    })
}

async fn ask(
    exchange: &Exchange,
    method: Method,
    repository: &Repository,
    digest: &Digest,
    span: Span,
    via: Via,
) -> Result<Answer, Error> {
    let ask = Ask {
        asked: Asked::Blob,
        method,
        repository,
        path: format!("blobs/{digest}"),
        query: None,
        accept: None,
        span,
        via,
    };
    exchange.ask(&ask).await
}

/// The blob's size and where the body begins in it.
fn place(status: u16, headers: &HeaderMap) -> Result<(u64, u64), OpenError> {
    let unusable = |what: &str| OpenError::Unreachable(format!("its answer {what}"));
    let encoded = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if encoded {
        return Err(unusable("is compressed, and nobody asked for that"));
    }
    if status == 200 {
        let length = number(headers, &CONTENT_LENGTH);
        return length
            .map(|length| (length, 0))
            .ok_or_else(|| unusable("has no length"));
    }
    let text = headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let parsed = || {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let total = total.trim().parse().ok()?;
        (first <= last && last < total).then_some((total, first))
    };
    parsed().ok_or_else(|| unusable("has no usable Content-Range"))
}

/// `bytes */1234`, as a 416 says it.
fn whole_size(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes */")?.trim().parse().ok()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn open_error(error: Error) -> OpenError {
    match error {
        Error::NotFound => OpenError::NotFound,
        Error::Denied(status) | Error::Status(status) => OpenError::Refused(status),
        Error::Limited { .. } => OpenError::Refused(429),
        Error::Unreachable(text) => OpenError::Unreachable(text),
        Error::TimedOut => OpenError::NoHeaders,
        error @ (Error::Resting { .. } | Error::TooLarge | Error::Malformed(_)) => {
            OpenError::Unreachable(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(200, &[("content-length", "10")], Some((10, 0)))]
    #[case(200, &[], None)]
    #[case(200, &[("content-length", "10"), ("content-encoding", "gzip")], None)]
    #[case(200, &[("content-length", "10"), ("content-encoding", "identity")], Some((10, 0)))]
    #[case(206, &[("content-range", "bytes 5-9/10"), ("content-length", "5")], Some((10, 5)))]
    #[case(206, &[("content-range", "bytes 5-9/*")], None)]
    #[case(206, &[("content-range", "bytes 9-5/10")], None)]
    #[case(206, &[("content-range", "bytes 5-10/10")], None)]
    #[case(206, &[("content-range", "5-9/10")], None)]
    #[case(206, &[("content-length", "5")], None)]
    fn a_body_has_its_place_in_the_blob(
        #[case] status: u16,
        #[case] headers: &[(&'static str, &str)],
        #[case] expected: Option<(u64, u64)>,
    ) {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        assert_eq!(place(status, &pairs.collect()).ok(), expected);
    }
}
