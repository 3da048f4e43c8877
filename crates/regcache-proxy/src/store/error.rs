//! Why something is not stored.

use std::io;

/// The bytes are not kept. Serving goes on without: nothing here is the client's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotStored {
    /// Larger than the whole budget.
    #[error("larger than the whole store")]
    TooLarge,
    /// What would have to go to make room is being read, filled, or pinned.
    #[error("no room: everything else is in use")]
    Full,
    /// Another [`Partial`](super::Partial) of this digest is alive.
    #[error("already being filled")]
    Busy,
    /// The file system has no room.
    #[error("no space left on the disk")]
    NoSpace,
    /// The file system cannot be written to.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk failed.
    #[error("the disk fails")]
    Disk,
    /// The store cannot be used at all at the moment; [`Store::trouble`](super::Store::trouble) says why.
    #[error("the store cannot be used at the moment")]
    Unusable,
    /// More bytes than were announced, fewer at the commit, or a manifest over 4 MiB.
    #[error("not as long as announced")]
    Length,
}

impl NotStored {
    /// What a failed system call means for whoever wanted to store.
    pub(super) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Disk,
        }
    }

    /// The label of metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::NoSpace => "no_space",
            Self::ReadOnly => "read_only",
            Self::Disk => "disk",
            Self::Unusable => "unusable",
            Self::Length => "length",
        }
    }
}
