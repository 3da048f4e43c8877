//! Which images are complete here: answered from the index, without asking upstream.

mod name;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use regcache_transfer::Digest;
use serde::{Deserialize, Serialize};

use crate::manifests::{Accept, Contents, Manifests};
use crate::names::BadName;
use crate::store::Store;
use name::{ImageName, Version};

/// How many images are looked at for one question.
const MOST: usize = 500;
/// How many digests are looked at for one platform of an image.
const MOST_NAMED: usize = 10_000;
/// What every containerd from 1.6 to 2.4 takes: tags are remembered by it.
const CONTAINERD: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

/// The question.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Image names as people write them: `nginx`, `docker.io/library/nginx:1.27`, `quay.io/a/b@sha256:…`.
    pub images: Vec<String>,
    /// Only this platform: `linux/amd64`, `linux/arm/v7`. Absent: every platform that an image has.
    #[serde(default)]
    pub platform: Option<String>,
}

/// The answer, in the order of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Response {
    /// One for each image asked about.
    pub images: Vec<Image>,
}

/// Whether something can be served without upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All of it is here.
    Complete,
    /// Some of it is not.
    Missing,
    /// What it is made of is not known here.
    Unknown,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// As it was asked about.
    pub image: String,
    /// What the tag was when upstream was last asked, or the digest in the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Complete when every platform below is.
    pub state: State,
    /// Why nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// One for each platform, attestations left out.
    pub platforms: Vec<Platform>,
}

/// One platform of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// `linux/amd64`; empty when the image does not say.
    pub platform: String,
    /// About this platform alone.
    pub state: State,
    /// The digests that are not here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Why nothing is known of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unknown {
    #[error("{0}")]
    Name(#[from] BadName),
    #[error("nobody has asked for this tag here with containerd's media types")]
    Tag,
    #[error("nobody has asked for this digest here in this repository")]
    Digest,
    #[error("what it is made of cannot be read from its manifest")]
    Unreadable,
    #[error("the image has no such platform")]
    Platform,
    #[error("more images than are looked at for one question")]
    TooMany,
}

/// Answers from what is stored.
pub struct Complete {
    store: Arc<Store>,
    manifests: Arc<Manifests>,
}

impl Complete {
    /// Asks this store.
    pub fn new(store: Arc<Store>) -> Self {
        let manifests = Manifests::new(store.clone());
        Self { store, manifests }
    }

    /// Answers. Of more than 500 images those beyond are unknown.
    pub async fn answer(&self, request: Request) -> Response {
        let platform = request.platform.as_deref().map(name::platform);
        let mut images = Vec::with_capacity(request.images.len());
        for (number, image) in request.images.into_iter().enumerate() {
            let answer = if number < MOST {
                self.image(&image, platform.as_deref()).await
            } else {
                Err(Unknown::TooMany)
            };
            images.push(match answer {
                Ok((digest, platforms)) => Image {
                    image,
                    digest: Some(digest.to_string()),
                    state: together(&platforms),
                    message: None,
                    platforms,
                },
                Err(unknown) => Image {
                    image,
                    digest: None,
                    state: State::Unknown,
                    message: Some(unknown.to_string()),
                    platforms: Vec::new(),
                },
            });
        }
        Response { images }
    }

    async fn image(&self, image: &str, wanted: Option<&str>) -> Result<(Digest, Vec<Platform>), Unknown> {
        let name = ImageName::parse(image)?;
        let digest = self.digest(&name).await?;
        let Some(top) = self.manifests.stored(&digest).await else {
            return Ok((digest, vec![Platform::new(String::new(), &[digest])]));
        };
        let contents = Contents::read(&top.bytes);
        if contents == Contents::default() {
            return Err(Unknown::Unreadable);
        }
        if contents.manifests.is_empty() {
            // Its platform is in its config, and there is no other to choose.
            let missing = self.missing(vec![digest]).await;
            return Ok((
                digest,
                vec![Platform::new(wanted.unwrap_or_default().to_owned(), &missing)],
            ));
        }
        let mut platforms = Vec::new();
        for child in contents.manifests.into_iter().filter(|child| !child.attestation) {
            let has = child.platform.unwrap_or_default();
            if wanted.is_none_or(|wanted| name::platform(&has) == wanted) {
                platforms.push(Platform::new(has, &self.missing(vec![child.digest]).await));
            }
        }
        if platforms.is_empty() {
            return Err(Unknown::Platform);
        }
        Ok((digest, platforms))
    }

    /// What the image is, as far as it can be served here without upstream.
    async fn digest(&self, name: &ImageName) -> Result<Digest, Unknown> {
        match &name.version {
            Version::Digest(digest) => {
                let held = self.store.holds(&name.host, &name.repository, digest).await;
                held.then_some(*digest).ok_or(Unknown::Digest)
            }
            Version::Tag(tag) => {
                for accept in [Accept::parse([CONTAINERD]), Accept::any()] {
                    let fact = self.store.tag(&name.host, &name.repository, tag, accept.as_str()).await;
                    if let Some(fact) = fact {
                        return Ok(fact.digest);
                    }
                }
                Err(Unknown::Tag)
            }
        }
    }

    /// What is not here of these manifests and of all that they name. What a manifest names that is not here is not
    /// known, so that only it is missing.
    async fn missing(&self, mut manifests: Vec<Digest>) -> Vec<Digest> {
        let (mut missing, mut seen) = (Vec::new(), HashSet::new());
        while let Some(digest) = manifests.pop() {
            if seen.len() > MOST_NAMED || !seen.insert(digest) {
                continue;
            }
            let Some(manifest) = self.manifests.stored(&digest).await else {
                missing.push(digest);
                continue;
            };
            let contents = Contents::read(&manifest.bytes);
            manifests.extend(contents.manifests.iter().map(|child| child.digest));
            for blob in contents.blobs {
                if seen.insert(blob) && !self.store.has(&blob).await {
                    missing.push(blob);
                }
            }
        }
        missing
    }
}

impl Platform {
    fn new(platform: String, missing: &[Digest]) -> Self {
        Self {
            platform,
            state: if missing.is_empty() {
                State::Complete
            } else {
                State::Missing
            },
            missing: missing.iter().map(Digest::to_string).collect(),
        }
    }
}

fn together(platforms: &[Platform]) -> State {
    if platforms.iter().all(|platform| platform.state == State::Complete) {
        State::Complete
    } else {
        State::Missing
    }
}
