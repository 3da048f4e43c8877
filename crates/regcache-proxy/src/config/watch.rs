//! Looks whether the configuration, or a file that it names, has changed.
//!
//! By content and by clock: Kubernetes swaps a symlink above the files, editors rename, and a notification of either is
//! lost now and then.

use std::path::PathBuf;
use std::time::Duration;

use super::{Config, LoadError, Loaded, ParseError, load, parse};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A YAML file.
    File(PathBuf),
    /// The flags; the files that they name are looked at all the same.
    Flags(Box<Config>),
}

/// The configuration cannot be read as it is now.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file itself.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What it says.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A file that it names.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Source {
    /// Reads everything as it is now; blocking.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(&self) -> Result<Loaded, SourceError> {
        let config = match self {
            Self::Flags(config) => (**config).clone(),
            Self::File(path) => parse(&std::fs::read_to_string(path).map_err(|source| SourceError::Read {
                path: path.clone(),
                source,
            })?)?,
        };
        Ok(load(config)?)
    }
}

/// Tells changes one at a time.
#[derive(Debug)]
pub struct Watch {
    source: Source,
    every: Duration,
    /// What was told last: the configuration, or the message why there is none.
    told: Result<Loaded, String>,
}

impl Watch {
    /// Begins with `now`, and looks as often as `every` says.
    pub fn new(source: Source, now: Loaded, every: Duration) -> Self {
        let told = Ok(now);
        Self { source, every, told }
    }

    /// Waits for the next change: another configuration, or the message why what is there now cannot be read. The same
    /// message is told once.
    pub async fn changed(&mut self) -> Result<Loaded, String> {
        loop {
            tokio::time::sleep(self.every).await;
            let source = self.source.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || source.read()).await else {
                continue;
            };
            let now = read.map_err(|error| chain(&error));
            if now != self.told {
                self.told.clone_from(&now);
                return now;
            }
        }
    }
}

/// The error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
