//! Whatever goes, goes in the order that protects pulls: plans first, then caches, the finalizer last.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use regcache_api::Engine::{self, Builtin, Distribution};
use regcache_api::{RegistryCache, names};
use regcache_mirror::plan::PlanFile;
use regcache_tests::fake_api::Action;
use rstest::rstest;

use crate::world::{NODES, STEP, SYSTEM, World, assert_same};

/// Where the first and the last of the actions is that are meant.
fn span(actions: &[Action], meant: impl Fn(&Action) -> bool) -> (usize, usize) {
    let first = actions.iter().position(&meant).expect("it never happened");
    let last = actions.iter().rposition(&meant).expect("it never happened");
    (first, last)
}

#[rstest]
#[tokio::test]
async fn nodes_let_go_before_caches_go_and_the_finalizer_goes_last(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    let mark = world.api.mark();
    world.api.delete::<RegistryCache>("", "main");
    world.settle().await;
    let writes = world.api.writes_since(mark);
    let plans = span(&writes, |action| {
        action.is("patch", "configmaps") && action.namespace == NODES
    });
    let helpers = span(&writes, |action| action.is("delete", "daemonsets"));
    let caches = span(&writes, |action| action.verb == "delete" && action.namespace == SYSTEM);
    let finalizer = span(&writes, |action| {
        action.is("patch", "registrycaches") && action.subresource.is_empty()
    });
    let log: Vec<String> = writes.iter().map(ToString::to_string).collect();
    assert!(plans.0 < helpers.0, "a plan is emptied before its helpers go: {log:#?}");
    assert!(
        plans.1 < caches.0 && helpers.1 < caches.0,
        "nodes before caches: {log:#?}"
    );
    assert!(caches.1 < finalizer.0, "the finalizer last: {log:#?}");
    assert_eq!(finalizer.0, finalizer.1);
    assert_eq!(world.api.all::<RegistryCache>().len(), 0);
    assert_eq!(world.api.all::<Deployment>().len(), 0);
    assert_eq!(world.api.all::<Service>().len(), 0);
    assert_eq!(world.api.all::<DaemonSet>().len(), 0);
    assert_eq!(world.api.all::<ConfigMap>().len(), 0);
    assert_eq!(world.api.all::<Pod>().len(), 0);
    assert_eq!(
        world.api.all::<PersistentVolumeClaim>().len(),
        2,
        "what was fetched is kept"
    );
}

#[rstest]
#[tokio::test]
async fn a_registry_cache_that_comes_back_takes_its_volumes_again(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    let before = world.snapshot();
    world.api.delete::<RegistryCache>("", "main");
    world.settle().await;
    world.put("main", &["docker.io"], &["r1", "r2"]);
    world.settle().await;
    assert_same(&world.snapshot(), &before, "as before");
}

#[tokio::test]
async fn a_dropped_upstream_leaves_the_plans_at_once_and_its_caches_after_the_grace() {
    let world = World::new(Distribution);
    world.put("main", &["docker.io", "ghcr.io"], &["r1"]);
    world.settle().await;
    let name = names::site("main", "r1", "ghcr.io");
    world.put("main", &["docker.io"], &["r1"]);
    world.run(&world.operator()).await;
    assert_eq!(world.upstreams("r1"), ["docker.io"]);
    world.wait(179);
    world.run(&world.operator()).await;
    assert!(
        world.api.get::<Deployment>(SYSTEM, &name).is_some(),
        "helpers may not have read the plan yet"
    );
    world.wait(1);
    world.run(&world.operator()).await;
    assert!(world.api.get::<Deployment>(SYSTEM, &name).is_none());
    world.settle().await;
    assert!(
        world
            .api
            .get::<Deployment>(SYSTEM, &names::site("main", "r1", "docker.io"))
            .is_some()
    );
}

#[rstest]
#[tokio::test]
async fn a_dropped_region_loses_plan_then_helpers_then_cache(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    world.put("main", &["docker.io"], &["r1"]);
    let mark = world.api.mark();
    world.run(&world.operator()).await;
    let place = names::place("r2", Some("r2-a"));
    assert_eq!(world.plan("r2"), PlanFile::default(), "emptied first");
    assert!(world.api.get::<DaemonSet>(NODES, &place).is_none());
    let deletes = |world: &World| {
        let writes = world.api.writes_since(mark).into_iter();
        writes
            .filter(|action| action.verb == "delete")
            .map(|action| action.resource)
            .collect::<Vec<_>>()
    };
    assert_eq!(deletes(&world), ["daemonsets"], "nothing else while helpers end");
    world.settle().await;
    assert_eq!(world.find_plan("r2"), None);
    assert_eq!(world.api.all::<Deployment>().len(), 1);
    assert_eq!(world.upstreams("r1"), ["docker.io"]);
}

#[rstest]
#[tokio::test]
async fn helpers_that_never_end_hold_a_plan_only_for_the_grace(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    world.api.delete::<RegistryCache>("", "main");
    // The nodes are gone and nobody tells: no garbage is collected, the pods stay.
    for _ in 0..10 {
        world.run(&world.operator()).await;
        world.wait(STEP);
    }
    assert_eq!(world.find_plan("r1"), None);
    assert_eq!(world.api.all::<Pod>().len(), 4);
}

#[rstest]
#[tokio::test]
async fn deletion_does_not_need_a_spec_that_works(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.settle().await;
    world.edit("main", |one| {
        one.spec.paused = Some(true);
        one.spec.regions.clear();
        one.spec.upstreams.clear();
    });
    world.api.delete::<RegistryCache>("", "main");
    world.settle().await;
    assert_eq!(world.api.all::<RegistryCache>().len(), 0);
    assert_eq!(world.api.all::<Deployment>().len(), 0);
}
