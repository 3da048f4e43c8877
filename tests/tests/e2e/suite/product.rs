//! The product on the cluster: charts, RegistryCaches, caches and helpers.

use anyhow::{Context, Result};
use regcache_tests::bed::pki::Authority;
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::wait_for;
use serde_json::{Value, json};

use super::{
    NODES, NODES_WITH_MIRROR, OPERATOR, PATIENCE, REPOSITORY, SYSTEM, Suite, condition, is_ready, items, upstream,
};

impl Suite {
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
        // The test bed's internet has an authority of its own.
        let authority = format!("upstreamCA={}", Authority::of_the_bed()?.certificate().display());
        words.extend(["--set-file", &authority]);
        self.cluster.helm(&words).map(drop)
    }

    /// Waits until every helper that there is runs the image with that tag.
    fn wait_helpers_updated(&self, tag: &str) -> Result<()> {
        wait_for(&format!("all helpers to run {tag}"), PATIENCE, || {
            Ok(if self.are_helpers_updated(tag)? {
                Look::Done(())
            } else {
                Look::NotYet("not yet".into())
            })
        })
    }

    /// Whether every helper that there is runs the image with that tag, and is ready.
    pub fn are_helpers_updated(&self, tag: &str) -> Result<bool> {
        let sets = items(&self.cluster.kubectl_json(&["get", "daemonsets", "-n", NODES])?);
        Ok(sets.iter().all(|set| {
            let image = set["spec"]["template"]["spec"]["containers"][0]["image"]
                .as_str()
                .unwrap_or_default();
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

    /// Does `work` while no operator runs. It runs again afterwards, whatever comes of the work: the tests that follow
    /// need it.
    pub fn without_operator(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let down = self.scale(SYSTEM, OPERATOR, 0);
        let worked = down.and_then(|()| work(self));
        let up = self.scale(SYSTEM, OPERATOR, 1);
        worked.and(up)
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

    /// A counter of a cache, summed over the label sets that contain `labels`.
    pub fn cache_counter(&self, site: &str, metric: &str, labels: &str) -> Result<f64> {
        let address = self.cluster.pod_ip(SYSTEM, &self.cache_pod(site)?)?;
        let text = self.cluster.http_get(&format!("http://{address}:5001/metrics"))?;
        let lines = text
            .lines()
            .filter(|line| line.starts_with(metric) && line.contains(labels));
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
}
