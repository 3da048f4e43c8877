//! The cluster, the product on it, and the states that tests start from.

#[path = "suite/nodes.rs"]
mod nodes;
#[path = "suite/product.rs"]
mod product;
#[path = "suite/pulls.rs"]
mod pulls;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use regcache_tests::bed::{Cluster, ClusterSpec, NodeSpec, images, shell};
use serde_json::{Value, json};

/// Generous: for conditions, not for measuring.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The namespace of operator and caches.
pub const SYSTEM: &str = "regcache-system";
/// The operator's Deployment.
const OPERATOR: &str = "regcache-operator";
/// The namespace of the helpers.
pub const NODES: &str = "regcache-nodes";
/// The image under test, and the same under another tag, for updates.
const REPOSITORY: &str = "registry.test/regcache";
pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;
/// n1 and n3 are in region-1, n2 and n4 in region-2; n3 starts without certs.d; n5 (region-1) has no `config_path`.
pub const NODES_WITH_MIRROR: [usize; 4] = [1, 2, 3, 4];

pub struct Suite {
    pub cluster: Cluster,
    pub root: PathBuf,
    count: usize,
    /// The image tag that is installed.
    tag: RefCell<Option<String>>,
    /// Seconds of the slowest healthy small pull so far.
    healthy: f64,
    evidence: bool,
}

impl Suite {
    pub fn start() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let image = root.join("target/regcache-image.tar");
        ensure!(
            image.is_file(),
            "there is no {}: run this by `make e2e`, which builds it",
            image.display()
        );
        let mut spec = ClusterSpec::regions("e2e", 4, 2)
            .with_image(image)
            .with_image(images::faulty_archive()?);
        if let Some(third) = spec.nodes.get_mut(2) {
            third.certs_dir = false;
        }
        spec.nodes.push(NodeSpec {
            config_path: None,
            ..NodeSpec::at("region-1", "zone-5")
        });
        let cluster = Cluster::start(spec)?;
        for node in cluster.nodes() {
            let [from, to] = ["dev", "next"].map(|tag| format!("{REPOSITORY}:{tag}"));
            node.exec(&["ctr", "-n", "k8s.io", "images", "tag", "--force", &from, &to])?;
        }
        Ok(Self {
            cluster,
            root,
            count: 0,
            tag: RefCell::default(),
            healthy: 0.0,
            evidence: false,
        })
    }

    /// Takes the cluster down. With failures the logs are kept first.
    pub fn end(self, failed: bool) {
        if failed && !self.evidence {
            self.keep_evidence("the end");
        }
        if let Err(error) = self.cluster.stop() {
            eprintln!("the cluster is not gone: {error:#}");
        }
    }

    pub fn keep_evidence(&self, test: &str) {
        match self.cluster.dump() {
            Ok(dir) => eprintln!("    {test} failed; logs and objects are in {}", dir.display()),
            Err(error) => eprintln!("    {test} failed, and its logs cannot be kept: {error:#}"),
        }
    }

    /// A new name for an object of a test.
    pub fn fresh(&mut self, stem: &str) -> String {
        self.count += 1;
        format!("{stem}-{}", self.count)
    }
}

/// An upstream of a RegistryCache. Hosts that are not on the bed's internet are other names of images.test, so that each
/// test can have an upstream of its own.
pub fn upstream(host: &str) -> Value {
    match host {
        "images.test" | "other.test" => json!({"host": host}),
        _ => json!({"host": host, "url": "https://images.test"}),
    }
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// The items of a list.
pub fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Whether a pod is Ready.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// How often the containers of a pod were restarted.
pub fn restarts(pod: &Value) -> u64 {
    let statuses = pod["status"]["containerStatuses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    statuses
        .iter()
        .filter_map(|status| status["restartCount"].as_u64())
        .sum()
}

/// Runs `work` until `done` and gives back how often it ran: steady load during a change.
pub fn meanwhile(
    limit: Duration,
    mut work: impl FnMut() -> Result<()>,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<usize> {
    let started = Instant::now();
    let mut rounds = 0;
    while !done()? {
        work()?;
        rounds += 1;
        ensure!(
            started.elapsed() < limit,
            "not done after {limit:?} and {rounds} rounds"
        );
    }
    Ok(rounds)
}

/// Output of kubectl that must fail: what it said.
pub fn refusal(suite: &Suite, object: &Value) -> Result<String> {
    let mut command = suite.cluster.command("kubectl");
    command.args(["apply", "-f", "-"]);
    match shell::run_with_input(&mut command, &object.to_string()) {
        Ok(said) => bail!("accepted: {said}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}
