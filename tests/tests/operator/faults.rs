//! Every request may fail, in every way, at every time: in the end all is as if nothing had happened.

use std::collections::BTreeMap;

use regcache_api::Engine::{self, Builtin, Distribution};
use regcache_api::RegistryCache;
use regcache_tests::fake_api::Fault;
use rstest::rstest;
use serde_json::Value;

use crate::world::{World, assert_same};

/// One turn; true when the cluster is as in `wanted` and nobody writes any more.
async fn turn(world: &World, wanted: &[(String, Value)]) -> bool {
    let mark = world.api.mark();
    let errors = world.turn(&world.operator()).await;
    errors.is_empty() && world.api.writes_since(mark).is_empty() && world.snapshot() == wanted
}

async fn arrives(world: &World, wanted: &[(String, Value)], what: &str) {
    for _ in 0..60 {
        if turn(world, wanted).await {
            return;
        }
    }
    assert_same(&world.snapshot(), wanted, what);
    panic!("{what}: it is as it should be, but never silent");
}

/// Follows `world` to its end and fails, on the way, each request once in each way; of the lists that every turn makes
/// anew the first of a kind, and the second (the other controller's) in one way. Each failure is a future of its own.
async fn every_request(world: World, wanted: &[(String, Value)], reads: bool) {
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    let mut tried = 0;
    loop {
        let past = world.fork();
        let start = world.api.mark();
        if turn(&world, wanted).await {
            break;
        }
        for (number, action) in world.api.actions_since(start).iter().enumerate() {
            let times = alike.entry(action.to_string()).or_default();
            *times += 1;
            let faults: Vec<Fault> = match *times {
                _ if action.write => Fault::ALL.into(),
                _ if !reads => Vec::new(),
                // A lost answer to a question is a question never asked.
                1 => Fault::ALL
                    .into_iter()
                    .filter(|fault| *fault != Fault::LostReply)
                    .collect(),
                2 => vec![Fault::Internal],
                _ => Vec::new(),
            };
            for fault in faults {
                let future = past.fork();
                future.api.fail_number(number as u64, fault);
                arrives(&future, wanted, &format!("{fault:?} at {action}")).await;
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried} failures tried");
}

async fn end_of(world: &World) -> Vec<(String, Value)> {
    let calm = world.fork();
    calm.settle().await;
    calm.snapshot()
}

#[rstest]
#[tokio::test]
async fn every_failed_request_on_the_way_there_is_made_up_for(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::new(engine);
    world.put("main", &["docker.io"], &["r1"]);
    let wanted = end_of(&world).await;
    every_request(world, &wanted, true).await;
}

#[rstest]
#[tokio::test]
async fn every_failed_request_of_a_deletion_is_made_up_for(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::new(engine);
    world.put("main", &["docker.io"], &["r1"]);
    world.settle().await;
    world.api.delete::<RegistryCache>("", "main");
    let wanted = end_of(&world).await;
    every_request(world, &wanted, true).await;
}

#[rstest]
#[tokio::test]
async fn every_failed_write_of_a_change_is_made_up_for(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::new(engine);
    world.put("main", &["docker.io"], &["r1"]);
    world.settle().await;
    world.put("main", &["ghcr.io"], &["r1"]);
    let wanted = end_of(&world).await;
    every_request(world, &wanted, false).await;
}

#[rstest]
#[case::to_ours(Distribution, Builtin)]
#[case::and_back(Builtin, Distribution)]
#[tokio::test]
async fn every_failed_write_of_a_change_of_the_engine_is_made_up_for(#[case] old: Engine, #[case] new: Engine) {
    let mut world = World::new(old);
    world.put("main", &["docker.io"], &["r1"]);
    world.settle().await;
    world.engine = new;
    world.put("main", &["docker.io"], &["r1"]);
    let wanted = end_of(&world).await;
    every_request(world, &wanted, false).await;
}

#[rstest]
#[tokio::test]
async fn a_kind_that_is_refused_for_long_stops_only_what_needs_it(#[values(Builtin, Distribution)] engine: Engine) {
    let world = World::with_one(engine);
    world.api.fail_every("patch", "daemonsets", Fault::Forbidden);
    for _ in 0..10 {
        world.turn(&world.operator()).await;
    }
    for region in ["r1", "r2"] {
        assert!(
            world.find_plan(region).is_some(),
            "one place that fails does not keep the other from its plan"
        );
    }
    world.api.heal();
    world.settle().await;
    assert_eq!(world.condition("main", "Ready").0, "True");
}
