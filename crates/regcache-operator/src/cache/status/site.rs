//! How one cache is, from what the API server shows of its children and pods.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, Service};
use kube::ResourceExt as _;
use regcache_api::conditions::reasons;
use regcache_api::{SitePhase, SiteStatus, labels};

use super::Finding;
use crate::cache::build;
use crate::cache::engine::PORT;
use crate::cache::validate::Site;

/// One cache and what is known of it.
#[derive(Clone, Debug)]
pub struct SiteView<'a> {
    /// What it should be.
    pub site: &'a Site,
    /// Its namespace, for hints.
    pub namespace: &'a str,
    /// Its Service.
    pub service: Option<&'a Service>,
    /// Its volume.
    pub volume: Option<&'a PersistentVolumeClaim>,
    /// Its Deployment.
    pub deployment: Option<&'a Deployment>,
    /// The cache pods of the RegistryCache.
    pub pods: &'a [Pod],
    /// Why the API server refused to change its volume.
    pub refused: Option<&'a String>,
    /// Why its children could not be applied, in this run.
    pub failure: Option<Finding>,
}

impl SiteView<'_> {
    /// How it is, in one word.
    pub fn phase(&self) -> SitePhase {
        if self.site.idle {
            SitePhase::Idle
        } else if self.is_serving() {
            SitePhase::Ready
        } else if self.trouble().is_some() || self.was_rolled_out() || self.failure.as_ref().is_some_and(|f| f.stalled)
        {
            SitePhase::Degraded
        } else {
            SitePhase::Pending
        }
    }

    /// Its entry in the status.
    pub fn status(&self) -> SiteStatus {
        let phase = self.phase();
        let message = match phase {
            SitePhase::Idle => Some(format!(
                "no node of this cluster is in region {} any more: the cache is kept until the spec drops the region",
                self.site.region
            )),
            _ => [self.finding(), self.storage()]
                .into_iter()
                .flatten()
                .map(|finding| finding.message)
                .chain(self.site.left_out.clone())
                .next(),
        };
        let upstreams = self.site.upstreams.iter();
        SiteStatus {
            name: self.site.name.clone(),
            region: self.site.region.clone(),
            upstreams: upstreams.map(|upstream| upstream.host.clone()).collect(),
            endpoint: self.endpoint(),
            phase,
            message,
        }
    }

    /// Why it does not serve as it should; nothing when it does, and for one that has no nodes to serve.
    pub fn finding(&self) -> Option<Finding> {
        if self.site.idle {
            return None;
        }
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        if self.is_serving() {
            return None;
        }
        let Site { name, region, .. } = self.site;
        let finding = match self.trouble() {
            Some((reason, words)) => Finding::progress(reason, format!("cache {name} in {region}: {words}")),
            None if self.was_rolled_out() => {
                let (key, value) = build::distinction(self.site);
                Finding::progress(
                    reasons::CACHE_UNAVAILABLE,
                    format!(
                        "cache {name} in {region} is not ready any more: see kubectl -n {} describe pod -l \
                         {}={region},{key}={value}",
                        self.namespace,
                        labels::REGION,
                    ),
                )
            }
            None => Finding::progress(
                reasons::CACHES_PROGRESSING,
                format!("cache {name} in {region} is coming up"),
            ),
        };
        Some(finding)
    }

    /// What is the matter with its volume.
    pub fn storage(&self) -> Option<Finding> {
        if self.site.idle {
            return None;
        }
        if let Some(refused) = self.refused {
            return Some(Finding::stalled(reasons::VOLUME_CHANGE_REFUSED, refused.clone()));
        }
        let phase = self
            .volume
            .and_then(|volume| volume.status.as_ref()?.phase.as_deref())
            .unwrap_or("Pending");
        (phase != "Bound").then(|| {
            let live = self
                .volume
                .and_then(|volume| volume.spec.as_ref()?.storage_class_name.as_deref());
            let class = live.or(self.site.class.as_deref()).map_or_else(
                || "the default StorageClass".into(),
                |class| format!("StorageClass {class}"),
            );
            Finding::progress(
                reasons::VOLUME_PENDING,
                format!(
                    "the volume of cache {} ({class}) is {phase}: if it stays so, see kubectl -n {} describe \
                     pvc {}",
                    self.site.name, self.namespace, self.site.name
                ),
            )
        })
    }

    /// Where nodes reach it.
    fn endpoint(&self) -> Option<String> {
        let address = self.service?.spec.as_ref()?.cluster_ip.as_deref()?;
        match address {
            "" | "None" => None,
            v6 if v6.contains(':') => Some(format!("http://[{v6}]:{PORT}")),
            v4 => Some(format!("http://{v4}:{PORT}")),
        }
    }

    /// A pod made from the Deployment as it is now is ready.
    fn is_serving(&self) -> bool {
        self.deployment.is_some_and(|deployment| {
            let Some(status) = &deployment.status else { return false };
            status.observed_generation >= deployment.metadata.generation
                && status.ready_replicas.unwrap_or_default() > 0
                && status.updated_replicas.unwrap_or_default() > 0
        })
    }

    /// The Deployment as it is now was up once: a pod that is not ready is no longer the first attempt.
    fn was_rolled_out(&self) -> bool {
        let conditions = self
            .deployment
            .filter(|deployment| {
                let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
                observed >= deployment.metadata.generation
            })
            .and_then(|deployment| deployment.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| {
            condition.type_ == "Progressing" && condition.reason.as_deref() == Some("NewReplicaSetAvailable")
        })
    }

    /// What its pods complain of.
    fn trouble(&self) -> Option<(&'static str, String)> {
        let wanted = build::labels(self.site);
        let is_ours = |pod: &Pod| {
            let labels = pod.labels();
            wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        self.pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_ours(pod))
            .find_map(|pod| trouble_of(pod, self))
    }
}

fn trouble_of(pod: &Pod, view: &SiteView<'_>) -> Option<(&'static str, String)> {
    let status = pod.status.as_ref()?;
    let scheduled = status.conditions.iter().flatten();
    let unscheduled = scheduled
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .find_map(|condition| condition.message.clone())
        .map(|message| (reasons::CACHES_PROGRESSING, format!("no node takes its pod: {message}")));
    let containers = status.container_statuses.iter().flatten();
    unscheduled.or_else(|| {
        containers
            .into_iter()
            .find_map(|container| container_trouble(container, view))
    })
}

fn container_trouble(container: &ContainerStatus, view: &SiteView<'_>) -> Option<(&'static str, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            Some((
                reasons::IMAGE_PULL_FAILED,
                format!(
                    "image {} cannot be pulled: {}; fix spec.cache.image",
                    view.site.image,
                    pull_error(message)
                ),
            ))
        }
        "CrashLoopBackOff" => {
            let last = container
                .last_state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            let code = last.map_or_else(String::new, |last| format!(" (exit code {})", last.exit_code));
            let words = last
                .and_then(|last| last.message.as_deref())
                .and_then(|message| message.trim_end().lines().next_back())
                .map_or_else(String::new, |line| format!(": {}", shorten(line)));
            Some((
                reasons::CRASH_LOOP,
                format!(
                    "its program ends again and again{code}{words}; see kubectl -n {} logs deploy/{} --previous",
                    view.namespace, view.site.name
                ),
            ))
        }
        "ContainerCreating" | "PodInitializing" => None,
        reason => Some((reasons::CACHES_PROGRESSING, format!("{reason}: {}", shorten(message)))),
    }
}

/// The kubelet's words. It alternates between two spellings of the same; the status must not alternate with it.
fn pull_error(message: &str) -> String {
    let words = match message.strip_prefix("Back-off pulling image ") {
        Some(rest) => rest.split_once("\": ").map_or(rest, |(_, why)| why),
        None => message,
    };
    let words = [
        "ErrImagePull: ",
        "rpc error: code = Unknown desc = ",
        "rpc error: code = NotFound desc = ",
    ]
    .iter()
    .fold(words, |words, prefix| words.strip_prefix(prefix).unwrap_or(words));
    shorten(words)
}

/// At most 300 characters.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(300).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests;
