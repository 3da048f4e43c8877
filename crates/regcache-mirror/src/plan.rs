//! The plan: what the helpers of one place do. Written by the operator into a ConfigMap, read by every helper there.
//!
//! The file is JSON under the key [`PLAN_KEY`]. Unknown fields are ignored, so that an operator and a helper one
//! version apart understand each other.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The key (and file name) of the plan in its ConfigMap.
pub const PLAN_KEY: &str = "plan.json";

/// A plan and, while it is being rolled out, its successor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanFile {
    /// What every helper does that is not chosen for the canary.
    #[serde(default)]
    pub stable: Plan,
    /// The next plan, tried by `percent` of the helpers first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Plan>,
    /// 0 to 100: the share of nodes that use `canary`.
    #[serde(default)]
    pub percent: u8,
}

/// What one helper does: its upstreams, sorted by host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// One entry for each upstream, sorted by host, each host once.
    #[serde(default)]
    pub upstreams: Vec<UpstreamPlan>,
}

/// One upstream and the caches that may answer for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamPlan {
    /// The registry as image names spell it: `docker.io`, `registry.corp:5000`.
    pub host: String,
    /// The registry's own address, for containerd to go on to: `https://registry-1.docker.io`.
    pub server: String,
    /// Whether files are written or only reported.
    #[serde(default)]
    pub mode: Mode,
    /// The caches, nearest first. Empty: nothing is published.
    #[serde(default)]
    pub caches: Vec<CacheRef>,
}

/// What the helper does with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Writes `hosts.toml`.
    #[default]
    Enforce,
    /// Writes nothing, says what it would write.
    Observe,
}

/// One cache as a helper reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheRef {
    /// The cache's name (that of its Service): stable over changes of its address.
    pub name: String,
    /// Base address without path: `http://10.96.0.17:5000`.
    pub url: String,
    /// The region where it runs.
    pub region: String,
    /// True when the cache serves several upstreams and picks one by `?ns=`.
    #[serde(default)]
    pub ns: bool,
    /// True when the cache has the probe blob and takes reports. Not written when false, so that a plan of caches
    /// without it reads, and hashes, as before this field was there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
}

impl Plan {
    /// A short stable name of the plan's content: the first 16 hex digits of its SHA-256.
    #[must_use]
    pub fn hash(&self) -> String {
        // A plan is maps-free and always serialisable; an empty text could only lower the hash's strength.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mut digest = hex::encode(Sha256::digest(text));
        digest.truncate(16);
        digest
    }

    /// The entry for `host`.
    #[must_use]
    pub fn upstream(&self, host: &str) -> Option<&UpstreamPlan> {
        self.upstreams.iter().find(|upstream| upstream.host == host)
    }
}

impl PlanFile {
    /// The plan that `node` follows: the canary when the node's place in its order falls below `percent`.
    #[must_use]
    pub fn for_node(&self, node: &str) -> &Plan {
        match &self.canary {
            Some(canary) if draw(node, &canary.hash()) < self.percent => canary,
            _ => &self.stable,
        }
    }

    /// Every cache that some helper may be using.
    pub fn caches(&self) -> impl Iterator<Item = &CacheRef> {
        std::iter::once(&self.stable)
            .chain(self.canary.as_ref())
            .flat_map(|plan| &plan.upstreams)
            .flat_map(|upstream| &upstream.caches)
    }
}

/// A node's draw for one canary, 0 to 99: another canary draws anew, so that it is not always the same node's turn.
fn draw(node: &str, canary: &str) -> u8 {
    let digest = Sha256::digest(format!("{node}\n{canary}"));
    let number = digest
        .iter()
        .take(4)
        .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    u8::try_from(number % 100).unwrap_or(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(host: &str) -> Plan {
        Plan {
            upstreams: vec![UpstreamPlan {
                host: host.into(),
                server: format!("https://{host}"),
                mode: Mode::Enforce,
                caches: vec![CacheRef {
                    name: "c".into(),
                    url: "http://10.0.0.1:5000".into(),
                    region: "r".into(),
                    ns: false,
                    probe: false,
                }],
            }],
        }
    }

    #[test]
    fn percent_picks_its_share_of_nodes_and_only_grows() {
        let mut file = PlanFile {
            stable: plan("a"),
            canary: Some(plan("b")),
            percent: 0,
        };
        let mut before: Vec<String> = Vec::new();
        for percent in [0_u8, 10, 50, 100] {
            file.percent = percent;
            let chosen: Vec<String> = (0..1000)
                .map(|i| format!("node-{i}"))
                .filter(|node| *file.for_node(node) == plan("b"))
                .collect();
            let wanted = usize::from(percent) * 10;
            assert!(chosen.len().abs_diff(wanted) < 50, "{percent}%: {}", chosen.len());
            assert!(
                before.iter().all(|node| chosen.contains(node)),
                "a node that has the canary keeps it"
            );
            before = chosen;
        }
        assert_eq!(before.len(), 1000);
    }

    #[test]
    fn file_reads_back_and_tolerates_newer_fields() {
        let file = PlanFile {
            stable: plan("a"),
            canary: Some(plan("b")),
            percent: 10,
        };
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<PlanFile>(&text).unwrap(), file);
        let newer = r#"{"stable":{"upstreams":[{"host":"a","server":"https://a","caches":[],"later":1}]},"later":{}}"#;
        assert_eq!(
            serde_json::from_str::<PlanFile>(newer).unwrap().stable.upstreams.len(),
            1
        );
    }

    /// A plan that this version writes for caches without a probe is, byte for byte, what the version before wrote: an
    /// update of the operator alone changes no plan.
    #[test]
    fn a_cache_without_probe_is_written_as_ever() {
        let mut cache = plan("a").upstreams.remove(0).caches.remove(0);
        assert_eq!(
            serde_json::to_string(&cache).unwrap(),
            r#"{"name":"c","url":"http://10.0.0.1:5000","region":"r","ns":false}"#
        );
        cache.probe = true;
        let text = serde_json::to_string(&cache).unwrap();
        assert_eq!(
            text,
            r#"{"name":"c","url":"http://10.0.0.1:5000","region":"r","ns":false,"probe":true}"#
        );
        assert_eq!(serde_json::from_str::<CacheRef>(&text).unwrap(), cache);
    }

    #[test]
    fn hash_tells_plans_apart() {
        assert_ne!(plan("a").hash(), plan("b").hash());
        assert_eq!(plan("a").hash().len(), 16);
    }
}
