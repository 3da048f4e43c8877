//! Manifests by tag and by digest.

use http::header::{ACCEPT, ETAG};
use http::{Request, StatusCode};
use regcache_transfer::Digest;

use super::Registry;
use super::blob::etag;
use super::metrics::Outcome;
use super::reply::{DOCKER_CONTENT_DIGEST, Kind, Reply, failed, full, insert};
use super::upstreams::Entry;
use crate::access::What;
use crate::flights::Part;
use crate::manifests::{Accept, Manifest, WITHIN};
use crate::names::{Reference, Repository};
use crate::tags::{Asked, How};
use crate::upstream::Error;

impl Registry {
    pub(super) async fn manifest(
        &self,
        entry: &Entry,
        repository: &Repository,
        reference: Reference,
        request: &Request<()>,
    ) -> Reply {
        let accept = request.headers().get_all(ACCEPT).iter();
        let accept = Accept::parse(accept.filter_map(|header| header.to_str().ok()));
        let found = match reference {
            Reference::Tag(tag) => {
                let asked = Asked {
                    host: entry.upstream.host().clone(),
                    repository: repository.clone(),
                    tag,
                    accept,
                };
                self.tags.manifest(&entry.upstream, entry.tags, asked).await
            }
            Reference::Digest(digest) => self.by_digest(entry, repository, digest, &accept).await,
        };
        match found {
            Ok((manifest, how)) => reply(manifest, how),
            Err(error) => failed(Kind::Manifest, &error),
        }
    }

    async fn by_digest(
        &self,
        entry: &Entry,
        repository: &Repository,
        digest: Digest,
        accept: &Accept,
    ) -> Result<(Manifest, How), Error> {
        let upstream = &entry.upstream;
        let stored = self.manifests.stored(&digest).await;
        if let Some(manifest) = stored.filter(|manifest| accept.takes(&manifest.media_type)) {
            if !self.access.known(upstream, repository, &digest).await {
                self.access.ask(upstream, repository, digest, What::Manifest).await?;
            }
            self.manifests.note(upstream.host(), repository, &manifest).await;
            return Ok((manifest, How::Hit));
        }
        let flight = self.manifests.fetch(upstream, repository, digest, accept);
        let flight = flight.ok_or(Error::TimedOut)?;
        let how = if flight.part == Part::Began {
            How::Miss
        } else {
            How::Join
        };
        let manifest = flight.outcome(WITHIN).await.unwrap_or(Err(Error::TimedOut))?;
        Ok((manifest, how))
    }
}

fn reply(manifest: Manifest, how: How) -> Reply {
    let mut response = full(StatusCode::OK, manifest.media_type, manifest.bytes);
    insert(response.headers_mut(), DOCKER_CONTENT_DIGEST, manifest.digest);
    insert(response.headers_mut(), ETAG, etag(&manifest.digest));
    let result = match how {
        How::Hit => Outcome::Hit,
        How::Miss => Outcome::Miss,
        How::Join => Outcome::Join,
        How::Stale => Outcome::Stale,
    };
    Reply { response, result }
}
