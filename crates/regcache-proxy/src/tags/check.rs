//! Asking upstream what a tag is now: once, for everybody who waits for it, and on behind those who do not.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::Asked;
use crate::manifests::{Manifest, Manifests, WITHIN};
use crate::names::Reference;
use crate::store::{Store, TagFact};
use crate::upstream::{Error, Head, Upstream};

/// What upstream says that the tag is.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) manifest: Manifest,
    /// Its bytes came from upstream, too.
    pub(super) fetched: bool,
}

/// One question, with all that it needs to go on by itself.
pub(super) struct Check {
    pub(super) store: Arc<Store>,
    pub(super) manifests: Arc<Manifests>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) asked: Asked,
    /// When it is to be sent.
    pub(super) not_before: Instant,
}

impl Check {
    /// Asks, and remembers the answer.
    pub(super) async fn run(self) -> Result<Checked, Error> {
        let deadline = Instant::now() + WITHIN;
        sleep_until(self.not_before).await;
        let checked_at = Timestamp::now();
        let asked = timeout_at(deadline, self.ask()).await;
        let outcome = asked.unwrap_or(Err(Error::TimedOut));
        // An earlier question that took its time has nothing to say any more once a later one was answered. A time in
        // the future is no later question, but a clock that was set back.
        let later = |known: &TagFact| known.checked_at > checked_at && known.checked_at <= Timestamp::now();
        let Asked {
            host,
            repository,
            tag,
            accept,
        } = &self.asked;
        match &outcome {
            Ok(checked) => {
                let manifest = &checked.manifest;
                let fact = TagFact {
                    digest: manifest.digest,
                    media_type: Some(manifest.media_type.to_string()),
                    size: Some(manifest.bytes.len() as u64),
                    checked_at,
                };
                let known = self.store.tag(host, repository, tag, accept.as_str()).await;
                if known.as_ref().is_some_and(|known| known.digest != fact.digest) {
                    info!(upstream = %host, %repository, %tag, digest = %fact.digest, "tag has moved");
                }
                if !known.as_ref().is_some_and(later) {
                    self.store.put_tag(host, repository, tag, accept.as_str(), fact).await;
                }
            }
            // For this `Accept` only: registries answer 404, too, when a tag is nothing that the client takes.
            Err(Error::NotFound) => {
                let known = self.store.tag(host, repository, tag, accept.as_str()).await;
                if known.is_some_and(|known| !later(&known)) {
                    self.store.remove_tag(host, repository, tag, accept.as_str()).await;
                }
            }
            Err(error) => warn!(upstream = %host, %repository, %tag, %error, "tag cannot be checked"),
        }
        outcome
    }

    async fn ask(&self) -> Result<Checked, Error> {
        let Asked {
            host,
            repository,
            tag,
            accept,
        } = &self.asked;
        let reference = Reference::Tag(tag.clone());
        let head = self
            .upstream
            .head_manifest(repository, &reference, accept.as_str())
            .await;
        let digest = match head {
            Ok(Head {
                digest: Some(digest), ..
            }) => digest,
            // It takes a GET to know; so it does where HEAD is not offered.
            Ok(Head { digest: None, .. }) | Err(Error::Status(400 | 405 | 406 | 415 | 501)) => return self.get().await,
            Err(error) => return Err(error),
        };
        if let Some(manifest) = self.manifests.stored(&digest).await {
            self.manifests.note(host, repository, &manifest).await;
            let fetched = false;
            return Ok(Checked { manifest, fetched });
        }
        // Shared with those who ask for it by digest.
        let flight = self.manifests.fetch(&self.upstream, repository, digest, accept);
        match flight.ok_or(Error::TimedOut)?.outcome(WITHIN).await {
            Some(Ok(manifest)) => {
                let fetched = true;
                Ok(Checked { manifest, fetched })
            }
            // The tag has moved on between both questions, and what it was is gone.
            Some(Err(Error::NotFound)) => self.get().await,
            Some(Err(error)) => Err(error),
            None => Err(Error::TimedOut),
        }
    }

    /// The manifest by tag, whatever it is by now; its digest is that of the bytes.
    async fn get(&self) -> Result<Checked, Error> {
        let reference = Reference::Tag(self.asked.tag.clone());
        let manifest = self
            .manifests
            .get(&self.upstream, &self.asked.repository, &reference, &self.asked.accept);
        let (manifest, fetched) = (manifest.await?, true);
        Ok(Checked { manifest, fetched })
    }
}
