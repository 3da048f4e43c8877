//! What a request wants, from its path and query. Pure.
//!
//! Percent-escapes in the path are refused and not decoded: no name, tag or digest has a character that needs one, so
//! whoever sends one has something else in mind, and there is one spelling for each thing.

use regcache_transfer::Digest;

use crate::names::{BadName, Reference, Repository};

/// The longest query that is passed on to an upstream, bytes.
const LONGEST_QUERY: usize = 1024;

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether this is a registry: `/v2/`.
    Base,
    /// Something of a repository.
    Content(Content),
}

/// Something of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The upstream that was named, and how. `None`: none was, which is enough when there is only one.
    pub upstream: Option<Named>,
    /// Where.
    pub repository: Repository,
    /// What.
    pub kind: Kind,
}

/// How a request names its upstream. Links to further pages name it in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// `?ns=docker.io`, in lower case.
    Query(String),
    /// `/v2/docker.io/library/nginx/…`
    Prefix(String),
}

/// What is asked of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A manifest.
    Manifest(Reference),
    /// A blob.
    Blob(Digest),
    /// The list of tags, with the query to be passed on.
    Tags(Option<String>),
    /// What refers to a manifest, with the query to be passed on.
    Referrers(Digest, Option<String>),
}

/// Why a request cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAsk {
    /// Nothing that a registry has, or nothing that this one offers.
    #[error("no such path here: manifests, blobs, tags/list and referrers are")]
    Path,
    /// The repository's name.
    #[error("not a repository name: lower-case letters and digits, parts separated by `/`, at most 255 bytes")]
    Name,
    /// The tag: there cannot be such a manifest.
    #[error("not a tag: letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`, at most 128 bytes")]
    Tag,
    /// The digest.
    #[error("not a sha256 or sha512 digest in lower-case hex")]
    Digest,
    /// The query is longer than any that a client of a registry needs.
    #[error("the query is too long")]
    Query,
}

impl Named {
    /// The upstream's host.
    pub fn host(&self) -> &str {
        match self {
            Self::Query(host) | Self::Prefix(host) => host,
        }
    }
}

impl Ask {
    /// Reads a path and the query behind its `?`. `is_upstream` says which first components of a path are upstreams;
    /// it is not asked when the query names one, so that a repository may begin like a host.
    pub fn parse(path: &str, query: &str, is_upstream: impl Fn(&str) -> bool) -> Result<Self, BadAsk> {
        if matches!(path, "/v2" | "/v2/") {
            return Ok(Self::Base);
        }
        let rest = path.strip_prefix("/v2/").ok_or(BadAsk::Path)?;
        if query.len() > LONGEST_QUERY {
            return Err(BadAsk::Query);
        }
        let (ns, query) = split_ns(query);
        // The end decides: a repository may well be called `blobs/manifests`.
        let (before, last) = rest.rsplit_once('/').ok_or(BadAsk::Path)?;
        let (name, noun) = before.rsplit_once('/').ok_or(BadAsk::Path)?;
        let kind = kind(noun, last, query)?;
        let (upstream, name) = match (ns, name.split_once('/')) {
            (Some(host), _) => (Some(Named::Query(host)), name),
            (None, Some((host, name))) if is_upstream(host) => (Some(Named::Prefix(host.to_owned())), name),
            (None, _) => (None, name),
        };
        Ok(Self::Content(Content {
            upstream,
            repository: name.parse().map_err(|_| BadAsk::Name)?,
            kind,
        }))
    }
}

/// Takes `ns` out of a query, the first one that is not empty; the rest is what upstream may need.
fn split_ns(query: &str) -> (Option<String>, Option<String>) {
    let mut ns = None;
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if key != "ns" {
            rest.append_pair(&key, &value);
        } else if ns.is_none() && !value.is_empty() {
            ns = Some(value.to_ascii_lowercase());
        }
    }
    let rest = rest.finish();
    (ns, (!rest.is_empty()).then_some(rest))
}

fn kind(noun: &str, last: &str, query: Option<String>) -> Result<Kind, BadAsk> {
    match noun {
        "manifests" => match last.parse() {
            Ok(reference) => Ok(Kind::Manifest(reference)),
            Err(BadName::Digest) => Err(BadAsk::Digest),
            Err(_) => Err(BadAsk::Tag),
        },
        "blobs" if last.contains(':') => last.parse().map(Kind::Blob).map_err(|_| BadAsk::Digest),
        "tags" if last == "list" => Ok(Kind::Tags(query)),
        "referrers" => last
            .parse()
            .map(|digest| Kind::Referrers(digest, query))
            .map_err(|_| BadAsk::Digest),
        _ => Err(BadAsk::Path),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn parse(path: &str, query: &str) -> Result<Ask, BadAsk> {
        Ask::parse(path, query, |host| matches!(host, "docker.io" | "registry.corp:5000"))
    }

    fn content(path: &str, query: &str) -> Content {
        match parse(path, query) {
            Ok(Ask::Content(content)) => content,
            other => panic!("{path}?{query}: {other:?}"),
        }
    }

    #[test]
    fn paths_of_a_registry_are_told_apart_by_their_end() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        let kind = |path: &str| content(path, "ns=docker.io").kind;
        let tag = Kind::Manifest("3.20".parse().unwrap());
        assert_eq!(kind("/v2/library/alpine/manifests/3.20"), tag);
        let by_digest = Kind::Manifest(Reference::Digest(digest));
        assert_eq!(kind(&format!("/v2/a/manifests/{digest}")), by_digest);
        let signature = format!("sha256-{HEX}.sig");
        let tag = Kind::Manifest(Reference::Tag(signature.parse().unwrap()));
        assert_eq!(kind(&format!("/v2/a/manifests/{signature}")), tag);
        let ask = content(&format!("/v2/blobs/manifests/blobs/{digest}"), "ns=docker.io");
        assert_eq!(ask.kind, Kind::Blob(digest));
        assert_eq!(ask.repository.as_str(), "blobs/manifests");
        assert_eq!(kind("/v2/a/b/tags/list"), Kind::Tags(None));
        assert_eq!(
            kind(&format!("/v2/a/referrers/{digest}")),
            Kind::Referrers(digest, None)
        );
        assert_eq!(parse("/v2/", ""), Ok(Ask::Base));
        assert_eq!(parse("/v2", "ns=docker.io"), Ok(Ask::Base));
    }

    #[rstest]
    #[case("/", BadAsk::Path)]
    #[case("/v1/a/manifests/b", BadAsk::Path)]
    #[case("/v2/manifests/b", BadAsk::Path)]
    #[case("/v2/a", BadAsk::Path)]
    #[case("/v2/a/tags/other", BadAsk::Path)]
    #[case("/v2/a/blobs/uploads", BadAsk::Path)]
    #[case("/v2/a/blobs/uploads/", BadAsk::Path)]
    #[case("/v2/_catalog", BadAsk::Path)]
    #[case("/v2//manifests/b", BadAsk::Name)]
    #[case("/v2/a/../manifests/b", BadAsk::Name)]
    #[case("/v2/a%2fb/manifests/b", BadAsk::Name)]
    #[case("/v2/%2e%2e/manifests/b", BadAsk::Name)]
    #[case("/v2/A/manifests/b", BadAsk::Name)]
    #[case("/v2/docker.io//manifests/b", BadAsk::Name)]
    #[case("/v2/a/manifests/", BadAsk::Tag)]
    #[case("/v2/a/manifests/.INVALID", BadAsk::Tag)]
    #[case("/v2/a/manifests/b%20c", BadAsk::Tag)]
    #[case("/v2/a/manifests/..", BadAsk::Tag)]
    #[case("/v2/a/manifests/sha256:12", BadAsk::Digest)]
    #[case("/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", BadAsk::Digest)]
    #[case("/v2/a/blobs/sha256:12", BadAsk::Digest)]
    #[case(
        "/v2/a/blobs/sha256%3Aba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        BadAsk::Path
    )]
    #[case("/v2/a/referrers/x", BadAsk::Digest)]
    fn everything_else_is_refused_with_its_reason(#[case] path: &str, #[case] bad: BadAsk) {
        assert_eq!(parse(path, "ns=docker.io"), Err(bad));
    }

    #[test]
    fn names_and_queries_that_are_too_long_are_refused() {
        let name = "a".repeat(256);
        assert_eq!(parse(&format!("/v2/{name}/manifests/b"), ""), Err(BadAsk::Name));
        assert_eq!(parse(&format!("/v2/a/manifests/{name}"), ""), Err(BadAsk::Tag));
        assert_eq!(parse("/v2/a/tags/list", &"n=1&".repeat(300)), Err(BadAsk::Query));
    }

    #[rstest]
    #[case("/v2/library/a/manifests/b", "ns=Docker.IO", Some(Named::Query("docker.io".into())), "library/a")]
    #[case("/v2/docker.io/library/a/manifests/b", "", Some(Named::Prefix("docker.io".into())), "library/a")]
    #[case("/v2/registry.corp:5000/a/manifests/b", "", Some(Named::Prefix("registry.corp:5000".into())), "a")]
    #[case("/v2/docker.io/a/manifests/b", "ns=quay.io", Some(Named::Query("quay.io".into())), "docker.io/a")]
    #[case("/v2/quay.io/a/manifests/b", "", None, "quay.io/a")]
    #[case("/v2/docker.io/manifests/b", "", None, "docker.io")]
    #[case("/v2/a/manifests/b", "ns=", None, "a")]
    #[case("/v2/a/manifests/b", "ns=&ns=quay.io&ns=docker.io", Some(Named::Query("quay.io".into())), "a")]
    fn query_names_the_upstream_before_the_path_does(
        #[case] path: &str,
        #[case] query: &str,
        #[case] upstream: Option<Named>,
        #[case] repository: &str,
    ) {
        let content = content(path, query);
        assert_eq!(content.upstream, upstream);
        assert_eq!(content.repository.as_str(), repository);
    }

    #[test]
    fn the_rest_of_the_query_is_kept_for_lists() {
        let ask = content("/v2/a/tags/list", "n=5&ns=docker.io&last=x%26y");
        assert_eq!(ask.kind, Kind::Tags(Some("n=5&last=x%26y".into())));
    }

    proptest! {
        #[test]
        fn nothing_that_is_understood_leaves_its_place(
            path in "(/v2)?(/[a-z.%:]{0,5}){0,5}/(manifests|blobs|tags)/[a-z:.%]{0,9}",
            query in ".{0,40}",
        ) {
            if let Ok(Ask::Content(content)) = parse(&path, &query) {
                prop_assert!(!content.repository.as_str().contains(".."));
                prop_assert!(!content.repository.as_str().contains('%'));
            }
        }
    }
}
