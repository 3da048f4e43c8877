//! Processes of containers on a node, to kill or freeze them behind Kubernetes' back.

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::Node;

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// containerd's id of it.
    pub id: String,
    /// Its image as the pod names it.
    pub image: String,
    /// `namespace/pod/container`.
    pub name: String,
}

impl Node {
    /// The containers on the node whose image or `namespace/pod/container` contains `text`; sandboxes are left out.
    pub fn containers(&self, text: &str) -> Result<Vec<Container>> {
        let ids = self.exec(&["ctr", "-n", "k8s.io", "containers", "list", "-q"])?;
        let mut found = Vec::new();
        for id in ids.split_whitespace() {
            // A container may go between the list and the look.
            let Ok(info) = self.exec(&["ctr", "-n", "k8s.io", "containers", "info", id]) else {
                continue;
            };
            let info: Value = serde_json::from_str(&info).context("ctr containers info")?;
            found.extend(parse(&info).filter(|it| it.image.contains(text) || it.name.contains(text)));
        }
        Ok(found)
    }

    /// The ids (as the node counts) of all processes of a container; empty when it does not run.
    pub fn container_processes(&self, container: &Container) -> Vec<String> {
        let text = self
            .exec(&["ctr", "-n", "k8s.io", "tasks", "ps", &container.id])
            .unwrap_or_default();
        pids(&text)
    }

    /// Sends a signal to all processes of the containers whose image or name contains `text`: STOP freezes them as no
    /// API call can, KILL is a crash. Gives back how many processes got it; none at all is an error.
    pub fn signal_container_processes(&self, text: &str, signal: Signal) -> Result<usize> {
        let containers = self.containers(text)?;
        let pids: Vec<String> = containers
            .iter()
            .flat_map(|container| self.container_processes(container))
            .collect();
        if pids.is_empty() {
            bail!(
                "no process of a container like {text:?} runs on {} ({containers:?})",
                self.name()
            );
        }
        let signal = format!("-{}", signal.as_raw());
        let mut words = vec!["busybox", "kill", &signal];
        words.extend(pids.iter().map(String::as_str));
        self.exec(&words)?;
        Ok(pids.len())
    }
}

fn parse(info: &Value) -> Option<Container> {
    let label = |name: &str| info.get("Labels")?.get(name)?.as_str();
    if label("io.cri-containerd.kind") != Some("container") {
        return None;
    }
    let name = [
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.name",
        "io.kubernetes.container.name",
    ]
    .map(|key| label(key).unwrap_or_default())
    .join("/");
    Some(Container {
        id: info.get("ID")?.as_str()?.to_owned(),
        image: info.get("Image")?.as_str()?.to_owned(),
        name,
    })
}

/// The first column of `ctr tasks ps`.
fn pids(text: &str) -> Vec<String> {
    let words = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    words
        .filter(|word| word.chars().all(|c| c.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sandboxes_are_not_containers() {
        let mut info = json!({"ID": "1", "Image": "registry.test/pause:1", "Labels": {
            "io.cri-containerd.kind": "sandbox", "io.kubernetes.pod.name": "p", "io.kubernetes.pod.namespace": "d"}});
        assert_eq!(parse(&info), None);
        info["Labels"]["io.cri-containerd.kind"] = json!("container");
        info["Labels"]["io.kubernetes.container.name"] = json!("c");
        assert_eq!(parse(&info).unwrap().name, "d/p/c");
    }

    #[test]
    fn process_ids_are_the_first_column() {
        assert_eq!(pids("PID     INFO\n317     -\n402     -\n"), ["317", "402"]);
    }
}
