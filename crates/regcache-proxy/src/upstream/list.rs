//! Lists that are relayed and not kept: tags, referrers.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, LINK};
use regcache_transfer::{Digest, Span};

use super::client::{Via, check_encoding, read_bounded};
use super::error::Error;
use super::exchange::{Ask, Exchange};
use super::manifest::LARGEST;
use super::metrics::Asked;
use crate::names::Repository;

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The repository's tags.
    Tags,
    /// What refers to this manifest.
    Referrers(Digest),
}

/// A list as upstream gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// As upstream said.
    pub content_type: Option<String>,
    /// Where the list goes on, as upstream said: relative to the upstream, not to us.
    pub link: Option<String>,
    /// The filters that upstream has applied to referrers.
    pub filters_applied: Option<String>,
    /// All of it.
    pub bytes: Bytes,
}

pub(crate) async fn get(
    exchange: &Exchange,
    repository: &Repository,
    what: List,
    query: Option<&str>,
    accept: &str,
) -> Result<Listing, Error> {
    let ask = Ask {
        asked: Asked::List,
        method: Method::GET,
        repository,
        path: match what {
            List::Tags => "tags/list".into(),
            List::Referrers(digest) => format!("referrers/{digest}"),
        },
        query,
        accept: Some(accept),
        span: Span::default(),
        via: Via::Kept,
    };
    let response = exchange.ask(&ask).await?.success().await?;
    check_encoding(response.headers())?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(ToOwned::to_owned)
    };
    let (content_type, link) = (header(CONTENT_TYPE.as_str()), header(LINK.as_str()));
    let filters_applied = header("oci-filters-applied");
    Ok(Listing {
        content_type,
        link,
        filters_applied,
        bytes: read_bounded(response, LARGEST).await?,
    })
}
