//! The registry's interface: one request to one answer.
//!
//! The pipeline: `ask` (what is wanted) -> `upstreams`, `repositories` (whose, and is it served) -> `manifest`, `blob`,
//! `lists` (the answer), put into words by `reply`. What is refused is refused so that containerd goes on to the next
//! host at once: 404 or 503, never 401, 429 or a challenge.

pub mod ask;
mod blob;
mod link;
mod lists;
mod manifest;
mod metrics;
mod origin;
pub mod range;
mod reply;
mod repositories;
#[cfg(test)]
mod tests;
mod upstreams;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio::time::timeout;

pub use metrics::RegistryMetrics;
pub use repositories::{BadGlob, Glob, RepositoryLists};
pub use upstreams::{Entry, Upstreams};

use crate::access::Access;
use crate::content::Body;
use crate::fill::Fills;
use crate::manifests::Manifests;
use crate::store::Store;
use crate::tags::Tags;
use ask::{Ask, Content};
use lists::Lists;
use metrics::Outcome;
use reply::{Kind, Reply, refusal};

/// How long a client waits for the headers of a manifest or a list, whatever takes the time: questions that follow one
/// another, or a disk that hangs. Below the 9 s after which a node's gateway takes a cache that says nothing for sick.
const WITHIN: Duration = Duration::from_millis(8500);
/// The same for blobs, of which a gateway has less patience: 5 s.
const WITHIN_BLOB: Duration = Duration::from_millis(4500);

/// Answers everything under `/v2/`.
pub struct Registry {
    store: Arc<Store>,
    fills: Arc<Fills>,
    upstreams: Arc<ArcSwap<Upstreams>>,
    manifests: Arc<Manifests>,
    tags: Tags,
    access: Access,
    lists: Lists,
    metrics: RegistryMetrics,
}

impl Registry {
    /// A registry of what these upstreams have. They may be exchanged at any time: a request keeps to those that it
    /// began with.
    pub fn new(
        store: Arc<Store>,
        fills: Arc<Fills>,
        upstreams: Arc<ArcSwap<Upstreams>>,
        metrics: RegistryMetrics,
    ) -> Arc<Self> {
        let manifests = Manifests::new(store.clone());
        Arc::new(Self {
            tags: Tags::new(store.clone(), manifests.clone()),
            access: Access::new(store.clone()),
            lists: lists::lists(),
            store,
            fills,
            upstreams,
            manifests,
            metrics,
        })
    }

    /// One request, one answer, with `Content-Length` on each; to HEAD without a body.
    pub async fn answer(&self, request: Request<()>) -> Response<Body> {
        let mut response = self.dispatch(&request).await;
        if request.method() == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        let version = HeaderName::from_static("docker-distribution-api-version");
        response
            .headers_mut()
            .insert(version, HeaderValue::from_static("registry/2.0"));
        response
    }

    async fn dispatch(&self, request: &Request<()>) -> Response<Body> {
        let nobody: Arc<str> = "".into();
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            self.metrics.request(&nobody, "none", Outcome::BadRequest);
            return reply::bad_method();
        }
        let upstreams = self.upstreams.load_full();
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let content = match Ask::parse(path, query, |host| upstreams.get(host).is_some()) {
            Ok(Ask::Base) => return reply::full(StatusCode::OK, "application/json", "{}".into()),
            Ok(Ask::Content(content)) => content,
            Err(bad) => {
                self.metrics.request(&nobody, "none", Outcome::BadRequest);
                return reply::bad_ask(bad);
            }
        };
        let kind = match content.kind {
            ask::Kind::Manifest(_) => Kind::Manifest,
            ask::Kind::Blob(_) => Kind::Blob,
            ask::Kind::Tags(_) | ask::Kind::Referrers(..) => Kind::List,
        };
        let (upstream, reply) = match upstreams.named(content.upstream.as_ref()) {
            Some(entry) => (
                entry.upstream.host().clone(),
                self.content(entry, &content, request).await,
            ),
            None => (nobody, not_served("this registry is not cached here")),
        };
        self.metrics.request(&upstream, kind.as_str(), reply.result);
        reply.response
    }

    async fn content(&self, entry: &Entry, content: &Content, request: &Request<()>) -> Reply {
        let repository = &content.repository;
        if !entry.repositories.permit(repository.as_str()) {
            return not_served("this repository is not cached here");
        }
        let reply = match &content.kind {
            ask::Kind::Manifest(reference) => {
                timeout(WITHIN, self.manifest(entry, repository, reference.clone(), request)).await
            }
            ask::Kind::Blob(digest) => timeout(WITHIN_BLOB, self.blob(entry, repository, *digest, request)).await,
            ask::Kind::Tags(_) | ask::Kind::Referrers(..) => timeout(WITHIN, self.list(entry, content, request)).await,
        };
        // What was begun goes on: all of it is shared.
        reply.unwrap_or_else(|_| reply::unavailable(None, "there is no answer in time"))
    }
}

/// A registry or repository outside the lists. 404 and not 403: to this cache there is no such thing, containerd goes
/// on to the next host in one step (after a 403 to HEAD newer ones ask the same host again by GET, and some before 1.6
/// give up), and a node's gateway takes it for an answer, where a 403 would count against the cache.
fn not_served(why: &str) -> Reply {
    Reply {
        response: refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN", why),
        result: Outcome::Denied,
    }
}
