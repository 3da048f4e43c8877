//! What comes at once: a plan may always do less than before.

use regcache_mirror::plan::{Mode, Plan, PlanFile};

/// Takes from `stable` and `canary` what `target` does not have, and gives kept caches their present address.
///
/// Less can do no harm (pulls go upstream), and a cache that goes must be out of all plans first. An address is no
/// matter of trying: the old one leads nowhere.
pub fn apply(file: &mut PlanFile, target: &Plan) {
    plan(&mut file.stable, target);
    if let Some(canary) = &mut file.canary {
        plan(canary, target);
    }
}

fn plan(plan: &mut Plan, target: &Plan) {
    plan.upstreams.retain_mut(|upstream| {
        let Some(wanted) = target.upstream(&upstream.host) else {
            return false;
        };
        // From writing to only saying so is less, too.
        if wanted.mode == Mode::Observe {
            upstream.mode = Mode::Observe;
        }
        upstream.caches.retain_mut(|cache| {
            let wanted = wanted.caches.iter().find(|wanted| wanted.name == cache.name);
            if let Some(wanted) = wanted {
                cache.url.clone_from(&wanted.url);
            }
            wanted.is_some()
        });
        !upstream.caches.is_empty()
    });
}
