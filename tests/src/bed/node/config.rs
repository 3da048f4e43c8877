//! The configuration files of a node's daemons.

use std::fmt::Write;
use std::path::Path;

use crate::bed::cluster::spec::NodeSpec;
use crate::bed::{images, names};

/// containerd's configuration (version 3, containerd 2.x).
pub fn containerd(spec: &NodeSpec) -> String {
    let mut registry = String::new();
    if let Some(path) = &spec.config_path {
        let _ = write!(registry, "config_path = {path:?}");
    }
    let local_pull = if spec.local_pull {
        "use_local_image_pull = true"
    } else {
        ""
    };
    // restrict_oom_score_adj: where CAP_SYS_RESOURCE is missing, every sandbox fails to start without it.
    format!(
        "version = 3
root = \"/var/lib/containerd\"
state = \"/run/containerd\"
[grpc]
  address = \"/run/containerd/containerd.sock\"
[plugins.\"io.containerd.cri.v1.images\"]
  {local_pull}
  [plugins.\"io.containerd.cri.v1.images\".pinned_images]
    sandbox = \"{pause}\"
  [plugins.\"io.containerd.cri.v1.images\".registry]
    {registry}
[plugins.\"io.containerd.cri.v1.runtime\"]
  restrict_oom_score_adj = true
  [plugins.\"io.containerd.cri.v1.runtime\".cni]
    bin_dirs = [\"/usr/lib/cni\"]
    conf_dir = \"/etc/cni/net.d\"
",
        pause = images::PAUSE,
    )
}

/// The pod network: a bridge with the node's own subnet. Leases lie in /run, so that a power cycle forgets them.
pub fn cni(index: usize) -> String {
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "bed",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": names::pod_subnet(index)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni-leases",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
    .to_string()
}

/// The kubelet's configuration.
///
/// It works on cgroup v1 and v2 alike: no cgroups of pods, so limits do not bite.
/// `registryPullQPS: 0`, or a herd of pods fails with "pull QPS exceeded".
pub fn kubelet() -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
evictionHard: {{nodefs.available: \"1%\", imagefs.available: \"1%\", memory.available: 50Mi}}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
resolvConf: /etc/resolv.conf
clusterDNS: [{dns}]
clusterDomain: cluster.local
nodeStatusUpdateFrequency: 4s
syncFrequency: 5s
",
        dns = names::DNS,
    )
}

/// kube-proxy's configuration.
pub fn kube_proxy(work: &Path, index: usize) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: n{index}
clientConnection: {{kubeconfig: {}/admin.kubeconfig}}
conntrack: {{maxPerCore: 0}}
clusterCIDR: 10.77.0.0/16
",
        work.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_path_is_left_out_when_a_node_has_none() {
        let spec = NodeSpec {
            config_path: None,
            ..NodeSpec::default()
        };
        assert!(!containerd(&spec).contains("config_path"));
        assert!(containerd(&NodeSpec::default()).contains("config_path = \"/etc/containerd/certs.d\"\n"));
    }

    #[test]
    fn two_roots_are_written_as_given() {
        let spec = NodeSpec {
            config_path: Some("/etc/containerd/certs.d:/etc/docker/certs.d".to_owned()),
            ..NodeSpec::default()
        };
        assert!(containerd(&spec).contains("config_path = \"/etc/containerd/certs.d:/etc/docker/certs.d\""));
    }

    #[test]
    fn every_yaml_file_parses() {
        for text in [kubelet(), kube_proxy(Path::new("/w"), 2)] {
            let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            assert!(value["kind"].is_string(), "{text}");
        }
    }
}
