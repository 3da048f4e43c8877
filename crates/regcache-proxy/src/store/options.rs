//! Where the store lies and how large it may become.

use std::path::PathBuf;
use std::time::Duration;

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything lies below it; made when absent.
    pub directory: PathBuf,
    /// The budget in bytes, never more than 90 % of the file system. `None`: 90 % of the file system, and 15 % of it
    /// stay free when others write there too.
    pub max_bytes: Option<u64>,
    /// How often what has changed is written to the index (a crash forgets so much), and how often a store that cannot
    /// be used looks whether it can be again.
    pub every: Duration,
}

impl Options {
    /// A store in `directory`, as large as its file system allows.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: None,
            every: Duration::from_secs(2),
        }
    }
}
