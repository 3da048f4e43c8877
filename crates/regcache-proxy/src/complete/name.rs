//! Image names as people and kubelets write them. Pure.

use regcache_transfer::Digest;

use crate::names::{BadName, Repository, Tag};

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageName {
    /// The registry, in lower case.
    pub(super) host: String,
    pub(super) repository: Repository,
    pub(super) version: Version,
}

/// Which of a repository's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Tag(Tag),
    /// Stronger than a tag beside it.
    Digest(Digest),
}

impl ImageName {
    /// Reads a name, with what is left out as containerd and Docker fill it in: `nginx` is
    /// `docker.io/library/nginx:latest`.
    pub(super) fn parse(text: &str) -> Result<Self, BadName> {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest.parse().map_err(|_| BadName::Digest)?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the host's port.
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.parse()?)),
            _ => (text, None),
        };
        let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (host, path) = match name.split_once('/') {
            Some((first, path)) if is_host(first) => (first.to_ascii_lowercase(), path),
            _ => ("docker.io".to_owned(), name),
        };
        let host = if host == "index.docker.io" {
            "docker.io".to_owned()
        } else {
            host
        };
        let repository = if host == "docker.io" && !path.contains('/') {
            format!("library/{path}").parse()?
        } else {
            path.parse()?
        };
        let version = match (digest, tag) {
            (Some(digest), _) => Version::Digest(digest),
            (None, Some(tag)) => Version::Tag(tag),
            (None, None) => Version::Tag("latest".parse()?),
        };
        Ok(Self {
            host,
            repository,
            version,
        })
    }
}

/// A platform in the one spelling that is compared: `linux/arm64/v8` and `linux/aarch64` are `linux/arm64`.
pub(super) fn platform(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let mut parts = text.split('/');
    let os = parts.next().unwrap_or_default();
    let (architecture, variant) = (parts.next().unwrap_or_default(), parts.next());
    let architecture = match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" => "arm",
        other => other,
    };
    match (architecture, variant) {
        ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) | (_, None | Some("")) if architecture != "arm" => {
            format!("{os}/{architecture}")
        }
        ("arm", None | Some("" | "7")) => format!("{os}/arm/v7"),
        (_, variant) => format!("{os}/{architecture}/{}", variant.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[rstest]
    #[case("nginx", "docker.io", "library/nginx", "latest")]
    #[case("nginx:1.27", "docker.io", "library/nginx", "1.27")]
    #[case("bitnami/redis", "docker.io", "bitnami/redis", "latest")]
    #[case("docker.io/nginx:1", "docker.io", "library/nginx", "1")]
    #[case("index.docker.io/library/nginx", "docker.io", "library/nginx", "latest")]
    #[case("Registry.corp:5000/a/b", "registry.corp:5000", "a/b", "latest")]
    #[case("registry.corp:5000/a:x", "registry.corp:5000", "a", "x")]
    #[case("localhost/a:x", "localhost", "a", "x")]
    fn names_are_completed(#[case] text: &str, #[case] host: &str, #[case] repository: &str, #[case] tag: &str) {
        let name = ImageName::parse(text).unwrap();
        assert_eq!((name.host.as_str(), name.repository.as_str()), (host, repository));
        assert_eq!(name.version, Version::Tag(tag.parse().unwrap()));
    }

    #[test]
    fn a_digest_is_stronger_than_a_tag() {
        let digest = format!("sha256:{HEX}").parse().unwrap();
        let name = ImageName::parse(&format!("quay.io/a/b:1@sha256:{HEX}")).unwrap();
        assert_eq!(name.version, Version::Digest(digest));
    }

    #[rstest]
    #[case("", BadName::Repository)]
    #[case("A", BadName::Repository)]
    #[case("quay.io/", BadName::Repository)]
    #[case("a:-x", BadName::Tag)]
    #[case("a@sha256:12", BadName::Digest)]
    fn what_is_no_name_is_refused(#[case] text: &str, #[case] why: BadName) {
        assert_eq!(ImageName::parse(text), Err(why));
    }

    #[rstest]
    #[case("linux/amd64", "linux/amd64")]
    #[case("Linux/x86_64", "linux/amd64")]
    #[case("linux/amd64/v3", "linux/amd64/v3")]
    #[case("linux/arm64/v8", "linux/arm64")]
    #[case("linux/arm", "linux/arm/v7")]
    #[case("linux/arm/v6", "linux/arm/v6")]
    #[case("windows/amd64", "windows/amd64")]
    fn platforms_have_one_spelling(#[case] text: &str, #[case] spelling: &str) {
        assert_eq!(platform(text), spelling);
    }
}
