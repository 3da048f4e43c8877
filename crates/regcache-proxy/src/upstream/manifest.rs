//! Manifests: what they are, and their bytes, checked.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method};
use regcache_transfer::{Digest, Span};
use serde::de::IgnoredAny;

use super::client::{Via, check_encoding, read_bounded};
use super::error::Error;
use super::exchange::{Answer, Ask, Exchange};
use super::metrics::Asked;
use crate::names::{Reference, Repository};

/// Most bytes of a manifest: what registries and clients agree on.
pub(crate) const LARGEST: usize = 4 * 1024 * 1024;

/// What a reference is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `None`: upstream did not say; it takes a GET to know.
    pub digest: Option<Digest>,
    /// Without parameters.
    pub media_type: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// A manifest whose bytes have the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The one asked for, else the one that upstream said, else the SHA-256 of the bytes.
    pub digest: Digest,
    /// Without parameters.
    pub media_type: Option<String>,
    /// All of it.
    pub bytes: Bytes,
}

pub(crate) async fn head(
    exchange: &Exchange,
    repository: &Repository,
    reference: &Reference,
    accept: &str,
) -> Result<Head, Error> {
    let answer = ask(exchange, Method::HEAD, repository, reference, accept).await?;
    let get_may_tell = match answer.response.status().as_u16() {
        405 | 501 => true,
        // Storage elsewhere signs addresses for GET alone.
        400 | 401 | 403 => answer.redirected,
        _ => false,
    };
    if get_may_tell {
        return Ok(Head {
            digest: None,
            media_type: None,
            size: None,
        });
    }
    let response = answer.success().await?;
    let said = said(response.headers());
    if let (Reference::Digest(asked), Some(said)) = (reference, said)
        && *asked != said
    {
        return Err(Error::Malformed("it says another digest than the one asked for".into()));
    }
    let length = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    Ok(Head {
        digest: said,
        media_type: media_type(response.headers()),
        size: length.and_then(|text| text.parse().ok()),
    })
}

pub(crate) async fn get(
    exchange: &Exchange,
    repository: &Repository,
    reference: &Reference,
    accept: &str,
) -> Result<Manifest, Error> {
    let answer = ask(exchange, Method::GET, repository, reference, accept).await?;
    let response = answer.success().await?;
    check_encoding(response.headers())?;
    let (said, media_type) = (said(response.headers()), media_type(response.headers()));
    let bytes = read_bounded(response, LARGEST).await?;
    if said.is_some_and(|said| !said.matches(&bytes)) {
        return Err(Error::Malformed("its bytes do not have the digest that it says".into()));
    }
    let digest = match reference {
        Reference::Digest(asked) if !asked.matches(&bytes) => {
            return Err(Error::Malformed("its bytes do not have the digest asked for".into()));
        }
        Reference::Digest(asked) => *asked,
        // Somebody's page with status 200 is not to become the image.
        Reference::Tag(_) if said.is_none() && serde_json::from_slice::<IgnoredAny>(&bytes).is_err() => {
            return Err(Error::Malformed("it is no manifest, and has no digest".into()));
        }
        Reference::Tag(_) => said.unwrap_or_else(|| Digest::sha256(&bytes)),
    };
    Ok(Manifest {
        digest,
        media_type,
        bytes,
    })
}

async fn ask(
    exchange: &Exchange,
    method: Method,
    repository: &Repository,
    reference: &Reference,
    accept: &str,
) -> Result<Answer, Error> {
    let ask = Ask {
        asked: Asked::Manifest,
        method,
        repository,
        path: format!("manifests/{reference}"),
        query: None,
        accept: Some(accept),
        span: Span::default(),
        via: Via::Kept,
    };
    exchange.ask(&ask).await
}

/// The digest that upstream says; none when it says something that cannot be verified.
fn said(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.trim().parse().ok()
}

/// `application/json; charset=utf-8` is `application/json`.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let text = text.split(';').next()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
