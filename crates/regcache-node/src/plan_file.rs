//! The plan as it lies in the mounted ConfigMap: read again and again, the last good one kept.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regcache_mirror::host_dir::{BadHost, HostDir};
use regcache_mirror::plan::{Plan, PlanFile};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Time from one look to the next. The volume swaps a symlink, which no watch of the file would notice; the kubelet
/// takes up to a minute anyway.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Why the plan could not be read. The one before goes on.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No file, or none that may be read.
    #[error("cannot read the plan {}; the operator writes it into a ConfigMap that this pod mounts", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not JSON, or not a plan.
    #[error("the plan {} is not valid; restart the operator, which writes it anew", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads one node's plan.
#[derive(Clone, Debug)]
pub struct PlanSource {
    path: PathBuf,
    node: String,
}

impl PlanSource {
    /// `node` decides whether a canary applies.
    pub fn new(path: impl Into<PathBuf>, node: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            node: node.into(),
        }
    }

    /// The plan that this node follows now, without hosts that can have no directory (returned apart: they cost the
    /// others nothing) and without a host's second entry.
    pub fn read(&self) -> Result<(Plan, Vec<BadHost>), PlanError> {
        let path = self.path.clone();
        let text = std::fs::read(&path).map_err(|source| PlanError::Read { path, source })?;
        let path = self.path.clone();
        let file: PlanFile = serde_json::from_slice(&text).map_err(|source| PlanError::Parse { path, source })?;
        Ok(usable(file.for_node(&self.node).clone()))
    }

    /// Reads every few seconds until `shutdown`, and tells `plans` of every change.
    pub async fn follow(self, plans: watch::Sender<Option<Arc<Plan>>>, shutdown: CancellationToken) {
        let mut told = None;
        loop {
            match self.read() {
                Ok((plan, left_out)) => {
                    told = None;
                    plans.send_if_modified(|current| {
                        let changed = current.as_deref() != Some(&plan);
                        if changed {
                            tracing::info!(hash = plan.hash(), upstreams = plan.upstreams.len(), "following a plan");
                            for error in &left_out {
                                tracing::error!(%error, "left out of the plan");
                            }
                            *current = Some(Arc::new(plan));
                        }
                        changed
                    });
                }
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the plan before stays in force");
                        told = Some(text);
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(READ_EVERY) => {}
            }
        }
    }
}

fn usable(mut plan: Plan) -> (Plan, Vec<BadHost>) {
    let mut seen = BTreeSet::new();
    let mut left_out = Vec::new();
    plan.upstreams.retain(|upstream| match HostDir::of(&upstream.host) {
        Ok(dir) => seen.insert(dir),
        Err(error) => {
            left_out.push(error);
            false
        }
    });
    (plan, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> (tempfile::TempDir, PlanSource) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        std::fs::write(&path, text).unwrap();
        (dir, PlanSource::new(path, "n1"))
    }

    #[test]
    fn a_host_that_leads_elsewhere_is_left_out_and_the_rest_stays() {
        let (_dir, source) = source(
            r#"{"stable":{"upstreams":[{"host":"../x","server":"https://x"},{"host":"a","server":"https://a"}]}}"#,
        );
        let (plan, left_out) = source.read().unwrap();
        let hosts: Vec<String> = plan.upstreams.into_iter().map(|upstream| upstream.host).collect();
        assert_eq!(hosts, ["a"]);
        assert_eq!(left_out, [BadHost { host: "../x".into() }]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_or_missing_file_keeps_the_last_plan() {
        let (dir, source) = source(r#"{"stable":{"upstreams":[{"host":"a","server":"https://a"}]}}"#);
        let (sender, mut plans) = watch::channel(None);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(source.follow(sender, shutdown.clone()));
        plans.changed().await.unwrap();
        let path = dir.path().join("plan.json");
        std::fs::write(&path, "{").unwrap();
        tokio::time::sleep(READ_EVERY * 2).await;
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(READ_EVERY * 2).await;
        assert!(!plans.has_changed().unwrap());
        std::fs::write(&path, r#"{"stable":{"upstreams":[]}}"#).unwrap();
        plans.changed().await.unwrap();
        assert_eq!(plans.borrow().as_ref().unwrap().upstreams, []);
        shutdown.cancel();
        task.await.unwrap();
    }

    #[test]
    fn errors_name_the_file() {
        let (dir, source) = source("nonsense");
        let error = source.read().unwrap_err().to_string();
        assert!(
            error.contains(&dir.path().join("plan.json").display().to_string()),
            "{error}"
        );
    }
}
