//! What the machine itself must have: installed from Debian's (or Ubuntu's) packages when missing.

use std::path::Path;

use anyhow::{Result, bail};

use crate::bed::shell;

/// A program (by name) or a file (absolute), and the package that brings it.
const NEEDED: [(&str, &str); 11] = [
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("conntrack", "conntrack"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("busybox", "busybox-static"),
    ("gcc", "gcc"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
];

/// Installs what is missing; says what and why when it cannot.
pub fn ensure() -> Result<()> {
    let missing = missing(|what| {
        if what.starts_with('/') {
            Path::new(what).exists()
        } else {
            shell::exists(what)
        }
    });
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !shell::exists("apt-get") {
        bail!("the test bed needs these packages (Debian's names), and this is not Debian: {packages}");
    }
    if !shell::is_root() {
        bail!("the test bed needs these packages; install them as root: apt-get install {packages}");
    }
    println!("installing {packages}");
    // Package mirrors may need the proxy settings, so they are kept here.
    let mut update = std::process::Command::new("apt-get");
    shell::run(update.args(["update", "-qq"]))?;
    let mut install = std::process::Command::new("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"]);
    shell::run(install.args(&missing)).map(drop)
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    NEEDED
        .iter()
        .filter(|(what, _)| !is_there(what))
        .map(|(_, package)| *package)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_asked_for() {
        assert_eq!(
            missing(|what| what != "nft" && what != "/usr/lib/cni/bridge"),
            ["nftables", "containernetworking-plugins"]
        );
    }
}
