//! Lists that are relayed and not kept: tags, referrers.

use bytes::Bytes;
use regcache_transfer::Digest;

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The repository's tags.
    Tags,
    /// What refers to this manifest.
    Referrers(Digest),
}

/// A list as upstream gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// As upstream said.
    pub content_type: Option<String>,
    /// Where the list goes on, as upstream said: relative to the upstream, not to us.
    pub link: Option<String>,
    /// The filters that upstream has applied to referrers.
    pub filters_applied: Option<String>,
    /// All of it.
    pub bytes: Bytes,
}
