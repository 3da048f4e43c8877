//! What a test asks for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Its name: lower-case letters, digits and dashes. A cluster of that name left by a crashed run is removed.
    pub name: String,
    /// Its nodes: n1, n2, …
    pub nodes: Vec<NodeSpec>,
    /// Image archives loaded into every node at its first start, besides pause, busybox and registry.
    pub images: Vec<PathBuf>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its region label; none: no such label.
    pub region: Option<String>,
    /// Its zone label; none: no such label.
    pub zone: Option<String>,
    /// containerd's `config_path`; none: the setting is absent.
    pub config_path: Option<String>,
    /// Whether `/etc/containerd/certs.d` exists when the node starts.
    pub certs_dir: bool,
    /// containerd's `use_local_image_pull`: pulls by the CRI plugin instead of the transfer service.
    pub local_pull: bool,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            region: None,
            zone: None,
            config_path: Some("/etc/containerd/certs.d".to_owned()),
            certs_dir: true,
            local_pull: false,
        }
    }
}

impl NodeSpec {
    /// An ordinary node at a place.
    pub fn at(region: &str, zone: &str) -> Self {
        Self {
            region: Some(region.to_owned()),
            zone: Some(zone.to_owned()),
            ..Self::default()
        }
    }

    /// The node's labels as kubelet takes them.
    pub fn labels(&self) -> String {
        let region = self
            .region
            .iter()
            .map(|value| format!("topology.kubernetes.io/region={value}"));
        let zone = self
            .zone
            .iter()
            .map(|value| format!("topology.kubernetes.io/zone={value}"));
        region.chain(zone).collect::<Vec<_>>().join(",")
    }
}

impl ClusterSpec {
    /// `nodes` ordinary nodes, dealt to the regions in turn: n1 in region-1, n2 in region-2, n3 in region-1, …; each in
    /// its own zone.
    pub fn regions(name: &str, nodes: usize, regions: usize) -> Self {
        let place = |index: usize| format!("region-{}", (index - 1) % regions.max(1) + 1);
        let nodes = (1..=nodes)
            .map(|index| NodeSpec::at(&place(index), &format!("zone-{index}")))
            .collect();
        Self {
            name: name.to_owned(),
            nodes,
            images: Vec::new(),
        }
    }

    /// The same with one more image archive.
    #[must_use]
    pub fn with_image(mut self, archive: impl Into<PathBuf>) -> Self {
        self.images.push(archive.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_nodes_in_two_regions_are_dealt_in_turn() {
        let spec = ClusterSpec::regions("x", 4, 2);
        let labels: Vec<String> = spec.nodes.iter().map(NodeSpec::labels).collect();
        assert_eq!(
            labels[0],
            "topology.kubernetes.io/region=region-1,topology.kubernetes.io/zone=zone-1"
        );
        assert_eq!(
            labels[1],
            "topology.kubernetes.io/region=region-2,topology.kubernetes.io/zone=zone-2"
        );
        assert_eq!(
            labels[2],
            "topology.kubernetes.io/region=region-1,topology.kubernetes.io/zone=zone-3"
        );
        assert_eq!(
            labels[3],
            "topology.kubernetes.io/region=region-2,topology.kubernetes.io/zone=zone-4"
        );
    }

    #[test]
    fn a_node_without_a_place_has_no_labels() {
        assert_eq!(NodeSpec::default().labels(), "");
    }
}
