//! Which tools, at which versions, and how each is linked.

/// Kubernetes and its staging modules: `1.36.3` and `0.36.3`.
const KUBERNETES: &str = "1.36.3";
const STAGING_VERSION: &str = "0.36.3";
/// The modules that Kubernetes keeps in its own tree; as a dependency it needs them replaced by their releases.
const STAGING: &str = "api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider \
    cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api cri-client \
    cri-streaming csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator \
    kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission \
    sample-apiserver sample-cli-plugin sample-controller streaming";
const CONTAINERD: &str = "2.4.2";
const ETCD: &str = "3.6.16";

/// One program built from a Go module.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Name of the binary.
    pub name: &'static str,
    /// Its version, without `v`.
    pub version: &'static str,
    /// The main package.
    pub package: String,
    /// How it is built.
    pub source: Source,
    /// Linker flags that put the version into the binary.
    pub ldflags: String,
    /// Build tags.
    pub tags: &'static str,
    /// Seconds that it takes on two cores with an empty Go cache; said to the user before.
    pub typical_seconds: u32,
}

/// How a program is built.
#[derive(Clone, Debug)]
pub enum Source {
    /// `go install package@version`.
    Install,
    /// `go build` in a module of our own: `group` names it, `body` is its `go.mod` after the `go` line.
    Module {
        /// Directory of the module; tools of one group share it.
        group: &'static str,
        /// Requirements and replacements.
        body: String,
    },
}

impl Tool {
    /// Everything that the binary depends on, as the text of its stamp.
    pub fn recipe(&self) -> String {
        format!("{self:#?}\n")
    }
}

/// All tools, those first that take longest.
pub fn catalog() -> Vec<Tool> {
    let mut tools = kubernetes();
    tools.extend(containerd());
    tools.push(Tool {
        name: "etcd",
        version: ETCD,
        package: "go.etcd.io/etcd/server/v3".to_owned(),
        source: Source::Module {
            group: "etcd",
            body: format!("tool go.etcd.io/etcd/server/v3\nrequire go.etcd.io/etcd/server/v3 v{ETCD}"),
        },
        ldflags: String::new(),
        tags: "",
        typical_seconds: 25,
    });
    let installed = |name, version, package: &str, ldflags: &str, typical_seconds| Tool {
        name,
        version,
        package: package.to_owned(),
        source: Source::Install,
        ldflags: ldflags.to_owned(),
        tags: "",
        typical_seconds,
    };
    tools.extend([
        installed(
            "registry",
            "3.1.2",
            "github.com/distribution/distribution/v3/cmd/registry",
            "-X github.com/distribution/distribution/v3/version.version=v3.1.2",
            80,
        ),
        installed("coredns", "1.14.7", "github.com/coredns/coredns", "", 120),
        installed(
            "helm",
            "4.3.1",
            "helm.sh/helm/v4/cmd/helm",
            "-X helm.sh/helm/v4/internal/version.version=v4.3.1",
            105,
        ),
        installed(
            "local-path-provisioner",
            "0.0.30",
            "github.com/rancher/local-path-provisioner",
            "",
            20,
        ),
    ]);
    tools
}

fn kubernetes() -> Vec<Tool> {
    let names = [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
    ];
    let commands: Vec<String> = names
        .iter()
        .map(|name| format!("\tk8s.io/kubernetes/cmd/{name}\n"))
        .collect();
    let replaced: Vec<String> = STAGING
        .split_whitespace()
        .map(|module| format!("\tk8s.io/{module} => k8s.io/{module} v{STAGING_VERSION}\n"))
        .collect();
    let (commands, replaced) = (commands.concat(), replaced.concat());
    let body = format!(
        "godebug default=go1.26\ntool (\n{commands})\nrequire k8s.io/kubernetes v{KUBERNETES}\nreplace (\n{replaced})"
    );
    let version = "k8s.io/component-base/version.git";
    let ldflags = format!(
        "-X {version}Version=v{KUBERNETES} -X {version}Major=1 -X {version}Minor=36 \
         -X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES}"
    );
    names
        .into_iter()
        .map(|name| Tool {
            name,
            version: KUBERNETES,
            package: format!("k8s.io/kubernetes/cmd/{name}"),
            source: Source::Module {
                group: "kubernetes",
                body: body.clone(),
            },
            ldflags: ldflags.clone(),
            tags: "",
            // The first one compiles what all share.
            typical_seconds: if name == "kube-apiserver" { 180 } else { 25 },
        })
        .collect()
}

fn containerd() -> Vec<Tool> {
    let module = "github.com/containerd/containerd/v2";
    let names = ["containerd", "containerd-shim-runc-v2", "ctr"];
    let commands: Vec<String> = names.iter().map(|name| format!("\t{module}/cmd/{name}\n")).collect();
    let commands = commands.concat();
    let body = format!("tool (\n{commands})\nrequire {module} v{CONTAINERD}");
    names
        .into_iter()
        .map(|name| Tool {
            name,
            version: CONTAINERD,
            package: format!("{module}/cmd/{name}"),
            source: Source::Module {
                group: "containerd",
                body: body.clone(),
            },
            ldflags: format!("-X {module}/version.Version=v{CONTAINERD}"),
            tags: "no_btrfs no_zfs no_devmapper",
            typical_seconds: if name == "containerd" { 45 } else { 5 },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_another_recipe() {
        let tools = catalog();
        let mut newer = tools[0].clone();
        newer.version = "9.9.9";
        assert_ne!(newer.recipe(), tools[0].recipe());
    }

    #[test]
    fn every_tool_is_pinned_in_its_own_source() {
        for tool in catalog() {
            if let Source::Module { body, .. } = &tool.source {
                assert!(body.contains(&format!(" v{}", tool.version)), "{}", tool.name);
            }
        }
    }
}
