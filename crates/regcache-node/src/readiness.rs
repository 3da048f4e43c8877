//! Whether the helper is ready, and why not. Pure.
//!
//! Ready is latched: it says that this helper has done its work once. A cache that dies later must not turn the pods
//! of a whole region not ready, which would let the DaemonSet's controller replace them all at once. For the same
//! reason a helper that starts while its caches are silent becomes ready without them: an outage of a cache must not
//! stop the helpers' own update, nor let one that restarts count as broken.

use std::collections::BTreeMap;

use regcache_mirror::plan::Plan;

use crate::state::{Gateway, Upstream};

/// What has to happen before the helper is ready, one sentence each; empty: nothing.
pub fn waiting_for(plan: Option<&Plan>, gateway: &Gateway, upstreams: &BTreeMap<String, Upstream>) -> Vec<String> {
    let mut reasons = Vec::new();
    match gateway {
        Gateway::Up => {}
        Gateway::Starting => reasons.push("the gateway is starting".to_owned()),
        Gateway::Down(why) => reasons.push(format!("the gateway is down: {why}")),
    }
    let Some(plan) = plan else {
        reasons.push("no plan could be read yet".to_owned());
        return reasons;
    };
    for upstream in &plan.upstreams {
        let host = &upstream.host;
        match upstreams.get(host) {
            None => reasons.push(format!("{host}: not looked at yet")),
            Some(Upstream::Waiting(why)) => reasons.push(format!("{host}: {why}")),
            Some(
                Upstream::Published
                | Upstream::Observed
                | Upstream::NoCache
                | Upstream::Skipped(_)
                | Upstream::Unsupported(_)
                | Upstream::Unanswered(_),
            ) => {}
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use regcache_mirror::plan::{Mode, UpstreamPlan};
    use rstest::rstest;

    use super::*;

    fn plan(hosts: &[&str]) -> Plan {
        let entry = |host: &&str| UpstreamPlan {
            host: (*host).into(),
            server: format!("https://{host}"),
            mode: Mode::Enforce,
            caches: Vec::new(),
        };
        Plan {
            upstreams: hosts.iter().map(entry).collect(),
        }
    }

    #[rstest]
    #[case::no_plan(None, Gateway::Up, &[], &["no plan could be read yet"])]
    #[case::empty_plan(Some(plan(&[])), Gateway::Up, &[], &[])]
    #[case::gateway_taken(Some(plan(&[])), Gateway::Down("taken".into()), &[], &["the gateway is down: taken"])]
    #[case::not_looked_at(Some(plan(&["a"])), Gateway::Up, &[], &["a: not looked at yet"])]
    #[case::waiting(Some(plan(&["a"])), Gateway::Up, &[("a", Upstream::Waiting("no cache".into()))], &["a: no cache"])]
    #[case::published(Some(plan(&["a"])), Gateway::Up, &[("a", Upstream::Published)], &[])]
    #[case::deliberately_not(
        Some(plan(&["a", "b", "c", "d", "e"])), Gateway::Up,
        &[("a", Upstream::Skipped("x".into())), ("b", Upstream::Unsupported("x".into())), ("c", Upstream::Observed),
          ("d", Upstream::NoCache), ("e", Upstream::Unanswered("x".into()))], &[])]
    fn reasons(
        #[case] plan: Option<Plan>,
        #[case] gateway: Gateway,
        #[case] upstreams: &[(&str, Upstream)],
        #[case] expected: &[&str],
    ) {
        let upstreams = upstreams
            .iter()
            .map(|(host, state)| ((*host).to_owned(), state.clone()))
            .collect();
        assert_eq!(waiting_for(plan.as_ref(), &gateway, &upstreams), expected);
    }
}
