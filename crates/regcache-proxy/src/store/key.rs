//! A digest as the store's maps hold it: 40 bytes instead of 65, for there may be a hundred thousand.

use regcache_transfer::Digest;

/// A digest, small for the common algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Sha256([u8; 32]),
    Sha512(Box<[u8; 64]>),
}

impl Key {
    /// The algorithm as registries spell it.
    pub(super) const fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// The hash: its length tells the algorithm.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(hash) => hash,
            Self::Sha512(hash) => hash.as_slice(),
        }
    }

    /// Reads [`Self::bytes`] back.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Ok(hash) = <[u8; 32]>::try_from(bytes) {
            return Some(Self::Sha256(hash));
        }
        <[u8; 64]>::try_from(bytes)
            .ok()
            .map(|hash| Self::Sha512(Box::new(hash)))
    }

    /// Reads the algorithm and the hash in hex, as file names have them.
    pub(super) fn from_hex(algorithm: &str, hash: &str) -> Option<Self> {
        format!("{algorithm}:{hash}").parse::<Digest>().ok().map(Self::from)
    }

    /// The digest it stands for.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(*hash),
            Self::Sha512(hash) => Digest::Sha512(**hash),
        }
    }
}

impl From<Digest> for Key {
    fn from(digest: Digest) -> Self {
        match digest {
            Digest::Sha256(hash) => Self::Sha256(hash),
            Digest::Sha512(hash) => Self::Sha512(Box::new(hash)),
        }
    }
}

impl From<&Digest> for Key {
    fn from(digest: &Digest) -> Self {
        Self::from(*digest)
    }
}
