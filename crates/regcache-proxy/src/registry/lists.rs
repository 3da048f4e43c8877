//! Lists of tags and of referrers: relayed from upstream, and shared by all who ask within a few seconds.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{ACCEPT, LINK};
use tokio::time::timeout;

use super::Registry;
use super::ask::{Content, Kind as Asked, Named};
use super::link;
use super::metrics::Outcome;
use super::reply::{Kind, Reply, failed, full, insert, not_found};
use super::upstreams::Entry;
use crate::flights::{Flights, Part};
use crate::manifests::{Accept, NEGATIVE, WITHIN};
use crate::names::Repository;
use crate::upstream::{Error, List, Listing};

/// For how long a list is good for others, too.
const GOOD: Duration = Duration::from_secs(3);
/// Larger ones are not remembered, bytes.
const LARGE: usize = 64 * 1024;
/// How many may be under way or remembered: each may have 4 MiB while it is under way.
const MOST: usize = 64;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    host: Arc<str>,
    repository: Repository,
    /// The path below the repository.
    path: String,
    query: Option<String>,
    accept: Accept,
}

pub(super) type Lists = Arc<Flights<Key, Result<Listing, Error>>>;

pub(super) fn lists() -> Lists {
    Flights::new(MOST, |outcome| match outcome {
        Ok(listing) => (listing.bytes.len() <= LARGE).then_some(GOOD),
        Err(Error::NotFound | Error::Denied(_)) => Some(NEGATIVE),
        Err(_) => None,
    })
}

impl Registry {
    pub(super) async fn list(&self, entry: &Entry, content: &Content, request: &http::Request<()>) -> Reply {
        let (what, query) = match &content.kind {
            Asked::Tags(query) => (List::Tags, query.clone()),
            Asked::Referrers(digest, query) => (List::Referrers(*digest), query.clone()),
            Asked::Manifest(_) | Asked::Blob(_) => return not_found(Kind::List),
        };
        let accept = request.headers().get_all(ACCEPT).iter();
        let accept = Accept::parse(accept.filter_map(|header| header.to_str().ok()));
        let path = match what {
            List::Tags => "tags/list".to_owned(),
            List::Referrers(digest) => format!("referrers/{digest}"),
        };
        let key = Key {
            host: entry.upstream.host().clone(),
            repository: content.repository.clone(),
            path,
            query,
            accept,
        };
        let flight = self.lists.join(&key, WITHIN, || {
            let (upstream, key) = (entry.upstream.clone(), key.clone());
            async move {
                let list = upstream.list(&key.repository, what, key.query.as_deref(), key.accept.as_str());
                timeout(WITHIN, list).await.unwrap_or(Err(Error::TimedOut))
            }
        });
        let Some(flight) = flight else {
            return failed(Kind::List, &Error::TimedOut);
        };
        let result = match flight.part {
            Part::Began => Outcome::Miss,
            Part::Joined => Outcome::Join,
            Part::Late => Outcome::Hit,
        };
        match flight.outcome(WITHIN).await.unwrap_or(Err(Error::TimedOut)) {
            Ok(listing) => Reply {
                response: relayed(listing, content.upstream.as_ref(), &key),
                result,
            },
            Err(error) => failed(Kind::List, &error),
        }
    }
}

fn relayed(listing: Listing, named: Option<&Named>, key: &Key) -> http::Response<crate::content::Body> {
    let media_type = listing.content_type.unwrap_or_else(|| "application/json".into());
    let mut response = full(StatusCode::OK, media_type, listing.bytes);
    let headers = response.headers_mut();
    if let Some(filters) = listing.filters_applied {
        insert(headers, http::HeaderName::from_static("oci-filters-applied"), filters);
    }
    let path = format!("{}/{}", key.repository, key.path);
    if let Some(link) = listing.link.and_then(|link| link::here(&link, &path, named)) {
        insert(headers, LINK, link);
    }
    response
}
