//! Pods that pull: one image on one node, and how long kubelet says that it took.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Cluster;
use crate::bed::json;
use crate::bed::wait::{Look, wait_for};

/// A pod that pulls an image.
#[derive(Clone, Debug)]
pub struct PodRequest {
    /// The pod's name.
    pub name: String,
    /// The node it is bound to, past the scheduler: `n1`.
    pub node: String,
    /// The image; its program must go on running, or end well.
    pub image: String,
    /// How long kubelet may take until the container runs.
    pub timeout: Duration,
}

impl PodRequest {
    /// A pod on a node; 120 s.
    pub fn new(name: &str, node: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            node: node.to_owned(),
            image: image.to_owned(),
            timeout: Duration::from_secs(120),
        }
    }

    fn manifest(&self) -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": {"regcache.test/pull": "true"}},
            "spec": {
                "nodeName": self.node,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": self.image, "imagePullPolicy": "Always"}],
            },
        })
        .to_string()
    }
}

/// A pull as kubelet saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct PullResult {
    /// From kubelet's event "Successfully pulled image … in …".
    pub seconds: f64,
    /// How many attempts failed before.
    pub failed_attempts: u64,
    /// What kubelet said about the failures.
    pub failures: Vec<String>,
}

impl Cluster {
    /// Runs a pod until its image is pulled and its container started, then deletes it.
    pub fn pull(&self, pod: &PodRequest) -> Result<PullResult> {
        self.start_pull(pod)?;
        let result = self.finish_pull(pod);
        let _ = self.kubectl(&["delete", "pod", &pod.name, "--wait=false"]);
        result
    }

    /// Makes the pod and returns at once.
    pub fn start_pull(&self, pod: &PodRequest) -> Result<()> {
        self.apply(&pod.manifest()).map(drop)
    }

    /// Waits until the container of a started pod runs (or has ended well). The pod stays.
    pub fn finish_pull(&self, pod: &PodRequest) -> Result<PullResult> {
        let what = format!("pod {} to run {} on {}", pod.name, pod.image, pod.node);
        wait_for(&what, pod.timeout, || {
            let object = self.kubectl_json(&["get", "pod", &pod.name])?;
            Ok(match json::text(&object, "/status/phase") {
                "Running" | "Succeeded" => Look::Done(()),
                _ => Look::NotYet(json::at(&object, "/status").to_string()),
            })
        })?;
        // Events are written behind the pod's status, and not in its order.
        wait_for(
            &format!("kubelet's event about the pull of {}", pod.image),
            Duration::from_secs(20),
            || {
                let result = self.pull_events(&pod.name)?;
                Ok(result.map_or_else(|| Look::NotYet("no event yet".to_owned()), Look::Done))
            },
        )
    }

    /// Failed attempts up to now, of a pull that still goes on.
    pub fn failed_attempts(&self, pod: &str) -> Result<u64> {
        Ok(failures(&self.events_of(pod)?).iter().map(|(_, count)| count).sum())
    }

    fn pull_events(&self, pod: &str) -> Result<Option<PullResult>> {
        let events = self.events_of(pod)?;
        let Some(pulled) = events.iter().find(|event| json::text(event, "/reason") == "Pulled") else {
            return Ok(None);
        };
        let failures = failures(&events);
        Ok(Some(PullResult {
            seconds: seconds_of(json::text(pulled, "/message"))?,
            failed_attempts: failures.iter().map(|(_, count)| count).sum(),
            failures: failures.into_iter().map(|(text, _)| text).collect(),
        }))
    }

    fn events_of(&self, pod: &str) -> Result<Vec<Value>> {
        let uid = self.kubectl(&["get", "pod", pod, "-o", "jsonpath={.metadata.uid}"])?;
        let selector = format!("involvedObject.uid={uid}");
        let list = self.kubectl_json(&["get", "events", "--field-selector", &selector])?;
        Ok(json::list(&list, "/items").to_vec())
    }
}

/// Messages of failed pulls, and how often each came.
fn failures(events: &[Value]) -> Vec<(String, u64)> {
    let is_failure = |event: &&Value| {
        json::text(event, "/reason") == "Failed" && json::text(event, "/message").starts_with("Failed to pull image")
    };
    let failed = events.iter().filter(is_failure);
    failed
        .map(|it| {
            (
                json::text(it, "/message").to_owned(),
                json::at(it, "/count").as_u64().unwrap_or(1),
            )
        })
        .collect()
}

/// The duration in "Successfully pulled image "x" in 1.2s (1.3s including waiting). Image size: 7 bytes."
fn seconds_of(message: &str) -> Result<f64> {
    let Some((_, rest)) = message.rsplit_once("\" in ") else {
        bail!("kubelet did not pull: {message}")
    };
    let word = rest.split(' ').next().unwrap_or_default();
    go_duration(word).with_context(|| format!("a duration in {message:?}"))
}

/// Seconds of a Go duration: `1m2.5s`, `340ms`, `12.3µs`.
fn go_duration(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_ends = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_ends);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" | "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_of_go_are_read() {
        for (text, seconds) in [
            ("340ms", 0.34),
            ("1.25s", 1.25),
            ("1m2.5s", 62.5),
            ("2h0m1s", 7201.0),
            ("15µs", 15e-6),
        ] {
            assert!((go_duration(text).unwrap() - seconds).abs() < 1e-9, "{text}");
        }
        for bad in ["", "12", "s", "3 s", "4x"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_pull_itself_counts_not_the_wait_before_it() {
        let message =
            "Successfully pulled image \"images.test/a:1\" in 94ms (2.1s including waiting). Image size: 9 bytes.";
        assert!((seconds_of(message).unwrap() - 0.094).abs() < 1e-9);
        assert!(seconds_of("Container image \"a\" already present on machine").is_err());
    }

    #[test]
    fn repeated_failures_are_counted_and_other_events_are_not() {
        let events = [
            json!({"reason": "Failed", "message": "Failed to pull image \"a\": x", "count": 3}),
            json!({"reason": "Failed", "message": "Failed to pull image \"a\": y"}),
            json!({"reason": "Failed", "message": "Error: ErrImagePull", "count": 3}),
            json!({"reason": "Pulled", "message": "Failed to pull image"}),
        ];
        assert_eq!(failures(&events).iter().map(|(_, count)| count).sum::<u64>(), 4);
    }
}
