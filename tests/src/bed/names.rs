//! Addresses, and the names of a cluster's network namespaces.
//!
//! The latter start with [`PREFIX`] and the cluster's name; the separator is a dot, which no cluster's name contains,
//! so that the things of cluster `a` and those of a cluster `a-n1` cannot be mistaken for each other.

use anyhow::{Result, bail};

/// What the names of all network namespaces of the test bed begin with.
pub const PREFIX: &str = "rcb.";
/// The control plane's address.
pub const CONTROL_PLANE: &str = "10.77.0.1";
/// The DNS server's address.
pub const DNS: &str = "10.77.0.53";
/// Host names of the internet and their addresses; nodes resolve them by their hosts file, pods by DNS.
///
/// The first [`STARTED`] run from the start, the others when a test starts them.
pub const INTERNET: [(&str, &str); 4] = [
    ("images.test", "10.77.0.200"),
    ("other.test", "10.77.0.201"),
    ("faulty.test", "10.77.0.202"),
    ("registry-1.docker.io", "10.77.0.203"),
];
/// How many of [`INTERNET`] every cluster starts with.
pub const STARTED: usize = 2;

/// Refuses names that do not fit into the name of a network namespace or a directory.
pub fn check_cluster(name: &str) -> Result<()> {
    let fits = (1..=30).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fits {
        bail!("cluster name {name:?} must be 1 to 30 lower-case letters, digits and dashes, a letter first");
    }
    Ok(())
}

/// The network namespace of the cluster's control plane and internet.
pub fn cluster_netns(cluster: &str) -> String {
    format!("{PREFIX}{cluster}")
}

/// The network namespace of node `index` (1, 2, …).
pub fn node_netns(cluster: &str, index: usize) -> String {
    format!("{PREFIX}{cluster}.n{index}")
}

/// Whether a network namespace of that name belongs to the cluster.
pub fn belongs_to(cluster: &str, name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_prefix(cluster))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The address of node `index`.
pub fn node_address(index: usize) -> String {
    format!("10.77.0.{}", 10 + index)
}

/// The pod network of node `index`.
pub fn pod_subnet(index: usize) -> String {
    format!("10.77.{}.0/24", 10 + index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_of_a_cluster_with_a_longer_name_do_not_belong() {
        assert!(belongs_to("a", &cluster_netns("a")));
        assert!(belongs_to("a", &node_netns("a", 3)));
        for other in ["a-n1", "ab", "b"] {
            assert!(!belongs_to("a", &cluster_netns(other)), "{other}");
            assert!(!belongs_to("a", &node_netns(other, 1)), "{other}");
        }
    }

    #[test]
    fn names_with_dots_slashes_or_capitals_are_refused() {
        for bad in ["", "a.b", "a/b", "../x", "A", "1a", &"x".repeat(31)] {
            assert!(check_cluster(bad).is_err(), "{bad}");
        }
        assert!(check_cluster("two-regions-2").is_ok());
    }
}
