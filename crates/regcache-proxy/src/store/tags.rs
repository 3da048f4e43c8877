//! How facts about repositories are named and written: which digests they hold, and what their tags are.

use std::sync::Arc;

use regcache_transfer::Digest;
use serde::{Deserialize, Serialize};

use super::TagFact;
use super::facts::Name;
use super::index::{self, Table};
use super::key::Key;
use crate::names::{Repository, Tag};

/// A tag is remembered for so many values of `Accept`: clients have a handful, who makes them up gains nothing.
const VARIANTS: usize = 8;

/// The name of a repository's having a digest.
pub(super) fn holds_name(upstream: &str, repository: &Repository, key: &Key) -> Name {
    let mut name = format!("{upstream}\0{repository}\0").into_bytes();
    name.extend(key.bytes());
    (Table::Holds, name.into())
}

/// The name of a tag.
pub(super) fn tag_name(upstream: &str, repository: &Repository, tag: &Tag) -> Name {
    let name = format!("{upstream}\0{repository}\0{tag}");
    (Table::Tags, name.into_bytes().into())
}

/// A fact that is nothing but its time (unix milliseconds).
pub(super) fn bare(now: u64) -> Arc<[u8]> {
    now.to_le_bytes().into()
}

#[derive(Serialize, Deserialize)]
struct Variant {
    /// A digest of it: a client may send kilobytes.
    accept: String,
    digest: String,
    media_type: Option<String>,
    size: Option<u64>,
    /// In full precision, as text.
    checked_at: String,
}

/// The fact for one `Accept`.
pub(super) fn find(value: &[u8], accept: &str) -> Option<TagFact> {
    let accept = Digest::sha256(accept.as_bytes()).to_string();
    let found = variants(value).into_iter().find(|variant| variant.accept == accept)?;
    Some(TagFact {
        digest: found.digest.parse().ok()?,
        media_type: found.media_type,
        size: found.size,
        checked_at: found.checked_at.parse().ok()?,
    })
}

/// The tag's value with a new fact for one `Accept`. `None` when it cannot be written.
pub(super) fn with(value: &[u8], accept: &str, fact: TagFact) -> Option<Arc<[u8]>> {
    let accept = Digest::sha256(accept.as_bytes()).to_string();
    let checked_at = fact.checked_at.as_millisecond();
    let mut variants = variants(value);
    variants.retain(|variant| variant.accept != accept);
    variants.push(Variant {
        accept,
        digest: fact.digest.to_string(),
        media_type: fact.media_type,
        size: fact.size,
        checked_at: fact.checked_at.to_string(),
    });
    let surplus = variants.len().saturating_sub(VARIANTS);
    variants.drain(..surplus);
    write(u64::try_from(checked_at).unwrap_or_default(), &variants)
}

/// The tag's value without the fact for one `Accept`. `None` when nothing is left.
pub(super) fn without(value: &[u8], accept: &str) -> Option<Arc<[u8]>> {
    let accept = Digest::sha256(accept.as_bytes()).to_string();
    let mut variants = variants(value);
    variants.retain(|variant| variant.accept != accept);
    if variants.is_empty() {
        return None;
    }
    write(index::time(value), &variants)
}

fn write(time: u64, variants: &[Variant]) -> Option<Arc<[u8]>> {
    let mut written = time.to_le_bytes().to_vec();
    serde_json::to_writer(&mut written, variants).ok()?;
    Some(written.into())
}

fn variants(value: &[u8]) -> Vec<Variant> {
    let written = value.split_first_chunk::<8>().map_or(&[][..], |(_, written)| written);
    serde_json::from_slice(written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn fact(text: &str) -> TagFact {
        TagFact {
            digest: Digest::sha256(text.as_bytes()),
            media_type: Some(text.to_owned()),
            size: None,
            checked_at: Timestamp::now(),
        }
    }

    #[test]
    fn each_accept_has_its_own_fact_and_the_oldest_of_many_goes() {
        let mut value = with(b"", "first", fact("a")).unwrap();
        value = with(&value, "second", fact("b")).unwrap();
        let replaced = fact("c");
        value = with(&value, "first", replaced.clone()).unwrap();
        assert_eq!(find(&value, "first"), Some(replaced.clone()));
        assert_eq!(find(&value, "second").unwrap().digest, fact("b").digest);
        for at in 0..VARIANTS - 1 {
            value = with(&value, &at.to_string(), fact("x")).unwrap();
        }
        assert_eq!((find(&value, "second"), find(&value, "first")), (None, Some(replaced)));
    }

    #[test]
    fn what_is_no_tag_is_no_fact() {
        for value in [&b""[..], b"1234567", b"12345678", b"12345678{"] {
            assert_eq!(find(value, "any"), None);
            assert!(with(value, "any", fact("a")).is_some());
        }
    }
}
