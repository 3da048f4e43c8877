//! kubectl and helm, as a user would run them.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Cluster;
use crate::bed::wait::{Look, wait_for};
use crate::bed::{json, names, paths, shell};

impl Cluster {
    /// A program in the cluster's network namespace, with KUBECONFIG set and the tools in PATH.
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = shell::in_netns(&names::cluster_netns(&self.spec().name), program);
        command
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", paths::bin().display()))
            .env("KUBECONFIG", self.work().join("admin.kubeconfig"))
            // kubectl's and helm's caches; never the user's own.
            .env("HOME", self.work().join("tmp"));
        command
    }

    /// Runs kubectl; its standard output, or an error with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        shell::run(self.command("kubectl").args(arguments))
    }

    /// Runs kubectl and gives back whatever came out, for tests of failures.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<Output> {
        self.command("kubectl")
            .args(arguments)
            .output()
            .context("start kubectl")
    }

    /// Runs kubectl with `-o json`.
    pub fn kubectl_json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {arguments:?} did not print JSON"))
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        shell::run_with_input(self.command("kubectl").args(["apply", "-f", "-"]), yaml)
    }

    /// `kubectl delete -f -`, without waiting for finalizers.
    pub fn delete(&self, yaml: &str) -> Result<String> {
        let arguments = ["delete", "--ignore-not-found", "--wait=false", "-f", "-"];
        shell::run_with_input(self.command("kubectl").args(arguments), yaml)
    }

    /// Runs helm.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        shell::run(self.command("helm").args(arguments))
    }

    /// Waits until `kubectl get WHAT -o json` satisfies a condition. `check` gives the state as the error.
    pub fn wait_object(
        &self,
        arguments: &[&str],
        what: &str,
        timeout: Duration,
        check: impl Fn(&Value) -> Result<(), String>,
    ) -> Result<Value> {
        wait_for(what, timeout, || {
            let object = self.kubectl_json(&[&["get"], arguments].concat())?;
            Ok(match check(&object) {
                Ok(()) => Look::Done(object),
                Err(state) => Look::NotYet(state),
            })
        })
    }

    /// Waits until all pods of a label selector in a namespace (at least `count`) are ready.
    pub fn wait_pods_ready(&self, namespace: &str, selector: &str, count: usize, timeout: Duration) -> Result<Value> {
        let what = format!("{count} ready pods of {selector} in {namespace}");
        self.wait_object(&["pods", "-n", namespace, "-l", selector], &what, timeout, |list| {
            let pods = json::list(list, "/items");
            let states: Vec<String> = pods.iter().map(pod_state).collect();
            if pods.len() >= count && states.iter().all(|state| state.ends_with("ready")) {
                Ok(())
            } else {
                Err(format!("{states:?}"))
            }
        })
    }

    /// The address of a pod.
    pub fn pod_ip(&self, namespace: &str, name: &str) -> Result<String> {
        let pod = self.kubectl_json(&["get", "pod", name, "-n", namespace])?;
        match json::text(&pod, "/status/podIP") {
            "" => bail!("pod {namespace}/{name} has no address yet"),
            address => Ok(address.to_owned()),
        }
    }
}

/// Name, phase and readiness in a few words.
fn pod_state(pod: &Value) -> String {
    let is_true = |it: &Value| json::text(it, "/type") == "Ready" && json::text(it, "/status") == "True";
    let is_ready = json::list(pod, "/status/conditions").iter().any(is_true);
    let name = json::text(pod, "/metadata/name");
    if is_ready && json::at(pod, "/metadata/deletionTimestamp").is_null() {
        return format!("{name} ready");
    }
    let statuses = json::list(pod, "/status/containerStatuses").iter();
    let reasons: Vec<&str> = statuses
        .map(|status| json::text(status, "/state/waiting/reason"))
        .collect();
    format!("{name} {} {}", json::text(pod, "/status/phase"), reasons.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_being_deleted_is_not_ready() {
        let mut pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(pod_state(&pod), "a ready");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(pod_state(&pod), "a Running ");
    }

    #[test]
    fn state_names_what_a_container_waits_for() {
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Pending",
            "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
        assert_eq!(pod_state(&pod), "a Pending ImagePullBackOff");
    }
}
