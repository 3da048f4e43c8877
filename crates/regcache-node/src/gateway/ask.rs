//! What a request wants, from its path and query. Pure.

use regcache_transfer::{Digest, Span};

use super::LIVE_PATH;

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Whether the gateway is alive.
    Live,
    /// Whether this is a registry.
    Base,
    /// Something that a cache has.
    Content(Content),
}

/// Something that a cache has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The registry's name, as `?ns=` says it.
    pub(super) upstream: String,
    pub(super) kind: Kind,
    /// The path as it came, `/v2/…`: checked, nothing in it needs escaping.
    pub(super) path: String,
    /// The query without `ns`.
    pub(super) query: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A manifest, with its digest unless it is asked for by tag.
    Manifest(Option<Digest>),
    Blob(Digest),
    /// A list of tags or of referrers: nothing to verify.
    List,
}

/// Why a request cannot be served, as the registry error to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAsk {
    #[error("no such path")]
    Path,
    #[error("the query does not name a registry (ns)")]
    NoUpstream,
    #[error("not a digest that can be verified")]
    Digest,
}

impl Ask {
    pub(super) fn parse(path: &str, query: &str) -> Result<Self, BadAsk> {
        if path == LIVE_PATH {
            return Ok(Self::Live);
        }
        if matches!(path, "/v2" | "/v2/") {
            return Ok(Self::Base);
        }
        let kind = kind(path.strip_prefix("/v2/").ok_or(BadAsk::Path)?)?;
        let mut upstream = None;
        let mut rest = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if key == "ns" {
                upstream.get_or_insert(value.into_owned());
            } else {
                rest.push((key.into_owned(), value.into_owned()));
            }
        }
        let upstream = upstream.filter(|ns| !ns.is_empty()).ok_or(BadAsk::NoUpstream)?;
        Ok(Self::Content(Content {
            upstream,
            kind,
            path: path.to_owned(),
            query: rest,
        }))
    }
}

impl Content {
    /// The digest that names the content itself.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self.kind {
            Kind::Manifest(digest) => digest,
            Kind::Blob(digest) => Some(digest),
            Kind::List => None,
        }
    }

    /// The tag or digest at the path's end, for logs.
    pub(super) fn reference(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

fn kind(rest: &str) -> Result<Kind, BadAsk> {
    // The end decides: a repository may well be called `blobs/manifests`.
    let (before, last) = rest.rsplit_once('/').ok_or(BadAsk::Path)?;
    let (name, noun) = before.rsplit_once('/').ok_or(BadAsk::Path)?;
    if !is_name(name) {
        return Err(BadAsk::Path);
    }
    match noun {
        "manifests" if last.contains(':') => Ok(Kind::Manifest(Some(last.parse().map_err(|_| BadAsk::Digest)?))),
        "manifests" if is_tag(last) => Ok(Kind::Manifest(None)),
        "blobs" => Ok(Kind::Blob(last.parse().map_err(|_| BadAsk::Digest)?)),
        "tags" if last == "list" => Ok(Kind::List),
        "referrers" if last.parse::<Digest>().is_ok() => Ok(Kind::List),
        _ => Err(BadAsk::Path),
    }
}

/// Only the characters of a repository's name, and no way up: the path is sent on as it is.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
            && part.bytes().any(|byte| byte != b'.')
    };
    name.split('/').all(part)
}

fn is_tag(tag: &str) -> bool {
    is_name(tag) && tag.len() <= 128
}

/// The one range that a `Range` header asks for. Anything else (several ranges, the last N bytes, other units) is
/// ignored, as a server may, and answered whole.
pub(super) fn range(header: &str) -> Option<Span> {
    let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
    let start = first.parse().ok()?;
    let end = match last {
        "" => None,
        last => Some(last.parse::<u64>().ok()?.checked_add(1)?),
    };
    end.is_none_or(|end| end > start).then_some(Span { start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn kind_of(path: &str) -> Result<Kind, BadAsk> {
        match Ask::parse(path, "ns=docker.io")? {
            Ask::Content(content) => Ok(content.kind),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_of_a_registry_are_told_apart_by_their_end() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        assert_eq!(kind_of("/v2/library/alpine/manifests/3.20"), Ok(Kind::Manifest(None)));
        assert_eq!(
            kind_of(&format!("/v2/a/manifests/sha256:{HEX}")),
            Ok(Kind::Manifest(Some(digest)))
        );
        assert_eq!(
            kind_of(&format!("/v2/blobs/manifests/blobs/{digest}")),
            Ok(Kind::Blob(digest))
        );
        assert_eq!(kind_of("/v2/a/b/tags/list"), Ok(Kind::List));
        assert_eq!(kind_of(&format!("/v2/a/referrers/{digest}")), Ok(Kind::List));
        assert_eq!(Ask::parse("/v2/", ""), Ok(Ask::Base));
        assert_eq!(Ask::parse(LIVE_PATH, ""), Ok(Ask::Live));
    }

    #[test]
    fn everything_else_is_no_path() {
        for path in [
            "/",
            "/v1/a/manifests/b",
            "/v2/manifests/b",
            "/v2//manifests/b",
            "/v2/a/../manifests/b",
            "/v2/a%2fb/manifests/b",
            "/v2/a/manifests/",
            "/v2/a/tags/other",
            "/v2/a/blobs/uploads/",
            "/v2/_catalog",
            "/v2/a/referrers/x",
        ] {
            assert!(kind_of(path).is_err(), "{path}");
        }
        assert_eq!(kind_of("/v2/a/blobs/sha256:12"), Err(BadAsk::Digest));
        assert_eq!(kind_of(&format!("/v2/a/manifests/md5:{HEX}")), Err(BadAsk::Digest));
    }

    #[test]
    fn upstream_is_taken_out_of_the_query_and_the_rest_kept() {
        let ask = Ask::parse("/v2/a/tags/list", "n=5&ns=registry.corp%3A5000&last=x%26y");
        let Ok(Ask::Content(content)) = ask else {
            panic!("{ask:?}")
        };
        assert_eq!(content.upstream, "registry.corp:5000");
        assert_eq!(content.query, [("n".into(), "5".into()), ("last".into(), "x&y".into())]);
        assert_eq!(Ask::parse("/v2/a/tags/list", "n=5"), Err(BadAsk::NoUpstream));
        assert_eq!(Ask::parse("/v2/a/tags/list", "ns="), Err(BadAsk::NoUpstream));
    }

    #[test]
    fn one_plain_range_is_honoured_and_others_ignored() {
        let span = |start, end| Some(Span { start, end });
        assert_eq!(range("bytes=0-"), span(0, None));
        assert_eq!(range("bytes=5-9"), span(5, Some(10)));
        assert_eq!(range("bytes=5-5"), span(5, Some(6)));
        for odd in [
            "bytes=-5",
            "bytes=9-5",
            "bytes=1-2,4-5",
            "items=1-2",
            "bytes=",
            "bytes=0-18446744073709551615",
        ] {
            assert_eq!(range(odd), None, "{odd}");
        }
    }
}
