//! Names of the children: readable, unique and never longer than Kubernetes allows.

use sha2::{Digest, Sha256};

/// Longest name: a Service's, and a label value's.
const MAX: usize = 63;
/// Hex digits of the hash that keeps names unique after shortening.
const HASH: usize = 8;

/// The name of the Deployment, Service, ConfigMap and PersistentVolumeClaim of a cache of one upstream.
pub fn site(registry_cache: &str, region: &str, upstream: &str) -> String {
    hashed(&["rc", upstream, region], &[registry_cache, region, upstream])
}

/// The same of a cache of all upstreams: never the name of one of the caches of its upstreams, which it may replace.
pub fn shared_site(registry_cache: &str, region: &str) -> String {
    hashed(&["rc", registry_cache, region], &[registry_cache, region])
}

/// The name of the DaemonSet and plan of the helpers of one place.
pub fn place(region: &str, zone: Option<&str>) -> String {
    match zone {
        Some(zone) => hashed(&["node", zone], &[region, zone]),
        None => hashed(&["node", region], &[region]),
    }
}

/// An upstream as a label value.
pub fn upstream_label(host: &str) -> String {
    hashed(&[host], &[host])
}

/// A readable part and a hash of what makes it unique: a DNS label that starts with a letter or digit.
fn hashed(readable: &[&str], unique: &[&str]) -> String {
    let mut text: String = readable
        .join("-")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(MAX - HASH - 1)
        .collect();
    text.truncate(text.trim_end_matches('-').len());
    // Lengths are part of what is hashed: ("a", "bc") and ("ab", "c") must not meet.
    let mut hasher = Sha256::new();
    for part in unique {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part);
    }
    let mut hash = hex::encode(hasher.finalize());
    hash.truncate(HASH);
    format!("{text}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_and_differ() {
        let long = "x".repeat(63);
        let host = format!("{}.example.com:5000", "sub.".repeat(40));
        let names = [
            site("a", "eu-west-1", "docker.io"),
            site("b", "eu-west-1", "docker.io"),
            site("a", "eu-west-1", "docker-io"),
            site(&long, &long, &host),
            site("a", "EU_west.1", "docker.io"),
            shared_site("a", "eu-west-1"),
            shared_site("docker.io", "eu-west-1"),
            shared_site("b", "eu-west-1"),
            shared_site(&long, &long),
            place("eu", None),
            place("eu", Some("eu-a")),
            place("e", Some("u-eu-a")),
            upstream_label("registry.corp:5000"),
        ];
        for name in &names {
            assert!(name.len() <= 63, "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{name}"
            );
        }
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        assert!(names[0].starts_with("rc-docker-io-eu-west-1-"), "{}", names[0]);
        assert!(names[5].starts_with("rc-a-eu-west-1-"), "{}", names[5]);
    }
}
