//! Answers: what every one of them says, and those that refuse.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::ask::BadAsk;
use super::metrics::Outcome;
use crate::content::Body;
use crate::upstream::Error;

/// The header that names what a body is.
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// When to come back, if nothing better is known, and at most.
const AFTER: Duration = Duration::from_secs(2);
const AFTER_MOST: Duration = Duration::from_secs(60);

/// An answer, and how it is counted.
pub(super) struct Reply {
    pub(super) response: Response<Body>,
    pub(super) result: Outcome,
}

/// What was asked for, when it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Blob,
    List,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::List => "list",
        }
    }

    const fn unknown(self) -> &'static str {
        match self {
            Self::Manifest => "MANIFEST_UNKNOWN",
            Self::Blob => "BLOB_UNKNOWN",
            Self::List => "NAME_UNKNOWN",
        }
    }
}

/// Sets a header. What is no valid value is left out: all of ours are numbers, hex and media types that were checked.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: impl Display) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value.to_string())) {
        headers.insert(name, value);
    }
}

/// An answer with all its bytes.
pub(super) fn full(status: StatusCode, media_type: impl Display, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    insert(response.headers_mut(), CONTENT_LENGTH, bytes.len());
    insert(response.headers_mut(), CONTENT_TYPE, media_type);
    *response.body_mut() = Body::Full(bytes);
    response
}

/// An answer with a registry's error document.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let document = serde_json::json!({"errors": [{"code": code, "message": message}]});
    full(status, "application/json", document.to_string().into())
}

/// 405.
pub(super) fn bad_method() -> Response<Body> {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "a cache is read only");
    insert(response.headers_mut(), ALLOW, "GET, HEAD");
    response
}

/// What was asked cannot be understood.
pub(super) fn bad_ask(bad: BadAsk) -> Response<Body> {
    let (status, code) = match bad {
        BadAsk::Path => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
        BadAsk::Name => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
        // There cannot be such a manifest, whoever is asked.
        BadAsk::Tag => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        BadAsk::Digest => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        BadAsk::Query => (StatusCode::URI_TOO_LONG, "UNSUPPORTED"),
    };
    refusal(status, code, &bad.to_string())
}

/// Upstream could not help.
pub(super) fn failed(kind: Kind, error: &Error) -> Reply {
    match error {
        Error::NotFound => not_found(kind),
        // No 403, and no 503 either. containerd goes on to the next host after each of the three, at once, but a
        // node's gateway counts what is neither an answer nor a 404 against the cache: three pulls of a private image
        // would take a good cache out of use. To upstream a repository that we may not see is one that is not there.
        Error::Denied(_) => Reply {
            response: refusal(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                "upstream does not let this cache see the repository",
            ),
            result: Outcome::Denied,
        },
        Error::Limited { retry_after } => unavailable(*retry_after, "upstream limits requests"),
        Error::Resting { remaining } => unavailable(Some(*remaining), "upstream does not answer"),
        Error::TimedOut | Error::Unreachable(_) => unavailable(None, "upstream does not answer"),
        Error::Status(_) | Error::TooLarge | Error::Malformed(_) => unavailable(None, "upstream's answer is no use"),
    }
}

/// 404.
pub(super) fn not_found(kind: Kind) -> Reply {
    Reply {
        response: refusal(StatusCode::NOT_FOUND, kind.unknown(), "upstream does not have it"),
        result: Outcome::NotFound,
    }
}

/// 503, on which containerd asks upstream itself.
pub(super) fn unavailable(after: Option<Duration>, why: &str) -> Reply {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", why);
    let after = after.unwrap_or(AFTER).min(AFTER_MOST).as_secs().max(1);
    insert(response.headers_mut(), RETRY_AFTER, after);
    Reply {
        response,
        result: Outcome::Unavailable,
    }
}
