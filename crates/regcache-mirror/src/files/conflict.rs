//! Why a directory is left to somebody else, in words for the person who runs the node.

use std::path::PathBuf;

/// Something of somebody else's that decides about an upstream on this node. Each message is one sentence with the
/// path on the node and what to do; nothing named here is ever read further, changed or followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Conflict {
    /// A `hosts.toml` without our marker.
    #[error("{} was written by somebody else and is left as it is; remove it to let regcache serve this registry",
        .path.display())]
    ForeignFile {
        /// The file.
        path: PathBuf,
    },
    /// A file beside ours, or instead of ours, that we did not write; also Docker's certificate layout.
    #[error("{} is not regcache's, so its directory is left as it is; move it away to let regcache serve this registry \
        (a certificate for the registry belongs into the node's trust store)", .path.display())]
    ForeignEntry {
        /// The entry.
        path: PathBuf,
    },
    /// A symlink where a directory or file of ours would be.
    #[error("{} is a symbolic link and is not followed; remove it to let regcache serve this registry", .path.display())]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// Something that is neither a directory nor a symlink where our directory would be.
    #[error("{} is not a directory; remove it to let regcache serve this registry", .path.display())]
    NotADirectory {
        /// The entry.
        path: PathBuf,
    },
    /// The other spelling of a host with a port; containerd prefers it.
    #[error("{} decides about this registry (containerd prefers that spelling); remove it to let regcache serve it",
        .path.display())]
    OtherSpelling {
        /// The directory.
        path: PathBuf,
    },
    /// A `_default`, which a directory of ours would mask.
    #[error("{} holds settings for all registries, which a directory of regcache's would switch off for this one; \
        remove it, or move what it says into directories of their own", .path.display())]
    Default {
        /// The directory.
        path: PathBuf,
    },
    /// Spegel's backup: Spegel rewrites the whole root.
    #[error("{} shows that Spegel manages this directory and would rewrite what regcache writes; uninstall Spegel with \
        its clean-up and remove it", .path.display())]
    Spegel {
        /// The backup directory.
        path: PathBuf,
    },
}
