use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use regcache_mirror::plan::{CacheRef, Plan, PlanFile, UpstreamPlan};

use super::*;
use crate::cache::gather::LivePlan;

const GRACE: Duration = Duration::from_secs(180);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn plan(caches: &[&str]) -> Plan {
    let cache = |name: &&str| CacheRef {
        name: (*name).into(),
        url: "http://10.0.0.1:5000".into(),
        region: "here".into(),
        ns: false,
        probe: false,
    };
    Plan {
        upstreams: vec![UpstreamPlan {
            host: "upstream.example".into(),
            server: "https://upstream.example".into(),
            mode: regcache_mirror::plan::Mode::Enforce,
            caches: caches.iter().map(cache).collect(),
        }],
    }
}

fn live(name: &str, stable: &[&str], canary: Option<&[&str]>, changed: i64) -> LivePlan {
    LivePlan {
        name: name.into(),
        region: Some("here".into()),
        zone: Some(name.into()),
        file: Some(PlanFile {
            stable: plan(stable),
            canary: canary.map(plan),
            percent: 0,
        }),
        changed_at: Some(at(changed)),
    }
}

/// A helper of the place whose plan is called `plan`.
fn helper(plan: &str, ended: Option<i64>) -> ObjectMeta {
    let labels = [("regcache.dev/region", "here"), ("regcache.dev/zone", plan)];
    ObjectMeta {
        labels: Some(labels.map(|(key, value)| (key.into(), value.into())).into()),
        deletion_timestamp: ended.map(|second| Time(at(second))),
        ..Default::default()
    }
}

fn rollout(plans: Vec<LivePlan>, helpers: Vec<ObjectMeta>) -> Rollout {
    Rollout {
        plans,
        helpers,
        ..Default::default()
    }
}

fn until(withdrawal: &Withdrawal) -> Option<Timestamp> {
    match withdrawal {
        Withdrawal::Waiting { until, .. } => *until,
        Withdrawal::Done => panic!("not waiting"),
    }
}

#[test]
fn a_cache_that_a_plan_names_stays_however_old_the_plan_is() {
    for plans in [
        vec![live("a", &["gone"], None, 0)],
        vec![live("a", &[], Some(&["gone"]), 0)],
        vec![live("a", &[], None, 0), live("b", &["other", "gone"], None, 0)],
    ] {
        let withdrawal = of("gone", &rollout(plans, vec![]), GRACE, at(10_000));
        assert_eq!(until(&withdrawal), None);
    }
}

#[test]
fn an_unreadable_plan_may_name_anything() {
    let mut plan = live("a", &[], None, 0);
    plan.file = None;
    let withdrawal = of("gone", &rollout(vec![plan], vec![]), GRACE, at(10_000));
    let Withdrawal::Waiting { message, .. } = withdrawal else {
        panic!("removed")
    };
    assert!(message.contains("plan a cannot be read"), "{message}");
}

#[test]
fn every_helper_gets_the_grace_of_its_own_plan() {
    let plans = || vec![live("a", &["other"], None, 0), live("b", &[], None, 100)];
    let both = || vec![helper("a", None), helper("b", None)];
    let waits = of("gone", &rollout(plans(), both()), GRACE, at(279));
    assert_eq!(until(&waits), Some(at(280)));
    assert_eq!(of("gone", &rollout(plans(), both()), GRACE, at(280)), Withdrawal::Done);
    // Nobody reads the younger plan.
    let one = vec![helper("a", None)];
    assert_eq!(of("gone", &rollout(plans(), one), GRACE, at(180)), Withdrawal::Done);
}

#[test]
fn without_helpers_nothing_has_to_be_waited_for() {
    let plans = vec![live("a", &["other"], None, 0)];
    assert_eq!(of("gone", &rollout(plans, vec![]), GRACE, at(1)), Withdrawal::Done);
    assert_eq!(of("gone", &rollout(vec![], vec![]), GRACE, at(1)), Withdrawal::Done);
}

#[test]
fn a_helper_whose_plan_is_gone_is_waited_for_until_it_ends() {
    // The other place's plan is old, which says nothing of this helper.
    let plans = || vec![live("a", &["other"], None, 0)];
    let running = of("gone", &rollout(plans(), vec![helper("b", None)]), GRACE, at(10_000));
    assert_eq!(until(&running), None);
    let ending = of("gone", &rollout(plans(), vec![helper("b", Some(0))]), GRACE, at(1));
    assert_eq!(until(&ending), Some(at(180)));
    // Its node is gone: nobody will ever say that it ended.
    let lost = of("gone", &rollout(plans(), vec![helper("b", Some(0))]), GRACE, at(180));
    assert_eq!(lost, Withdrawal::Done);
}
