//! Digests as registries spell them, and checking bytes against them.
//!
//! `sha256` and `sha512` are verified: the two algorithms that the image specification registers and containerd
//! accepts. Any other is no [`Digest`] at all; who meets one does not use a cache for it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// What bytes have to hash to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Digest {
    /// `sha256:…`
    Sha256([u8; 32]),
    /// `sha512:…`
    Sha512([u8; 64]),
}

/// The text is no digest that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sha256 or sha512 digest in lower-case hex")]
pub struct UnknownDigest;

/// Bytes on their way to a verdict.
#[derive(Clone)]
pub enum Hasher {
    /// For [`Digest::Sha256`].
    Sha256(Sha256),
    /// For [`Digest::Sha512`].
    Sha512(Sha512),
}

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::Sha256(Sha256::digest(bytes).into())
    }

    /// Whether `bytes` are what this digest names.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }

    /// A fresh hasher of the same algorithm.
    pub fn hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Sha512(_) => Hasher::Sha512(Sha512::new()),
        }
    }
}

impl Hasher {
    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Digest::Sha512(hasher.finalize().into()),
        }
    }
}

impl FromStr for Digest {
    type Err = UnknownDigest;

    fn from_str(text: &str) -> Result<Self, UnknownDigest> {
        let (algorithm, hash) = text.split_once(':').ok_or(UnknownDigest)?;
        // One spelling for each digest, so that texts may be compared too.
        if hash.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(UnknownDigest);
        }
        let mut short = [0; 32];
        let mut long = [0; 64];
        match algorithm {
            "sha256" => hex::decode_to_slice(hash, &mut short).map(|()| Self::Sha256(short)),
            "sha512" => hex::decode_to_slice(hash, &mut long).map(|()| Self::Sha512(long)),
            _ => return Err(UnknownDigest),
        }
        .map_err(|_| UnknownDigest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => write!(f, "sha256:{}", hex::encode(hash)),
            Self::Sha512(hash) => write!(f, "sha512:{}", hex::encode(hash)),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_read_back_and_tell_bytes_apart() {
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest: Digest = abc.parse().unwrap();
        assert_eq!(digest.to_string(), abc);
        assert!(digest.matches(b"abc") && !digest.matches(b"abd"));
        let long = format!("sha512:{}", hex::encode(Sha512::digest(b"abc")));
        let digest: Digest = long.parse().unwrap();
        assert_eq!(digest.to_string(), long);
        assert!(digest.matches(b"abc") && !digest.matches(b""));
    }

    #[test]
    fn everything_else_is_no_digest() {
        let upper = format!("sha256:{}", "AB".repeat(32));
        let short = format!("sha256:{}", "ab".repeat(31));
        let other = format!("sha384:{}", "ab".repeat(48));
        for text in ["", "sha256", "sha256:", "sha256:zz", "latest", &upper, &short, &other] {
            assert_eq!(text.parse::<Digest>(), Err(UnknownDigest), "{text}");
        }
    }
}
