use serde_json::{Value, json};

use super::*;
use crate::cache::fixtures::{registry_cache, site};
use crate::cache::validate::{Problem, Site, Skipped};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn rc(extra: &Value) -> RegistryCache {
    let mut spec = json!({"upstreams": [{"host": "upstream.example"}], "regions": [{"name": "here"}]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    registry_cache("owner", 2026, &spec)
}

fn deployment(ready: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"generation": 1},
        "status": {"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": ready},
    }))
    .unwrap()
}

fn bound() -> PersistentVolumeClaim {
    serde_json::from_value(json!({"status": {"phase": "Bound"}})).unwrap()
}

fn site_view<'a>(site: &'a Site, deployment: &'a Deployment, volume: &'a PersistentVolumeClaim) -> SiteView<'a> {
    SiteView {
        site,
        namespace: "caches",
        service: None,
        volume: Some(volume),
        deployment: Some(deployment),
        pods: &[],
        refused: None,
        failure: None,
    }
}

fn nodes_ready() -> nodes::View {
    nodes::View {
        ready: 2,
        desired: 2,
        message: "2 of 2 nodes are configured".into(),
        ..nodes::View::default()
    }
}

/// Type, status and reason of every condition.
fn said(computed: &Computed) -> Vec<String> {
    let mut said: Vec<String> = computed
        .status
        .conditions
        .iter()
        .map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
        .collect();
    said.sort();
    said
}

fn message<'a>(computed: &'a Computed, type_: &str) -> &'a str {
    &conditions::get(&computed.status.conditions, type_).unwrap().message
}

fn with(sites: Vec<Site>) -> Validated {
    Validated {
        sites,
        ..Validated::default()
    }
}

#[test]
fn all_well_is_ready_and_neither_reconciling_nor_stalled() {
    let (site, deployment, bound) = (site(), deployment(1), bound());
    let views = [site_view(&site, &deployment, &bound)];
    let computed = compute(
        &rc(&json!({})),
        &with(vec![site.clone()]),
        &views,
        &nodes_ready(),
        at(0),
    );
    assert_eq!(
        said(&computed),
        [
            "CachesAvailable=True AsDesired",
            "NodesConfigured=True AsDesired",
            "Ready=True AsDesired",
            "Reconciling=False AsDesired",
            "Stalled=False AsDesired",
            "StorageHealthy=True AsDesired",
        ]
    );
    assert_eq!(
        message(&computed, "Ready"),
        "1 of 1 caches are ready; 2 of 2 nodes are configured"
    );
    let status = &computed.status;
    assert_eq!(
        (
            status.caches_ready.as_deref(),
            status.nodes_ready.as_deref(),
            status.observed_generation
        ),
        (Some("1/1"), Some("2/2"), Some(3))
    );
}

#[test]
fn time_alone_changes_nothing() {
    let (site, deployment, bound) = (site(), deployment(0), bound());
    let views = [site_view(&site, &deployment, &bound)];
    let mut rc = rc(&json!({}));
    let first = compute(&rc, &with(vec![site.clone()]), &views, &nodes_ready(), at(0));
    rc.status = Some(first.status.clone());
    let second = compute(&rc, &with(vec![site.clone()]), &views, &nodes_ready(), at(1000));
    assert_eq!(first, second);
}

#[test]
fn a_cache_that_comes_up_is_reconciling() {
    let (site, deployment, bound) = (site(), deployment(0), bound());
    let views = [site_view(&site, &deployment, &bound)];
    let computed = compute(
        &rc(&json!({})),
        &with(vec![site.clone()]),
        &views,
        &nodes_ready(),
        at(0),
    );
    assert_eq!(
        said(&computed),
        [
            "CachesAvailable=False CachesProgressing",
            "NodesConfigured=True AsDesired",
            "Ready=False CachesProgressing",
            "Reconciling=True CachesProgressing",
            "Stalled=False AsDesired",
            "StorageHealthy=True AsDesired",
        ]
    );
    assert_eq!(computed.status.caches_ready.as_deref(), Some("0/1"));
}

#[test]
fn what_needs_a_person_stalls_and_comes_before_what_is_on_its_way() {
    let (site, deployment, bound) = (site(), deployment(0), bound());
    let views = [site_view(&site, &deployment, &bound)];
    let mut validated = with(vec![site.clone()]);
    validated.problems.push(Problem {
        reason: reasons::UPSTREAM_TAKEN,
        message: "v is served by elder".into(),
    });
    validated.skipped.push(Skipped {
        name: "n".into(),
        region: "here".into(),
        hosts: vec!["v".into()],
        phase: SitePhase::UpstreamTaken,
        message: "v is served by elder".into(),
        keep: false,
    });
    let computed = compute(&rc(&json!({})), &validated, &views, &nodes_ready(), at(0));
    let said = said(&computed);
    for expected in [
        "Ready=False UpstreamTaken",
        "Stalled=True UpstreamTaken",
        "Reconciling=False AsDesired",
    ] {
        assert!(said.iter().any(|said| said == expected), "{expected}: {said:?}");
    }
    // What works, works, and the taken one is not counted.
    assert_eq!(computed.status.caches_ready.as_deref(), Some("0/1"));
    assert_eq!(computed.status.sites.len(), 2);
}

#[test]
fn a_missing_class_is_a_storage_problem_and_counts_as_a_cache_that_is_not_ready() {
    let problem = "StorageClass fats does not exist";
    let validated = Validated {
        problems: vec![Problem {
            reason: reasons::STORAGE_CLASS_NOT_FOUND,
            message: problem.into(),
        }],
        skipped: vec![Skipped {
            name: "n".into(),
            region: "here".into(),
            hosts: vec!["upstream.example".into()],
            phase: SitePhase::Pending,
            message: problem.into(),
            keep: true,
        }],
        ..Validated::default()
    };
    let computed = compute(&rc(&json!({})), &validated, &[], &nodes_ready(), at(0));
    let said = said(&computed);
    for expected in [
        "Ready=False StorageClassNotFound",
        "StorageHealthy=False StorageClassNotFound",
        "Stalled=True StorageClassNotFound",
    ] {
        assert!(said.iter().any(|said| said == expected), "{expected}: {said:?}");
    }
    assert_eq!(computed.status.caches_ready.as_deref(), Some("0/1"));
}

#[test]
fn no_local_region_is_ready_with_nothing_to_do() {
    let validated = Validated {
        skipped: vec![Skipped {
            name: "n".into(),
            region: "here".into(),
            hosts: vec!["upstream.example".into()],
            phase: SitePhase::NotLocal,
            message: "no node".into(),
            keep: false,
        }],
        ..Validated::default()
    };
    let computed = compute(&rc(&json!({})), &validated, &[], &nodes::View::default(), at(0));
    let said = said(&computed);
    assert!(said.contains(&"Ready=True NoLocalRegion".to_owned()), "{said:?}");
    assert!(
        said.contains(&"CachesAvailable=True NoLocalRegion".to_owned()),
        "{said:?}"
    );
    assert!(message(&computed, "Ready").contains("regions here"), "{computed:?}");
}

#[test]
fn paused_says_so_whether_all_is_well_or_not() {
    let (site, bound) = (site(), bound());
    let paused = rc(&json!({"paused": true}));
    for (ready, expected) in [
        (
            1,
            [
                "Ready=True Paused",
                "Reconciling=False AsDesired",
                "Stalled=False AsDesired",
            ],
        ),
        (
            0,
            [
                "Ready=False Paused",
                "Reconciling=False AsDesired",
                "Stalled=True Paused",
            ],
        ),
    ] {
        let deployment = deployment(ready);
        let views = [site_view(&site, &deployment, &bound)];
        let computed = compute(&paused, &with(vec![site.clone()]), &views, &nodes_ready(), at(0));
        let said = said(&computed);
        for expected in expected {
            assert!(said.iter().any(|said| said == expected), "{expected}: {said:?}");
        }
    }
}

#[test]
fn the_end_is_reconciling_until_the_nodes_have_let_go() {
    let computed = withdrawing(&rc(&json!({})), "nodes are letting go of cache c", at(0));
    assert_eq!(
        said(&computed),
        [
            "Ready=False Withdrawing",
            "Reconciling=True Withdrawing",
            "Stalled=False AsDesired"
        ]
    );
}
