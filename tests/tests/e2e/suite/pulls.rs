//! Images pushed, pods that pull them, and how long it may take.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::{Internet, PodRequest, PullResult, wait_for};
use regcache_tests::push::Pushed;

use super::{KIB, MIB, PATIENCE, Suite};

impl Suite {
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

    /// Pulls a new image on a node and says whether its cache served all of it, by the registry's log.
    pub fn is_served(&mut self, node: usize) -> Result<bool> {
        let internet = self.images()?;
        let image = self.push(&[64 * KIB, MIB])?;
        let since = internet.marker();
        self.pull(node, &image.name)?;
        let requests = internet.requests(since);
        Ok(!requests
            .into_iter()
            .any(|it| it.is_of(&image.repository) && it.is_from_containerd()))
    }

    /// Pulls on these nodes until each is served by its cache: Ready says that a cache is there, not that every helper
    /// uses it again.
    pub fn wait_served(&mut self, nodes: &[usize]) -> Result<()> {
        for node in nodes {
            wait_for(&format!("n{node} to be served by its cache"), PATIENCE, || {
                Ok(if self.is_served(*node)? {
                    Look::Done(())
                } else {
                    Look::NotYet("containerd asked the registry itself".into())
                })
            })?;
        }
        Ok(())
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
