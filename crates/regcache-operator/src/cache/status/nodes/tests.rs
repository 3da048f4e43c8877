use regcache_mirror::plan::{CacheRef, Mode, PlanFile, UpstreamPlan};
use serde_json::{Value, json};

use super::*;
use crate::cache::fixtures::{registry_cache, shared_site, site};
use crate::cache::validate::Site;

fn rc(extra: &Value) -> RegistryCache {
    let mut spec = json!({"upstreams": [{"host": "upstream.example"}], "regions": [{"name": "here"}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    registry_cache("owner", 2026, &spec)
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
            mode: Mode::Enforce,
            caches: caches.iter().map(cache).collect(),
        }],
    }
}

const OURS: &str = "rc-upstream-example-here-0";

fn live(stable: &[&str], canary: Option<(&[&str], u8)>) -> LivePlan {
    LivePlan {
        name: "node-here".into(),
        region: Some("here".into()),
        zone: None,
        file: Some(PlanFile {
            stable: plan(stable),
            canary: canary.map(|(caches, _)| plan(caches)),
            percent: canary.map_or(0, |(_, percent)| percent),
        }),
        changed_at: None,
    }
}

fn set(region: &str, observed: i64, ready: i32, desired: i32) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": format!("node-{region}"), "generation": 2, "labels": {"regcache.dev/region": region}},
        "status": {
            "observedGeneration": observed, "numberReady": ready, "desiredNumberScheduled": desired,
            "currentNumberScheduled": desired, "numberMisscheduled": 0,
        },
    }))
    .unwrap()
}

fn look(rc: &RegistryCache, sites: Vec<Site>, sets: Vec<DaemonSet>, plans: Vec<LivePlan>) -> View {
    let validated = Validated {
        sites,
        ..Validated::default()
    };
    let rollout = Rollout {
        plans,
        daemon_sets: sets,
        helpers: vec![],
    };
    view(rc, &validated, &rollout, "helpers")
}

fn reason(view: &View) -> Option<&'static str> {
    view.finding.as_ref().map(|finding| finding.reason)
}

#[test]
fn nodes_are_configured_when_helpers_are_ready_and_every_plan_names_the_caches() {
    let ready = || vec![set("here", 2, 3, 3), set("elsewhere", 2, 0, 9)];
    for (what, sets, plans, expected) in [
        ("all is well", ready(), vec![live(&[OURS], None)], None),
        (
            "no helper",
            vec![],
            vec![live(&[OURS], None)],
            Some(reasons::NODES_PROGRESSING),
        ),
        ("no plan", ready(), vec![], Some(reasons::NODES_PROGRESSING)),
        (
            "one helper is late",
            vec![set("here", 2, 2, 3)],
            vec![live(&[OURS], None)],
            Some(reasons::NODES_PROGRESSING),
        ),
        (
            "an update that nobody has seen",
            vec![set("here", 1, 3, 3)],
            vec![live(&[OURS], None)],
            Some(reasons::NODES_PROGRESSING),
        ),
        (
            "not named",
            ready(),
            vec![live(&[], None)],
            Some(reasons::NODES_PROGRESSING),
        ),
        (
            "tried by some",
            ready(),
            vec![live(&[], Some((&[OURS], 10)))],
            Some(reasons::ROLLING_OUT),
        ),
        ("tried by all", ready(), vec![live(&[], Some((&[OURS], 100)))], None),
        (
            "somebody else's canary",
            ready(),
            vec![live(&[OURS], Some((&[OURS, "theirs"], 10)))],
            None,
        ),
        (
            "leaves everywhere",
            ready(),
            vec![live(&[OURS], Some((&[], 100)))],
            Some(reasons::NODES_PROGRESSING),
        ),
    ] {
        let view = look(&rc(&json!({})), vec![site()], sets, plans);
        assert_eq!(reason(&view), expected, "{what}");
    }
}

#[test]
fn a_shared_cache_has_to_be_named_for_each_of_its_upstreams() {
    let mut site = shared_site();
    site.name = OURS.into();
    let mut told = live(&[OURS], None);
    let sets = || vec![set("here", 2, 3, 3)];
    let view = look(&rc(&json!({})), vec![site.clone()], sets(), vec![told.clone()]);
    let message = view.finding.unwrap().message;
    assert!(
        message.contains(&format!("cache {OURS} for second.example:5000")),
        "{message}"
    );
    let stable = &mut told.file.as_mut().unwrap().stable;
    let mut second = stable.upstreams[0].clone();
    second.host = "second.example:5000".into();
    stable.upstreams.push(second);
    let view = look(&rc(&json!({})), vec![site], sets(), vec![told]);
    assert_eq!(view.finding, None);
}

#[test]
fn only_nodes_of_the_objects_regions_are_counted() {
    let sets = vec![set("here", 2, 2, 3), set("elsewhere", 2, 5, 5)];
    let view = look(&rc(&json!({})), vec![site()], sets, vec![live(&[OURS], None)]);
    assert_eq!((view.ready, view.desired), (2, 3));
    let message = view.finding.unwrap().message;
    assert!(message.contains("region here: 2 of 3 node helpers"), "{message}");
}

#[test]
fn modes_and_the_kill_switch_are_said() {
    let sets = || vec![set("here", 2, 1, 1)];
    let off = look(
        &rc(&json!({"nodes": {"mode": "Disabled"}})),
        vec![site()],
        sets(),
        vec![],
    );
    assert_eq!((reason(&off), off.reason), (None, Some(reasons::NODES_OFF)));
    let observe = rc(&json!({"nodes": {"mode": "Observe"}}));
    let observing = look(&observe, vec![site()], sets(), vec![live(&[OURS], None)]);
    assert_eq!((reason(&observing), observing.reason), (None, Some(reasons::OBSERVING)));
    let mut stopped = rc(&json!({}));
    stopped.annotations_mut().insert(labels::STOP.into(), "true".into());
    let view = look(&stopped, vec![site()], sets(), vec![live(&[], None)]);
    let finding = view.finding.unwrap();
    assert_eq!((finding.reason, finding.stalled), (reasons::STOPPED, true));
}
