//! The control plane: processes in the cluster's network namespace, each of which a test may kill and start again.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bed::pki::{self, Authority};
use crate::bed::process::Journal;
use crate::bed::{names, paths, shell};

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// The cluster's DNS.
    Dns,
    /// Makes volumes for claims.
    VolumeProvisioner,
}

impl Component {
    /// All, in the order in which they start.
    pub const ALL: [Self; 6] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Dns,
        Self::VolumeProvisioner,
    ];

    /// Its name in the journal and of its log file.
    pub fn role(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Dns => "coredns",
            Self::VolumeProvisioner => "local-path-provisioner",
        }
    }

    /// Program and arguments; paths are relative to the work directory.
    fn arguments(self, work: &Path) -> Vec<String> {
        let text = match self {
            Self::Etcd => {
                "--data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls \
                 http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync"
            }
            // The kubelet's address: by default its name comes first, and `kubectl logs` and `exec` fail on it.
            Self::ApiServer => {
                "--etcd-servers http://127.0.0.1:2379 --bind-address 10.77.0.1 --advertise-address 10.77.0.1 \
                 --secure-port 6443 --tls-cert-file apiserver.crt --tls-private-key-file apiserver.key --cert-dir \
                 apiserver-certs --service-cluster-ip-range 10.78.0.0/16 --service-account-key-file sa.pub \
                 --service-account-signing-key-file sa.key --service-account-issuer \
                 https://kubernetes.default.svc.cluster.local --authorization-mode Node,RBAC --token-auth-file \
                 tokens.csv --allow-privileged=true --kubelet-preferred-address-types InternalIP"
            }
            Self::ControllerManager => {
                "--kubeconfig admin.kubeconfig --service-account-private-key-file sa.key --root-ca-file ca.crt \
                 --use-service-account-credentials=true --leader-elect=false --authentication-kubeconfig \
                 admin.kubeconfig --authorization-kubeconfig admin.kubeconfig"
            }
            Self::Scheduler => "--kubeconfig admin.kubeconfig --leader-elect=false",
            Self::Dns => "-conf Corefile",
            Self::VolumeProvisioner => {
                "start --config volumes/config.json --kubeconfig admin.kubeconfig --namespace local-path-storage \
                 --service-account-name default --configmap-name local-path-config --helper-image \
                 registry.test/busybox:1 --helper-pod-file volumes/helperPod.yaml"
            }
        };
        let mut words = vec![paths::tool(self.role()).display().to_string()];
        words.extend(text.split_whitespace().map(str::to_owned));
        if self == Self::Dns {
            words.extend(["-pidfile".to_owned(), work.join("coredns.pid").display().to_string()]);
        }
        words
    }

    /// Starts it.
    pub fn start(self, cluster: &str, work: &Path) -> Result<()> {
        let mut words = self.arguments(work).into_iter();
        let program = words.next().unwrap_or_default();
        let mut command: Command = shell::in_netns(&names::cluster_netns(cluster), program);
        command.args(words).current_dir(work).env("TMPDIR", work.join("tmp"));
        let log = work.join("logs").join(format!("{}.log", self.role()));
        Journal::of(work).spawn(self.role(), &log, &command).map(drop)
    }

    /// Kills it, as a crash would.
    pub fn kill(self, work: &Path) -> Result<()> {
        Journal::of(work)
            .find(self.role())
            .map_or(Ok(()), |process| process.end())
    }
}

/// Writes keys, certificates, tokens and configuration of the control plane.
pub fn write_files(work: &Path) -> Result<()> {
    for directory in ["logs", "tmp", "volumes"] {
        fs::create_dir_all(work.join(directory))?;
    }
    let authority = Authority::of_the_bed()?;
    fs::copy(authority.certificate(), work.join("ca.crt"))?;
    fs::write(work.join("ca-bundle.crt"), authority.bundle()?)?;
    let server_names = [
        names::CONTROL_PLANE,
        "10.78.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    authority.issue(work, "apiserver", &server_names)?;
    pki::write_service_account_keys(work)?;
    fs::write(work.join("tokens.csv"), "admintoken,admin,1,\"system:masters\"\n")?;
    fs::write(work.join("admin.kubeconfig"), kubeconfig(&work.join("ca.crt")))?;
    let lines: Vec<String> = names::INTERNET
        .iter()
        .map(|(name, address)| format!("{address} {name}\n"))
        .collect();
    fs::write(work.join("internet.hosts"), lines.concat())?;
    fs::write(work.join("Corefile"), corefile(work))?;
    super::storage::write_files(&work.join("volumes"))
}

fn kubeconfig(authority: &Path) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: bed, cluster: {{server: \"https://{}:6443\", certificate-authority: {}}}}}]
users: [{{name: admin, user: {{token: admintoken}}}}]
contexts: [{{name: bed, context: {{cluster: bed, user: admin}}}}]
current-context: bed
",
        names::CONTROL_PLANE,
        authority.display()
    )
}

/// Names of services and of the internet; every other name does not exist, at once, instead of after a time-out.
/// A block for each, since its server would ask `template` before `hosts` and `kubernetes`.
fn corefile(work: &Path) -> String {
    let internet: Vec<String> = names::INTERNET.iter().map(|(name, _)| format!("{name}:53")).collect();
    format!(
        "cluster.local:53 in-addr.arpa:53 {{
  bind {dns}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {work}/admin.kubeconfig bed
    ttl 1
  }}
  errors
}}
{internet} {{
  bind {dns}
  hosts {work}/internet.hosts {{
    ttl 1
  }}
  errors
}}
.:53 {{
  bind {dns}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
  errors
}}
",
        internet = internet.join(" "),
        dns = names::DNS,
        work = work.display()
    )
}
