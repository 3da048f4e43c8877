//! The cluster, the product on it, and the states that tests start from.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use regcache_api::names as child_names;
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::{
    Cluster, ClusterSpec, Internet, Node, NodeSpec, PodRequest, PullResult, images, shell, wait_for,
};
use regcache_tests::push::Pushed;
use serde_json::{Value, json};

/// Generous: for conditions, not for measuring.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The namespace of operator and caches.
pub const SYSTEM: &str = "regcache-system";
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
            "there is no {image:?}: run this by `make e2e`, which builds it"
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

    // --- the product ---------------------------------------------------------------------------------------------

    /// Installs the charts, or brings the values back to the usual ones; waits for the operator.
    pub fn installed(&self) -> Result<()> {
        if self.tag.borrow().as_deref() == Some("dev") {
            Ok(())
        } else {
            self.helm_upgrade("dev")
        }
    }

    /// `helm uninstall` of the product; the API and the objects stay.
    pub fn uninstall(&self) -> Result<()> {
        self.tag.take();
        self.cluster
            .helm(&["uninstall", "regcache", "--namespace", SYSTEM, "--wait"])
            .map(drop)
    }

    /// `helm upgrade --install` of both charts with that image tag.
    pub fn helm_upgrade(&self, tag: &str) -> Result<()> {
        self.helm_upgrade_without_waiting(tag)?;
        self.wait_helpers_updated(tag)?;
        self.tag.replace(Some(tag.to_owned()));
        Ok(())
    }

    fn upgrade(&self, tag: &str) -> Result<()> {
        let chart = |name: &str| self.root.join("charts").join(name).display().to_string();
        self.cluster.helm(&[
            "upgrade",
            "--install",
            "regcache-crds",
            &chart("regcache-crds"),
            "--namespace",
            SYSTEM,
            "--create-namespace",
        ])?;
        let image = [format!("image.repository={REPOSITORY}"), format!("image.tag={tag}")];
        let values = [
            image[0].as_str(),
            image[1].as_str(),
            "distribution.image=registry.test/registry:3.1.2",
            "rollout.soak=2s",
            "withdrawGrace=12s",
            "logFormat=text",
        ];
        let chart = chart("regcache");
        let mut words = vec![
            "upgrade",
            "--install",
            "regcache",
            &chart,
            "--namespace",
            SYSTEM,
            "--create-namespace",
            "--wait",
        ];
        for value in values {
            words.extend(["--set", value]);
        }
        self.cluster.helm(&words).map(drop)
    }

    /// Waits until every helper that there is runs the image with that tag.
    fn wait_helpers_updated(&self, tag: &str) -> Result<()> {
        wait_for(&format!("all helpers to run {tag}"), PATIENCE, || {
            Ok(if self.are_helpers_updated(tag)? { Look::Done(()) } else { Look::NotYet("not yet".into()) })
        })
    }

    /// Whether every helper that there is runs the image with that tag, and is ready.
    pub fn are_helpers_updated(&self, tag: &str) -> Result<bool> {
        let sets = items(&self.cluster.kubectl_json(&["get", "daemonsets", "-n", NODES])?);
        Ok(sets.iter().all(|set| {
            let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            let status = &set["status"];
            image.ends_with(tag)
                && status["observedGeneration"] == set["metadata"]["generation"]
                && status["updatedNumberScheduled"] == status["desiredNumberScheduled"]
                && status["numberReady"] == status["desiredNumberScheduled"]
        }))
    }

    /// `helm upgrade` alone: the helpers change behind it.
    pub fn helm_upgrade_without_waiting(&self, tag: &str) -> Result<()> {
        self.tag.take();
        self.upgrade(tag)
    }

    /// regcache installed, `main` (images.test in both regions) applied and Ready.
    pub fn main_ready(&mut self) -> Result<()> {
        self.installed()?;
        self.apply_cache("main", &["images.test"], &["region-1", "region-2"], &json!({}))?;
        self.wait_ready("main")?;
        self.wait_published("images.test", &NODES_WITH_MIRROR)
    }

    /// Applies a RegistryCache of small caches; `more` is merged into its spec.
    pub fn apply_cache(&self, name: &str, upstreams: &[&str], regions: &[&str], more: &Value) -> Result<()> {
        let mut spec = json!({
            "upstreams": upstreams.iter().map(|host| upstream(host)).collect::<Vec<_>>(),
            "regions": regions.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
            "cache": {"storage": {"size": "1Gi"}},
        });
        if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            for (key, value) in more {
                spec.insert(key.clone(), value.clone());
            }
        }
        let object = json!({
            "apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache", "metadata": {"name": name}, "spec": spec,
        });
        self.cluster.apply(&object.to_string()).map(drop)
    }

    /// Waits for Ready=True of the newest generation.
    pub fn wait_ready(&self, name: &str) -> Result<Value> {
        self.wait_condition(name, "Ready", "True", None)
    }

    /// Waits for a condition of the newest generation.
    pub fn wait_condition(&self, name: &str, kind: &str, status: &str, reason: Option<&str>) -> Result<Value> {
        let what = format!("{name}: {kind}={status} {}", reason.unwrap_or_default());
        self.cluster.wait_object(&["rcache", name], &what, PATIENCE, |object| {
            let found = condition(object, kind).cloned().unwrap_or_default();
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            if current && found["status"] == status && reason.is_none_or(|reason| found["reason"] == reason) {
                Ok(())
            } else {
                Err(object["status"].to_string())
            }
        })
    }

    /// Deletes a RegistryCache and waits until it and its caches are gone.
    pub fn delete_cache(&self, name: &str) -> Result<()> {
        self.cluster
            .kubectl(&["delete", "rcache", name, "--ignore-not-found", "--timeout=120s"])
            .map(drop)
    }

    /// The name of a cache's Deployment and Service.
    pub fn site(&self, cache: &str, region: &str, upstream: &str) -> String {
        child_names::site(cache, region, upstream)
    }

    /// Scales the operator and waits until its pods are as many.
    pub fn scale_operator(&self, replicas: usize) -> Result<()> {
        self.scale(SYSTEM, "regcache-operator", replicas)
    }

    /// Scales a Deployment and waits until its pods are as many, and ready.
    pub fn scale(&self, namespace: &str, deployment: &str, replicas: usize) -> Result<()> {
        let count = format!("--replicas={replicas}");
        self.cluster
            .kubectl(&["scale", "deployment", deployment, "-n", namespace, &count])?;
        let what = format!("{replicas} pods of {deployment}");
        self.cluster
            .wait_object(
                &["deployment", deployment, "-n", namespace],
                &what,
                PATIENCE,
                |object| {
                    let status = &object["status"];
                    let (all, ready) = (
                        status["replicas"].as_u64().unwrap_or(0),
                        status["readyReplicas"].as_u64().unwrap_or(0),
                    );
                    if all == replicas as u64 && ready == replicas as u64 {
                        Ok(())
                    } else {
                        Err(status.to_string())
                    }
                },
            )
            .map(drop)
    }

    /// The ready pod of a cache.
    pub fn cache_pod(&self, site: &str) -> Result<String> {
        wait_for(&format!("a ready pod of {site}"), PATIENCE, || {
            let pods = self.cluster.kubectl_json(&["get", "pods", "-n", SYSTEM])?;
            let found = items(&pods).into_iter().find(|pod| {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                name.starts_with(site) && pod["metadata"]["deletionTimestamp"].is_null() && is_ready(pod)
            });
            let name = found.and_then(|pod| pod["metadata"]["name"].as_str().map(str::to_owned));
            Ok(name.map_or_else(|| Look::NotYet("none".into()), Look::Done))
        })
    }

    /// A counter of a cache (distribution's own metrics), summed over its labels.
    pub fn cache_counter(&self, site: &str, metric: &str) -> Result<f64> {
        let address = self.cluster.pod_ip(SYSTEM, &self.cache_pod(site)?)?;
        let text = self.cluster.http_get(&format!("http://{address}:5001/metrics"))?;
        let lines = text.lines().filter(|line| line.starts_with(metric));
        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// The helper's pod on a node.
    pub fn helper_pod(&self, node: usize) -> Result<Value> {
        let selector = format!("spec.nodeName=n{node}");
        let pods = self
            .cluster
            .kubectl_json(&["get", "pods", "-n", NODES, "--field-selector", &selector])?;
        items(&pods)
            .into_iter()
            .find(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .context("no helper on the node")
    }

    /// Waits until the helper of a node is Ready (or not).
    pub fn wait_helper(&self, node: usize, ready: bool) -> Result<Value> {
        wait_for(&format!("the helper on n{node} to be ready={ready}"), PATIENCE, || {
            let pod = self.helper_pod(node)?;
            Ok(if is_ready(&pod) == ready {
                Look::Done(pod)
            } else {
                Look::NotYet(pod["status"].to_string())
            })
        })
    }

    // --- nodes ---------------------------------------------------------------------------------------------------

    pub fn node(&self, index: usize) -> Node {
        self.cluster.node(index)
    }

    /// The text of an upstream's hosts.toml on a node, when it is there.
    pub fn hosts_toml(&self, node: usize, upstream: &str) -> Option<String> {
        std::fs::read_to_string(self.node(node).certs_dir().join(upstream).join("hosts.toml")).ok()
    }

    /// Whether the node's hosts.toml for that upstream is ours.
    pub fn is_published(&self, node: usize, upstream: &str) -> bool {
        self.hosts_toml(node, upstream)
            .is_some_and(|text| text.contains("https://127.0.0.1:21500"))
    }

    /// Waits until these nodes have our hosts.toml for that upstream.
    pub fn wait_published(&self, upstream: &str, nodes: &[usize]) -> Result<()> {
        self.wait_nodes(upstream, nodes, true)
    }

    /// Waits until these nodes have nothing of ours for that upstream, not even the directory.
    pub fn wait_withdrawn(&self, upstream: &str, nodes: &[usize]) -> Result<()> {
        self.wait_nodes(upstream, nodes, false)
    }

    fn wait_nodes(&self, upstream: &str, nodes: &[usize], published: bool) -> Result<()> {
        let what = format!("hosts.toml of {upstream} on {nodes:?} to be there: {published}");
        wait_for(&what, PATIENCE, || {
            let states: Vec<bool> = nodes
                .iter()
                .map(|node| match published {
                    true => self.is_published(*node, upstream),
                    false => !self.node(*node).certs_dir().join(upstream).exists(),
                })
                .collect();
            Ok(if states.iter().all(|state| *state) {
                Look::Done(())
            } else {
                Look::NotYet(format!("{states:?}"))
            })
        })
    }

    /// Everything below certs.d of a node: path and content.
    pub fn certs_tree(&self, node: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let root = self.node(node).certs_dir();
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).with_context(|| format!("read {dir:?}"))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    let name = entry.path().strip_prefix(&root)?.display().to_string();
                    found.push((name, std::fs::read(entry.path())?));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    // --- pulls ---------------------------------------------------------------------------------------------------

    pub fn images(&self) -> Result<Internet> {
        self.cluster.internet("images.test")
    }

    /// Pushes an image to images.test.
    pub fn push(&self, layers: &[usize]) -> Result<Pushed> {
        self.images()?.push("team/app", layers)
    }

    /// Pulls an image on a node; no failed attempt is accepted.
    pub fn pull(&mut self, node: usize, image: &str) -> Result<f64> {
        let result = self.pull_whatever(node, image)?;
        ensure!(
            result.failed_attempts == 0,
            "pull of {image} on n{node} failed first: {:?}",
            result.failures
        );
        Ok(result.seconds)
    }

    /// Pulls an image on a node; failed attempts are the caller's to judge.
    pub fn pull_whatever(&mut self, node: usize, image: &str) -> Result<PullResult> {
        let name = self.fresh("pull");
        let mut pod = PodRequest::new(&name, &format!("n{node}"), image);
        pod.timeout = Duration::from_secs(180);
        self.cluster.pull(&pod)
    }

    /// Starts pulls at the same time and waits for all of them, in the order given.
    pub fn pull_together(&mut self, pulls: &[(usize, &str)]) -> Result<Vec<PullResult>> {
        let pods: Vec<PodRequest> = pulls
            .iter()
            .map(|(node, image)| {
                let mut pod = PodRequest::new(&self.fresh("pull"), &format!("n{node}"), image);
                pod.timeout = Duration::from_secs(180);
                pod
            })
            .collect();
        for pod in &pods {
            self.cluster.start_pull(pod)?;
        }
        let results: Result<Vec<PullResult>> = pods.iter().map(|pod| self.cluster.finish_pull(pod)).collect();
        for pod in &pods {
            self.cluster.kubectl(&["delete", "pod", &pod.name, "--wait=false"])?;
        }
        results
    }

    /// Seconds that a healthy pull through the caches takes here, measured with a like image: what delays are added to.
    pub fn healthy_seconds(&mut self) -> Result<f64> {
        if self.healthy == 0.0 {
            for node in [1, 2, 1] {
                let image = self.push(&[64 * KIB, 2 * MIB])?;
                let seconds = self.pull(node, &image.name)?;
                self.healthy = self.healthy.max(seconds);
            }
        }
        Ok(self.healthy)
    }

    /// A pull must take no more than `limit` longer than a healthy one.
    pub fn check_delay(&mut self, what: &str, seconds: f64, limit: f64) -> Result<()> {
        let healthy = self.healthy_seconds()?;
        eprintln!("      {what}: {seconds:.2} s (healthy {healthy:.2} s, limit +{limit} s)");
        if seconds > healthy + limit {
            bail!("{what} took {seconds:.2} s: more than {limit} s over a healthy pull's {healthy:.2} s");
        }
        Ok(())
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
