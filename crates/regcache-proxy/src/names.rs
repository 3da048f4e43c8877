//! Names as the distribution specification spells them, checked once: repositories, tags, references.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regcache_transfer::Digest;

/// The longest repository name, bytes: with host and tag it still fits what clients accept.
const LONGEST_REPOSITORY: usize = 255;
/// The longest tag, bytes.
const LONGEST_TAG: usize = 128;

/// The name is not one that a registry can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not lower-case components with single separators.
    #[error("not a repository name: lower-case letters and digits, parts separated by `/`, at most 255 bytes")]
    Repository,
    /// Not a tag.
    #[error("not a tag: letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`, at most 128 bytes")]
    Tag,
    /// Something with a colon that is no digest that can be verified.
    #[error("not a sha256 or sha512 digest in lower-case hex")]
    Digest,
}

/// A repository's name: `library/nginx`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(Arc<str>);

/// A tag: `1.27-alpine`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that upstream may move.
    Tag(Tag),
    /// One certain content.
    Digest(Digest),
}

impl Repository {
    /// The name as it was spelt.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag as it was spelt.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Repository {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let fits = text.len() <= LONGEST_REPOSITORY && text.split('/').all(is_component);
        fits.then(|| Self(text.into())).ok_or(BadName::Repository)
    }
}

impl FromStr for Tag {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let mut bytes = text.bytes();
        let fits = text.len() <= LONGEST_TAG
            && bytes.next().is_some_and(word)
            && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
        fits.then(|| Self(text.into())).ok_or(BadName::Tag)
    }
}

impl FromStr for Reference {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.contains(':') {
            text.parse().map(Self::Digest).map_err(|_| BadName::Digest)
        } else {
            text.parse().map(Self::Tag)
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the specification's words.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(alphanumeric);
    ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text
            .split(|found: char| found.is_ascii_lowercase() || found.is_ascii_digit())
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("library/nginx", true)]
    #[case("a", true)]
    #[case("a/b-c/d_e/f__g/h.i/j---k/0", true)]
    #[case("", false)]
    #[case("/a", false)]
    #[case("a/", false)]
    #[case("a//b", false)]
    #[case("../a", false)]
    #[case("a/..", false)]
    #[case("A", false)]
    #[case("a___b", false)]
    #[case("a._b", false)]
    #[case("a-", false)]
    #[case("a%2fb", false)]
    #[case("ä", false)]
    fn repositories_are_those_of_the_specification(#[case] text: &str, #[case] fits: bool) {
        assert_eq!(text.parse::<Repository>().is_ok(), fits);
    }

    #[rstest]
    #[case("latest", true)]
    #[case("_a", true)]
    #[case("V1.2-x_y", true)]
    #[case("", false)]
    #[case(".a", false)]
    #[case("-a", false)]
    #[case("a/b", false)]
    #[case("a b", false)]
    fn tags_are_those_of_the_specification(#[case] text: &str, #[case] fits: bool) {
        assert_eq!(text.parse::<Tag>().is_ok(), fits);
    }

    #[test]
    fn over_long_names_are_refused() {
        assert!("a".repeat(255).parse::<Repository>().is_ok());
        assert!("a".repeat(256).parse::<Repository>().is_err());
        assert!("a".repeat(128).parse::<Tag>().is_ok());
        assert!("a".repeat(129).parse::<Tag>().is_err());
    }

    #[test]
    fn a_reference_with_a_colon_is_a_digest_or_nothing() {
        let digest = Digest::sha256(b"x").to_string();
        assert!(matches!(digest.parse(), Ok(Reference::Digest(_))));
        assert_eq!("sha256:12".parse::<Reference>(), Err(BadName::Digest));
        assert!(matches!("sha256-12.sig".parse(), Ok(Reference::Tag(_))));
    }
}
