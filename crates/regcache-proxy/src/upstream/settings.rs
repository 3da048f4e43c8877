//! What one upstream is, as configured.

use std::fmt;
use std::sync::Arc;

use url::Url;

/// All there is to know about one upstream. Equal settings make equal clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The registry as image names spell it.
    pub host: Arc<str>,
    /// Where it is: `http` or `https`, a path is kept in front of `/v2/`.
    pub url: Url,
    /// `None`: anonymous.
    pub credentials: Option<Credentials>,
    /// Certificates to trust beside the well-known ones, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Hosts (`host` or `host:port`) outside the upstream's own site that may give out its tokens.
    pub realm_hosts: Vec<String>,
    /// The proxy for everything of this upstream; `None`: what the environment says.
    pub proxy: Option<Url>,
    /// How many blobs may be fetched at once; 0 counts as 1.
    pub max_transfers: usize,
}

/// Who we are to the upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Goes to the upstream and its token server only.
    pub username: String,
    /// Likewise.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

/// No client can be made of the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not an address that a registry can have.
    #[error("the upstream's address has to be http:// or https:// with a host, and no user, query or fragment")]
    Url,
    /// No certificate in what should be some.
    #[error("the CA file of the upstream holds no certificate in PEM")]
    NoCertificate,
    /// A certificate that cannot be read.
    #[error("the CA file of the upstream holds something that is no certificate: {0}")]
    Certificate(String),
    /// Not an address that a proxy can have.
    #[error("the proxy's address is not usable: {0}")]
    Proxy(String),
    /// The client could not be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}
