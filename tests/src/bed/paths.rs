//! Where the test bed keeps its files: one directory outside of cargo's target, so that `cargo clean` costs nothing.

use std::path::{Path, PathBuf};

/// The test bed's directory: `$REGCACHE_TESTBED_DIR`, else `/var/tmp/regcache-testbed`.
pub fn root() -> PathBuf {
    std::env::var_os("REGCACHE_TESTBED_DIR")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("/var/tmp/regcache-testbed"), PathBuf::from)
}

/// The built tools.
pub fn bin() -> PathBuf {
    root().join("bin")
}

/// One built tool: `tool("kubectl")`.
pub fn tool(name: &str) -> PathBuf {
    bin().join(name)
}

/// The image archives that every node has from the start.
pub fn images() -> PathBuf {
    root().join("img")
}

/// The authority that signs the registries' certificates; kept over clusters, since images contain its certificate.
pub fn authority() -> PathBuf {
    root().join("ca")
}

/// Everything of one cluster; removed when it is taken down.
pub fn work(cluster: &str) -> PathBuf {
    root().join("work").join(cluster)
}

/// The lock that whoever starts or stops a cluster of that name holds.
pub fn cluster_lock(cluster: &str) -> PathBuf {
    root().join("locks").join(format!("{cluster}.lock"))
}

/// Where logs of a failed test go.
pub fn dumps() -> PathBuf {
    root().join("dumps")
}

/// Files of one node below its cluster's work directory.
pub fn node(work: &Path, name: &str) -> PathBuf {
    work.join(name)
}
