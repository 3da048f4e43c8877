//! The text of our `hosts.toml`, and telling ours from others'.
//!
//! Written by hand: generic TOML writers sort keys and may choose inline tables, which containerd 2.x drops silently.

use std::fmt;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// How the first line of every `hosts.toml` of ours begins; the format's version and the instance follow.
const MARKER: &str = "# regcache hosts.toml v";
/// The version of the format that we write.
const VERSION: u32 = 1;
/// Hex digits in an instance's name.
const ID_LEN: usize = 16;

/// Names one run of one helper: the first 16 hex digits of the SHA-256 of its loopback CA. A helper makes a new CA
/// at every start, so no two runs share a name, and the CA's file is named alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(String);

impl InstanceId {
    /// The name of the helper whose loopback CA is `ca_pem`.
    #[must_use]
    pub fn of_ca(ca_pem: &[u8]) -> Self {
        let mut digest = hex::encode(Sha256::digest(ca_pem));
        digest.truncate(ID_LEN);
        Self(digest)
    }

    /// Reads a name back; `None` when it is not one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == ID_LEN && text.bytes().all(hex_digit)).then(|| Self(text.to_owned()))
    }

    /// The file beside `hosts.toml` with this instance's CA.
    #[must_use]
    pub fn ca_file(&self) -> String {
        format!("ca-{}.pem", self.0)
    }

    /// The instance whose CA would have this file name.
    #[must_use]
    pub fn of_ca_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix("ca-")?.strip_suffix(".pem")?)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose a `hosts.toml` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It carries our marker; `instance` wrote it.
    Ours {
        /// The helper's run that wrote it.
        instance: InstanceId,
    },
    /// Anything else.
    Foreign,
}

/// Whose the text is: ours is what begins with our marker line, of whatever version, so that an older helper can
/// take away what a newer one wrote.
#[must_use]
pub fn owner(text: &[u8]) -> Owner {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let instance = std::str::from_utf8(first)
        .ok()
        .and_then(|line| line.strip_prefix(MARKER))
        .and_then(|rest| rest.split_once(" instance="))
        .filter(|(version, _)| version.parse::<u32>().is_ok())
        .and_then(|(_, id)| InstanceId::parse(id));
    instance.map_or(Owner::Foreign, |instance| Owner::Ours { instance })
}

/// The file for one upstream: this node's gateway first, the upstream itself after it.
///
/// `server` is the upstream's address as containerd is to use it, `port` the gateway's port on loopback.
#[must_use]
pub fn render(instance: &InstanceId, server: &str, port: u16) -> String {
    let server = quote(server);
    let ca = quote(&instance.ca_file());
    format!(
        "{MARKER}{VERSION} instance={instance}\n\
         # Written by the regcache node helper, which rewrites and removes it. To stop that, annotate the\n\
         # RegistryCache with regcache.dev/stop=true. Without the helper, pulls go to the server below.\n\
         server = {server}\n\
         \n\
         [host.\"https://127.0.0.1:{port}\"]\n  \
           capabilities = [\"pull\", \"resolve\"]\n  \
           ca = {ca}\n  \
           dial_timeout = \"1s\"\n"
    )
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(char);
            }
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn id() -> InstanceId {
        InstanceId::parse("0123456789abcdef").unwrap()
    }

    #[test]
    fn the_whole_file() {
        assert_eq!(
            render(&id(), "https://registry-1.docker.io", 21500),
            r#"# regcache hosts.toml v1 instance=0123456789abcdef
# Written by the regcache node helper, which rewrites and removes it. To stop that, annotate the
# RegistryCache with regcache.dev/stop=true. Without the helper, pulls go to the server below.
server = "https://registry-1.docker.io"

[host."https://127.0.0.1:21500"]
  capabilities = ["pull", "resolve"]
  ca = "ca-0123456789abcdef.pem"
  dial_timeout = "1s"
"#
        );
    }

    proptest! {
        #[test]
        fn any_server_reads_back(server in any::<String>(), port in any::<u16>()) {
            let text = render(&id(), &server, port);
            let table: toml::Table = text.parse().unwrap();
            prop_assert_eq!(table["server"].as_str(), Some(server.as_str()));
            let hosts = table["host"].as_table().unwrap();
            prop_assert_eq!(hosts.len(), 1);
            let host = &hosts[&format!("https://127.0.0.1:{port}")];
            prop_assert_eq!(host["ca"].as_str(), Some("ca-0123456789abcdef.pem"));
            prop_assert_eq!(host["dial_timeout"].as_str(), Some("1s"));
            prop_assert_eq!(host["capabilities"].as_array().unwrap().len(), 2);
            prop_assert_eq!(owner(text.as_bytes()), Owner::Ours { instance: id() });
        }

        #[test]
        fn arbitrary_bytes_are_foreign(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(owner(&bytes), Owner::Foreign);
        }
    }

    #[rstest]
    #[case("")]
    #[case("server = \"https://a\"\n")]
    #[case("\n# regcache hosts.toml v1 instance=0123456789abcdef\n")]
    #[case("# regcache hosts.toml v1\n")]
    #[case("# regcache hosts.toml v1 instance=../../etc/passwd\n")]
    #[case("# regcache hosts.toml vx instance=0123456789abcdef\n")]
    #[case("# about regcache hosts.toml v1 instance=0123456789abcdef\n")]
    fn what_lacks_the_marker_in_its_first_line_is_foreign(#[case] text: &str) {
        assert_eq!(owner(text.as_bytes()), Owner::Foreign);
    }

    #[test]
    fn a_newer_format_is_still_ours() {
        let text = b"# regcache hosts.toml v7 instance=0123456789abcdef\nnew things";
        assert_eq!(owner(text), Owner::Ours { instance: id() });
    }

    #[test]
    fn the_ca_file_names_its_instance() {
        let id = InstanceId::of_ca(b"pem");
        assert_eq!(InstanceId::of_ca_file(&id.ca_file()), Some(id));
        assert_eq!(InstanceId::of_ca_file("ca-corp.pem"), None);
    }
}
