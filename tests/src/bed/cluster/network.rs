//! The network: one namespace for the control plane and the internet, one for each node, a bridge between them.

use anyhow::Result;

use crate::bed::{names, shell};

/// Makes the cluster's own namespace with the bridge `rc0` and its addresses.
pub fn create_cluster(cluster: &str) -> Result<()> {
    let netns = names::cluster_netns(cluster);
    shell::ip(&format!("netns add {netns}"))?;
    let ip = |words: &str| shell::ip(&format!("-n {netns} {words}"));
    ip("link set lo up")?;
    ip("link add rc0 type bridge")?;
    ip("link set rc0 up")?;
    for address in [names::CONTROL_PLANE, names::DNS] {
        ip(&format!("address add {address}/24 dev rc0"))?;
    }
    for (_, address) in names::INTERNET {
        ip(&format!("address add {address}/24 dev rc0"))?;
    }
    forward_packets(&netns)
}

/// Makes the namespace of node `index` of `nodes` and wires it to the bridge.
pub fn create_node(cluster: &str, index: usize, nodes: usize) -> Result<()> {
    let (outside, inside) = (names::cluster_netns(cluster), names::node_netns(cluster, index));
    shell::ip(&format!("netns add {inside}"))?;
    shell::ip(&format!(
        "link add vn{index} netns {outside} type veth peer name eth0 netns {inside}"
    ))?;
    shell::ip(&format!("-n {outside} link set vn{index} master rc0 up"))?;
    let address = names::node_address(index);
    shell::ip(&format!(
        "-n {outside} route add {} via {address}",
        names::pod_subnet(index)
    ))?;
    let ip = |words: &str| shell::ip(&format!("-n {inside} {words}"));
    ip("link set lo up")?;
    ip(&format!("address add {address}/24 dev eth0"))?;
    ip("link set eth0 up")?;
    ip(&format!("route add default via {}", names::CONTROL_PLANE))?;
    for other in (1..=nodes).filter(|other| *other != index) {
        ip(&format!(
            "route add {} via {}",
            names::pod_subnet(other),
            names::node_address(other)
        ))?;
    }
    forward_packets(&inside)
}

/// Takes away what pods and kube-proxy left in a node's namespace, as a reboot would.
pub fn reset_node(cluster: &str, index: usize) -> Result<()> {
    let netns = names::node_netns(cluster, index);
    let links = shell::run(shell::plain("ip").args(["-n", &netns, "-o", "link"]))?;
    for link in pod_links(&links) {
        // A veth vanishes by itself when the pod's namespace does.
        let _ = shell::ip(&format!("-n {netns} link del {link}"));
    }
    shell::run(shell::in_netns(&netns, "nft").args(["flush", "ruleset"])).map(drop)
}

/// The CNI plugin's bridge and veths in the output of `ip -o link`.
fn pod_links(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.split(": ").nth(1))
        .map(|name| name.split('@').next().unwrap_or(name))
        .filter(|name| *name == "cni0" || name.starts_with("veth"))
        .collect()
}

fn forward_packets(netns: &str) -> Result<()> {
    shell::run(shell::in_netns(netns, "sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_pods_are_taken_away() {
        let text = "1: lo: <LOOPBACK,UP> mtu 65536\n5: eth0@if6: <BROADCAST> mtu 1500\n\
                    7: cni0: <BROADCAST> mtu 1500\n8: veth12ab@if2: <BROADCAST> mtu 1500\n";
        assert_eq!(pod_links(text), ["cni0", "veth12ab"]);
    }
}
