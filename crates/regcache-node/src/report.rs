//! What the probes say of this node to the caches of its plan. Pure.

use regcache_runtime::probe::{Report, UpstreamReport};

use crate::publish::Usable;
use crate::state::{State, Upstream};

/// A published upstream none of whose caches may be used now: containerd asks the gateway and is sent on.
const BYPASSING: &str = "Bypassing";

/// The report; `None` before there is a plan. `usable` says for each upstream why none of its caches may be used now,
/// `containerd` is its version as the gateway has heard it.
pub fn report(state: &State, usable: &Usable, containerd: Option<String>) -> Option<Report> {
    let upstream = |(host, upstream): (&String, &Upstream)| {
        let (state, reason) = match (upstream, usable.get(host)) {
            (Upstream::Published, Some(Err(why))) => (BYPASSING, why.as_str()),
            _ => (upstream.name(), upstream.reason()),
        };
        let (state, reason) = (state.to_owned(), reason.to_owned());
        (host.clone(), UpstreamReport { state, reason })
    };
    Some(Report {
        node: state.node.clone(),
        plan: state.plan.clone()?,
        containerd,
        upstreams: state.upstreams.iter().map(upstream).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::published(Upstream::Published, Ok(()), "Published", "")]
    #[case::published_and_no_cache_is_well(Upstream::Published, Err("c is down"), "Bypassing", "c is down")]
    #[case::skipped(Upstream::Skipped("theirs".into()), Err("c is down"), "Skipped", "theirs")]
    #[case::waiting(Upstream::Waiting("no cache".into()), Err("c is down"), "Waiting", "no cache")]
    #[case::unanswered(Upstream::Unanswered("no cache".into()), Ok(()), "Unanswered", "no cache")]
    #[case::observed(Upstream::Observed, Err("c is down"), "Observed", "")]
    fn upstream_is_said_as(
        #[case] upstream: Upstream,
        #[case] usable: Result<(), &str>,
        #[case] state: &str,
        #[case] reason: &str,
    ) {
        let usable = BTreeMap::from([("a".to_owned(), usable.map_err(str::to_owned))]);
        let node = State {
            node: "n1".into(),
            plan: Some("0123".into()),
            upstreams: BTreeMap::from([("a".into(), upstream)]),
            ..State::default()
        };
        let report = report(&node, &usable, Some("2.4.2".into())).unwrap();
        assert_eq!((report.node.as_str(), report.plan.as_str()), ("n1", "0123"));
        let said = &report.upstreams["a"];
        assert_eq!((said.state.as_str(), said.reason.as_str()), (state, reason));
    }

    #[test]
    fn without_a_plan_there_is_nothing_to_report() {
        assert_eq!(report(&State::default(), &BTreeMap::new(), None), None);
    }
}
