//! Which upstreams share a cache, and which of them others serve.

use kube::ResourceExt as _;
use regcache_api::conditions::reasons;
use regcache_api::{RegistryCache, UpstreamSpec};

use super::{Problem, Upstream};
use crate::cache::engine;
use crate::cache::gather::Inputs;
use crate::resolve;

/// A cache that each region gets: all upstreams together, or one of them, as the engine can.
pub(super) struct Group {
    /// The hosts of all, as the spec has them; never empty.
    pub(super) hosts: Vec<String>,
    /// Those that are this RegistryCache's to serve.
    pub(super) free: Vec<Upstream>,
    /// Who serves the others, and what to do about it.
    pub(super) taken: Option<String>,
}

impl Group {
    /// The name of the group's cache in `region`.
    pub(super) fn name(&self, registry_cache: &RegistryCache, region: &str) -> String {
        let host = self.hosts.first().map(String::as_str).unwrap_or_default();
        resolve::site_name(registry_cache, region, host)
    }
}

/// The groups of `upstreams`, in the order of the spec, and a problem for each that is taken.
pub(super) fn groups(
    registry_cache: &RegistryCache,
    upstreams: &[&UpstreamSpec],
    inputs: &Inputs,
) -> (Vec<Group>, Vec<Problem>) {
    let together = engine::of(resolve::engine(registry_cache))
        .capabilities()
        .several_upstreams;
    let size = if together { upstreams.len().max(1) } else { 1 };
    let mut problems = Vec::new();
    let groups = upstreams.chunks(size).map(|upstreams| {
        let (mut free, mut taken) = (Vec::new(), Vec::new());
        for upstream in upstreams {
            match taken_by(registry_cache, upstream, inputs) {
                None => free.push(Upstream {
                    host: upstream.host.clone(),
                    url: resolve::upstream_url(upstream),
                }),
                Some(problem) => {
                    taken.push(problem.message.clone());
                    problems.push(problem);
                }
            }
        }
        Group {
            hosts: upstreams.iter().map(|upstream| upstream.host.clone()).collect(),
            free,
            taken: (!taken.is_empty()).then(|| taken.join("; ")),
        }
    });
    (groups.collect(), problems)
}

/// Says who else serves `upstream`, if somebody does.
fn taken_by(registry_cache: &RegistryCache, upstream: &UpstreamSpec, inputs: &Inputs) -> Option<Problem> {
    let owner = resolve::owner(&upstream.host, inputs.all.iter().chain([registry_cache]))?;
    // By name: what the list shows of this object may be newer or older than the object in hand.
    if owner.name_any() == registry_cache.name_any() {
        return None;
    }
    let (host, owner) = (&upstream.host, owner.name_any());
    Some(Problem {
        reason: reasons::UPSTREAM_TAKEN,
        message: format!(
            "{host} is served by the older RegistryCache {owner}: remove {host} from spec.upstreams here or there"
        ),
    })
}
