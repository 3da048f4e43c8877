//! From a registry host to the name of its directory in `certs.d`.
//!
//! containerd looks for `host_port_`, then `host:port`, then `_default`, and takes the first that exists. We write
//! `host:port`, the one that loses: whoever adds the other spelling later is obeyed at once.

use std::fmt;

/// The longest name that a directory may have, and far longer than a DNS name with a port.
const MAX_LEN: usize = 255;

/// Why a host has no directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host:?} is not a registry host; write it as in image names, such as docker.io or registry.corp:5000")]
pub struct BadHost {
    /// The host as it was given.
    pub host: String,
}

/// The name of a directory directly below the root: not empty, without a slash, not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostDir(String);

impl HostDir {
    /// The directory that we write for `host`.
    pub fn of(host: &str) -> Result<Self, BadHost> {
        if host.len() <= MAX_LEN && is_host(host) {
            Ok(Self(host.to_owned()))
        } else {
            Err(BadHost { host: host.to_owned() })
        }
    }

    /// A directory found in the root, whatever it is called.
    pub(crate) fn found(name: &str) -> Option<Self> {
        let inside = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        inside.then(|| Self(name.to_owned()))
    }

    /// The name, relative to the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The other spelling of a host with a port, `host_port_`: containerd prefers it, so whatever has it is
    /// somebody else's and wins.
    pub fn other_spelling(&self) -> Option<String> {
        let (name, port) = self.0.rsplit_once(':')?;
        let is_port = !name.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        is_port.then(|| format!("{name}_{port}_"))
    }
}

impl fmt::Display for HostDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `name`, `name:port`, `[v6]` or `[v6]:port`, and nothing that means something to a file system.
fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port_fits;
    }
    match host.split_once(':') {
        Some((name, port)) => is_name(name) && is_port(port),
        None => is_name(host),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|number| number > 0)
}

fn is_name(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("docker.io", None)]
    #[case("localhost", None)]
    #[case("registry.corp:5000", Some("registry.corp_5000_"))]
    #[case("10.0.0.1:443", Some("10.0.0.1_443_"))]
    #[case("[fd00::1]:5000", Some("[fd00::1]_5000_"))]
    fn hosts_are_written_literally(#[case] host: &str, #[case] other: Option<&str>) {
        let dir = HostDir::of(host).unwrap();
        assert_eq!(dir.as_str(), host);
        assert_eq!(dir.other_spelling().as_deref(), other);
    }

    #[rstest]
    #[case("")]
    #[case(".")]
    #[case("..")]
    #[case("../x")]
    #[case("a/b")]
    #[case("https://a")]
    #[case("a:")]
    #[case("a:0")]
    #[case("a:70000")]
    #[case("a:+1")]
    #[case(":5000")]
    #[case("_default")]
    #[case("_backup")]
    #[case("a_5000_")]
    #[case(".hidden")]
    #[case("a..b")]
    #[case("-a")]
    #[case("a b")]
    #[case("a\0b")]
    #[case("[..]")]
    #[case("[::1")]
    fn everything_else_is_refused(#[case] host: &str) {
        assert_eq!(HostDir::of(host), Err(BadHost { host: host.into() }));
    }

    proptest! {
        #[test]
        fn no_text_leads_out_of_the_root(host in ".{0,40}|[a-z./:_\\[\\]-]{0,12}") {
            if let Ok(dir) = HostDir::of(&host) {
                let path = std::path::Path::new(dir.as_str());
                let parts: Vec<_> = path.components().collect();
                prop_assert_eq!(parts.len(), 1);
                prop_assert!(matches!(parts[0], std::path::Component::Normal(name) if name == dir.as_str()));
                prop_assert!(!dir.as_str().starts_with(['.', '_']));
            }
        }
    }
}
