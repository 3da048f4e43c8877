//! Dynamically provisioned volumes: local-path-provisioner as a process, its class the default one.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// Where volumes lie on a node.
const DIRECTORY: &str = "/var/lib/kubelet/local-path";

const HELPER_POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: helper-pod}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: helper-pod, image: \"registry.test/busybox:1\", imagePullPolicy: IfNotPresent}]
";

/// Files that the provisioner reads itself.
pub fn write_files(dir: &Path) -> Result<()> {
    fs::write(dir.join("config.json"), config())?;
    fs::write(dir.join("helperPod.yaml"), HELPER_POD)?;
    Ok(())
}

fn config() -> String {
    serde_json::json!({
        "nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [DIRECTORY]}],
    })
    .to_string()
}

/// The objects that it needs: namespace, the scripts its helper pods run, and the storage class.
pub fn objects() -> String {
    let data = serde_json::json!({
        "config.json": config(),
        "helperPod.yaml": HELPER_POD,
        "setup": "#!/bin/sh\nset -eu\n/bin/busybox mkdir -m 0777 -p \"$VOL_DIR\"\n",
        "teardown": "#!/bin/sh\nset -eu\n/bin/busybox rm -rf \"$VOL_DIR\"\n",
    });
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: local-path-storage}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: local-path-config, namespace: local-path-storage}}
data: {data}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: local-path
  annotations: {{storageclass.kubernetes.io/is-default-class: \"true\"}}
provisioner: rancher.io/local-path
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
"
    )
}
