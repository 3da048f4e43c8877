//! What the proxy is told to do: a YAML file or the flags, checked into one [`Config`].
//!
//! `raw` (the file as it is written) -> `values` (each text into its type) -> [`Config`] -> `load` (the files that it
//! names) -> `watch` (again whenever one of them changes).

mod load;
mod raw;
#[cfg(test)]
mod tests;
mod tls;
mod values;
mod watch;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use regcache_runtime::telemetry::LogFormat;
use url::Url;

use crate::registry::RepositoryLists;
use crate::tags::TagPolicy;

pub use load::{LoadError, Loaded, LoadedUpstream, Login, PemFiles, load};
pub use tls::{TlsError, server_config};
pub use values::{duration, size, upstream_flag};
pub(crate) use watch::chain;
pub use watch::{Source, SourceError, Watch};

/// Tags, unless told otherwise: upstream is asked every time, and a week is bridged when it cannot be.
pub const TAGS: TagPolicy = TagPolicy {
    max_age: Duration::ZERO,
    stale_for: Duration::from_secs(168 * 3600),
};
/// Transfers from one upstream at a time, unless told otherwise.
pub const MAX_TRANSFERS: usize = 16;

/// All that can be configured. Files are named here and not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where images are served.
    pub listen: SocketAddr,
    /// Where health, metrics and the node table are served; `None`: nowhere.
    pub admin: Option<SocketAddr>,
    /// What is kept, and where.
    pub store: StoreConfig,
    /// `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The closed list of registries that may be asked.
    pub upstreams: Vec<UpstreamConfig>,
    /// How log lines look; taken up at the start only.
    pub log_format: LogFormat,
}

/// What is kept, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The directory; it cannot change while the program runs.
    pub directory: PathBuf,
    /// Bytes at most; `None`: what the file system allows.
    pub max_bytes: Option<u64>,
}

/// The server's certificate, and who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, the leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM; when set, every client needs a certificate of one of these.
    pub client_ca: Option<PathBuf>,
}

/// One registry.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// As image names spell it.
    pub host: String,
    /// Where it is.
    pub url: Url,
    /// `None`: anonymous.
    pub credentials: Option<CredentialFiles>,
    /// PEM of further certificate authorities.
    pub ca: Option<PathBuf>,
    /// Token servers outside the upstream's own site.
    pub realm_hosts: Vec<String>,
    /// The proxy on the way there; `None`: as the environment says.
    pub proxy_url: Option<Url>,
    /// For how long its tags are good.
    pub tags: TagPolicy,
    /// Which of its repositories are served.
    pub repositories: RepositoryLists,
    /// Transfers at a time.
    pub max_transfers: usize,
}

/// Where user name and password are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialFiles {
    /// One file each, a line feed at the end does not count.
    Pair {
        /// The user name's file.
        username: PathBuf,
        /// The password's file.
        password: PathBuf,
    },
    /// `auths` of a `config.json` as `docker login` and Kubernetes' `dockerconfigjson` secrets write it.
    DockerConfig(PathBuf),
}

/// The configuration cannot be used; nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not YAML, or of another shape.
    #[error("the configuration cannot be read")]
    Shape(#[source] serde_yaml::Error),
    /// A value that cannot be.
    #[error("{field}: {problem}")]
    Field {
        /// The field's path: `upstreams[1].url`.
        field: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
}

/// Reads a configuration file's text. Pure: files that it names are not looked at.
///
/// # Errors
/// Names the first field that cannot be used and what to write instead.
pub fn parse(text: &str) -> Result<Config, ParseError> {
    let raw: raw::Raw = serde_yaml::from_str(text).map_err(ParseError::Shape)?;
    raw.check()
}

impl UpstreamConfig {
    /// A registry by name and address, everything else as it is by default.
    pub fn new(host: String, url: Url) -> Self {
        Self {
            host,
            url,
            credentials: None,
            ca: None,
            realm_hosts: Vec::new(),
            proxy_url: None,
            tags: TAGS,
            repositories: RepositoryLists::default(),
            max_transfers: MAX_TRANSFERS,
        }
    }
}

impl fmt::Debug for UpstreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may carry a password.
        f.debug_struct("UpstreamConfig")
            .field("host", &self.host)
            .field("url", &self.url.as_str())
            .field("credentials", &self.credentials)
            .field(
                "proxy_url",
                &self.proxy_url.as_ref().map(|url| url.host_str().unwrap_or_default()),
            )
            .finish_non_exhaustive()
    }
}
