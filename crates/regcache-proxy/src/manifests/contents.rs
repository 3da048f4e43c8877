//! What a manifest names, from its bytes. Pure.
//!
//! Fields that are not needed are skipped, whatever is in them; what cannot be read names nothing. Docker's schema 1
//! is passed through like any other bytes and names nothing either.

use regcache_transfer::Digest;
use serde::Deserialize;

use super::spelling::is_plain;

/// How many descriptors count. Images have some ten, indexes some dozens.
const MOST: usize = 4096;

/// What one manifest or index names.
///
/// Whoever holds an image holds its blobs: a registry does not take it without them. Of an index it may well, and of a
/// `subject` it does, so that anybody who may push could claim any manifest by naming it there; these are asked about.
/// The same goes for layers that lie elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What it says that it is.
    pub media_type: Option<String>,
    /// The manifests of an index.
    pub manifests: Vec<Child>,
    /// Config, layers and an artifact's blobs, except those that lie elsewhere.
    pub blobs: Vec<Digest>,
}

/// One manifest of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Which.
    pub digest: Digest,
    /// `linux/arm64/v8`; `None` when the index does not say, or says `unknown` as attestations do.
    pub platform: Option<String>,
    /// Something about another manifest of the index, and no image of its own.
    pub attestation: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

impl Document {
    fn is_one_thing(&self) -> bool {
        let any = |list: &Option<Vec<Descriptor>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let image = self.config.is_some() || any(&self.layers) || any(&self.blobs);
        let says = self.media_type.as_deref().unwrap_or_default();
        let says_index = says.contains("image.index") || says.contains("manifest.list");
        let says_image = !says_index && (says.contains("image.manifest") || says.contains("manifest.v2"));
        !(image && (any(&self.manifests) || says_index) || any(&self.manifests) && says_image)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: Option<String>,
    urls: Option<Vec<String>>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl Contents {
    /// Reads a manifest. What is an index to one reader and an image to another one names nothing: a registry has
    /// checked it as either of them.
    pub fn read(bytes: &[u8]) -> Self {
        let Ok(document) = serde_json::from_slice::<Document>(bytes) else {
            return Self::default();
        };
        if !document.is_one_thing() || !is_plain(bytes) {
            return Self::default();
        }
        let blobs = [document.layers, document.blobs].into_iter().flatten().flatten();
        let index = "application/vnd.oci.image.index.v1+json";
        let image = "application/vnd.oci.image.manifest.v1+json";
        // Only the OCI types may be left unsaid.
        let shape = match (document.manifests.is_some(), document.config.is_some()) {
            (true, false) => Some(index.to_owned()),
            (false, true) => Some(image.to_owned()),
            _ => None,
        };
        Self {
            media_type: document.media_type.or(shape),
            manifests: document
                .manifests
                .into_iter()
                .flatten()
                .take(MOST)
                .filter_map(child)
                .collect(),
            blobs: document
                .config
                .into_iter()
                .chain(blobs)
                .take(MOST)
                .filter_map(blob)
                .collect(),
        }
    }
}

fn child(descriptor: Descriptor) -> Option<Child> {
    let digest = descriptor.digest?.parse().ok()?;
    let platform = descriptor.platform;
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (os, architecture, variant) = match platform {
        Some(platform) => (said(platform.os), said(platform.architecture), said(platform.variant)),
        None => (None, None, None),
    };
    let attestation = os.as_deref() == Some("unknown");
    let platform = match (os, architecture) {
        (Some(os), Some(architecture)) if !attestation => {
            let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
            Some(format!("{os}/{architecture}{variant}"))
        }
        _ => None,
    };
    Some(Child {
        digest,
        platform,
        attestation,
    })
}

fn blob(descriptor: Descriptor) -> Option<Digest> {
    // Registries do not check that they have such layers, and need not.
    let kind = descriptor.media_type.unwrap_or_default();
    let elsewhere = kind.contains(".foreign.") || kind.contains(".nondistributable.");
    if elsewhere || descriptor.urls.is_some_and(|urls| !urls.is_empty()) {
        return None;
    }
    descriptor.digest?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &serde_json::Value) -> Contents {
        Contents::read(document.to_string().as_bytes())
    }

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn named(text: &str) -> String {
        digest(text).to_string()
    }

    #[test]
    fn an_image_names_its_config_and_layers() {
        let contents = read(&json!({
            "schemaVersion": 2,
            "config": {"digest": named("config"), "size": 1, "data": {"any": [1, 2]}},
            "layers": [{"digest": named("one"), "size": "many"}, {"digest": "md5:12"}, {"digest": named("two")}],
            "subject": {"digest": named("subject")},
        }));
        assert_eq!(contents.blobs, [digest("config"), digest("one"), digest("two")]);
        assert!(contents.manifests.is_empty());
        let image = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(contents.media_type.as_deref(), Some(image));
    }

    #[test]
    fn an_index_names_its_manifests_with_their_platforms() {
        let contents = read(&json!({
            "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
            "manifests": [
                {"digest": named("a"), "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
                {"digest": named("b"), "platform": {"os": "linux", "architecture": "amd64", "variant": ""}},
                {"digest": named("c"), "platform": {"os": "unknown", "architecture": "unknown"}},
                {"digest": named("d")},
            ],
        }));
        let platforms: Vec<_> = contents
            .manifests
            .iter()
            .map(|child| child.platform.as_deref())
            .collect();
        assert_eq!(platforms, [Some("linux/arm/v7"), Some("linux/amd64"), None, None]);
        let attestations: Vec<_> = contents.manifests.iter().map(|child| child.attestation).collect();
        assert_eq!(attestations, [false, false, true, false]);
        assert_eq!(contents.manifests.len(), 4);
        assert!(contents.media_type.unwrap().ends_with("list.v2+json"));
    }

    #[test]
    fn an_artifact_names_its_blobs() {
        let contents = read(&json!({"mediaType": "x/y", "blobs": [{"digest": named("a")}], "layers": null}));
        assert_eq!(contents.blobs, [digest("a")]);
    }

    #[test]
    fn what_a_registry_need_not_have_is_not_named() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let kept = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        let contents = read(&json!({
            "layers": [
                {"digest": named("a"), "urls": ["https://elsewhere"]},
                {"digest": named("b"), "mediaType": foreign},
                {"digest": named("c"), "mediaType": kept},
                {"digest": named("d"), "urls": []},
            ],
            "subject": {"digest": named("e")},
        }));
        assert_eq!(contents.blobs, [digest("d")]);
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        for text in ["", "[]", "null", "{", "{\"layers\": 5}", "\u{fffd}"] {
            assert_eq!(Contents::read(text.as_bytes()), Contents::default(), "{text}");
        }
        let deep = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Contents::read(deep.as_bytes()).blobs.is_empty());
    }

    #[test]
    fn what_another_reader_takes_for_something_else_names_nothing() {
        let (index, image) = (
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        );
        let layers = json!([{"digest": named("a")}]);
        for document in [
            json!({"manifests": layers, "layers": layers}),
            json!({"mediaType": index, "manifests": [], "layers": layers}),
            json!({"mediaType": index, "config": {"digest": named("a")}}),
            json!({"mediaType": image, "manifests": layers}),
            json!({"layers": layers, "Layers": []}),
            json!({"layers": [{"digest": named("a"), "Urls": ["https://elsewhere"]}]}),
        ] {
            assert_eq!(read(&document), Contents::default(), "{document}");
        }
    }

    #[test]
    fn only_so_many_are_named() {
        let layers: Vec<_> = (0..MOST + 9)
            .map(|number| json!({"digest": named(&number.to_string())}))
            .collect();
        assert_eq!(read(&json!({"layers": layers})).blobs.len(), MOST);
    }
}
