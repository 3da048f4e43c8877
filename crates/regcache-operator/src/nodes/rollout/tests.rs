//! How plans get on, step by step, and what never happens on the way.

use std::collections::BTreeMap;

use super::turn::{self, Waiting};
use super::*;
use crate::nodes::validate::Cache;
use proptest::prelude::*;
use regcache_mirror::plan::{CacheRef, Mode, UpstreamPlan};
use regcache_mirror::rank::Place;

const SOAK: i64 = 60;
const PACE: Pace = Pace {
    canary_percent: 10,
    soak: Duration::from_secs(60),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn cache(name: &str) -> CacheRef {
    CacheRef {
        name: name.into(),
        url: format!("http://{name}:5000"),
        region: "r".into(),
        ns: false,
        probe: false,
    }
}

/// A plan of upstreams with caches.
fn plan(upstreams: &[(&str, &[&str])]) -> Plan {
    let entry = |(host, caches): &(&str, &[&str])| UpstreamPlan {
        host: (*host).into(),
        server: format!("https://{host}"),
        mode: Mode::Enforce,
        caches: caches.iter().map(|name| cache(name)).collect(),
    };
    Plan {
        upstreams: upstreams.iter().map(entry).collect(),
    }
}

fn stable(plan: Plan) -> Rollout {
    Rollout {
        file: PlanFile {
            stable: plan,
            ..PlanFile::default()
        },
        changed_at: Some(at(0)),
        ..Rollout::default()
    }
}

fn trying(stable: Plan, canary: Plan, percent: u8, since: i64) -> Rollout {
    let file = PlanFile {
        stable,
        canary: Some(canary),
        percent,
    };
    Rollout {
        file,
        changed_at: Some(at(since)),
        canary_since: Some(at(since)),
        failed_at: None,
    }
}

fn good(current: &Rollout, target: &Plan, now: i64) -> Step {
    step(current, target, &Health::Good, true, PACE, at(now))
}

fn bad(current: &Rollout, target: &Plan, now: i64) -> Step {
    step(current, target, &Health::Bad("sick".into()), true, PACE, at(now))
}

#[test]
fn a_new_plan_is_tried_by_some_then_by_all_and_then_stable() {
    let target = plan(&[("a", &["x"])]);
    let first = good(&Rollout::default(), &target, 0);
    assert_eq!(first.next, trying(Plan::default(), target.clone(), 10, 0));
    assert_eq!(first.look_again, Some(PACE.soak));
    let early = good(&first.next, &target, SOAK - 1);
    assert_eq!(
        (&early.next, early.look_again),
        (&first.next, Some(Duration::from_secs(1)))
    );
    let second = good(&first.next, &target, SOAK);
    assert_eq!(second.next, trying(Plan::default(), target.clone(), 100, SOAK));
    let third = good(&second.next, &target, 2 * SOAK);
    assert_eq!(
        third.next,
        Rollout {
            changed_at: Some(at(2 * SOAK)),
            ..stable(target.clone())
        }
    );
    assert_eq!((third.look_again, third.outcome), (None, Outcome::Settled));
}

#[test]
fn a_settled_rollout_writes_nothing() {
    let target = plan(&[("a", &["x"])]);
    let settled = stable(target.clone());
    for health in [Health::Good, Health::Bad("outage".into())] {
        for turn in [true, false] {
            assert_eq!(step(&settled, &target, &health, turn, PACE, at(9)).next, settled);
        }
    }
}

#[test]
fn what_goes_goes_at_once_from_both_plans_and_without_a_turn() {
    let before = trying(
        plan(&[("a", &["x", "y"]), ("b", &["z"])]),
        plan(&[("a", &["x", "y"]), ("c", &["w"])]),
        10,
        0,
    );
    let target = plan(&[("a", &["y"]), ("c", &["w"])]);
    let after = step(&before, &target, &Health::Good, false, PACE, at(5)).next;
    assert_eq!(after.file.stable, plan(&[("a", &["y"])]));
    assert_eq!(after.file.canary, Some(target));
    assert_eq!(after.changed_at, Some(at(5)));
    let killed = step(
        &before,
        &Plan::default(),
        &Health::Bad("sick".into()),
        false,
        PACE,
        at(5),
    )
    .next;
    assert_eq!(
        killed,
        Rollout {
            changed_at: Some(at(5)),
            ..Rollout::default()
        }
    );
}

#[test]
fn an_address_changes_at_once_and_so_does_the_end_of_writing() {
    let mut target = plan(&[("a", &["x"])]);
    target.upstreams[0].caches[0].url = "http://new:5000".into();
    target.upstreams[0].mode = Mode::Observe;
    let after = step(
        &stable(plan(&[("a", &["x"])])),
        &target,
        &Health::Good,
        false,
        PACE,
        at(5),
    );
    assert_eq!((after.next.file.stable, after.outcome), (target, Outcome::Settled));
}

#[test]
fn a_plan_that_does_harm_is_taken_back_and_tried_again_much_later() {
    let (old, target) = (plan(&[("a", &["x"])]), plan(&[("a", &["x"]), ("b", &["y"])]));
    let back = bad(&trying(old.clone(), target.clone(), 10, 0), &target, 7);
    assert_eq!((back.next.file.percent, back.next.failed_at), (0, Some(at(7))));
    assert_eq!(back.outcome, Outcome::TakenBack("sick".into()));
    assert_eq!(good(&back.next, &target, 8).next, back.next, "not yet");
    assert_eq!(bad(&back.next, &target, 7 + 5 * SOAK).next, back.next, "still sick");
    assert_eq!(
        good(&back.next, &target, 7 + 5 * SOAK).next,
        trying(old.clone(), target, 10, 7 + 5 * SOAK)
    );
    let other = plan(&[("a", &["x"]), ("c", &["y"])]);
    assert_eq!(
        good(&back.next, &other, 8).next,
        trying(old, other, 10, 8),
        "another plan need not wait"
    );
}

#[test]
fn harm_at_all_nodes_takes_it_back_from_all() {
    let (old, target) = (plan(&[("a", &["x"])]), plan(&[("a", &["x"]), ("b", &["y"])]));
    let back = bad(&trying(old.clone(), target.clone(), 100, 0), &target, SOAK);
    assert_eq!((back.next.file.stable, back.next.file.percent), (old, 0));
}

#[test]
fn uncertainty_waits_without_going_back() {
    let target = plan(&[("a", &["x"])]);
    let current = trying(Plan::default(), target.clone(), 10, 0);
    let step = step(
        &current,
        &target,
        &Health::Waiting("not ready".into()),
        true,
        PACE,
        at(10 * SOAK),
    );
    assert_eq!((step.next, step.outcome), (current, Outcome::Trying));
}

#[test]
fn a_newer_target_starts_anew_and_keeps_what_all_nodes_have() {
    let (one, two) = (plan(&[("a", &["x"])]), plan(&[("a", &["x"]), ("b", &["y"])]));
    assert_eq!(
        good(&trying(Plan::default(), one.clone(), 10, 0), &two, 30).next,
        trying(Plan::default(), two.clone(), 10, 30)
    );
    assert_eq!(
        good(&trying(Plan::default(), one.clone(), 100, 0), &two, 30).next,
        trying(one, two, 10, 30)
    );
}

#[test]
fn times_of_another_clock_do_not_hurry_anything() {
    let target = plan(&[("a", &["x"])]);
    let current = trying(Plan::default(), target.clone(), 10, 999_999);
    assert_eq!(good(&current, &target, 0).next, current);
}

fn helper(node: &str, ready: bool, since: i64) -> Helper {
    Helper {
        node: node.into(),
        node_ready: true,
        leaving: false,
        ready,
        since: Some(at(since)),
    }
}

#[test]
fn only_helpers_that_the_plan_may_have_harmed_count() {
    let target = plan(&[("a", &["x"])]);
    let up: BTreeMap<String, Cache> = [(
        "x".to_owned(),
        Cache {
            available: true,
            ..Cache::default()
        },
    )]
    .into();
    let all = trying(Plan::default(), target.clone(), 100, 100);
    let none = trying(Plan::default(), target.clone(), 0, 100);
    let dead_node = Helper {
        node_ready: false,
        ..helper("n", false, 101)
    };
    let leaving = Helper {
        leaving: true,
        ..helper("n", false, 101)
    };
    let judge = |rollout: &Rollout, helpers: &[Helper], now: i64| match health::judge(
        rollout,
        &target,
        helpers,
        &up,
        at(now),
    ) {
        Health::Good => "good",
        Health::Waiting(_) => "waiting",
        Health::Bad(_) => "bad",
    };
    let fine = helper("f", true, 0);
    for (name, rollout, helpers, wanted) in [
        ("all are well", &all, vec![fine.clone()], "good"),
        ("nobody is there", &all, vec![], "good"),
        (
            "it fell just now",
            &all,
            vec![fine.clone(), helper("n", false, 180)],
            "waiting",
        ),
        (
            "it fell and stayed down",
            &all,
            vec![fine.clone(), helper("n", false, 101)],
            "bad",
        ),
        (
            "it was down before",
            &all,
            vec![fine.clone(), helper("n", false, 99)],
            "good",
        ),
        ("all were down before", &all, vec![helper("n", false, 99)], "waiting"),
        (
            "it does not follow",
            &none,
            vec![fine.clone(), helper("n", false, 101)],
            "good",
        ),
        ("its node is down", &all, vec![fine.clone(), dead_node], "good"),
        ("it is being replaced", &all, vec![fine, leaving], "good"),
    ] {
        assert_eq!(judge(rollout, &helpers, 200), wanted, "{name}");
    }
    assert!(
        matches!(health::judge(&all, &target, &[], &BTreeMap::new(), at(200)), Health::Bad(why) if why.contains('x'))
    );
}

proptest! {
    /// Any history of targets, health and time: shares grow only after a soak, regions never roll out together, what
    /// is not wanted is nowhere.
    #[test]
    fn promises_hold_in_every_history(
        events in proptest::collection::vec((0_usize..4, 0_usize..3, any::<bool>(), 1_i64..90), 1..60)
    ) {
        let plans = [
            Plan::default(),
            plan(&[("a", &["x"])]),
            plan(&[("a", &["x"]), ("b", &["y"])]),
            plan(&[("b", &["z"])]),
        ];
        let places = ["r1/a", "r1/b", "r2/a"].map(|text| {
            let (region, zone) = text.split_once('/').unwrap();
            Place { region: region.into(), zone: zone.into() }
        });
        let mut rollouts: BTreeMap<&Place, Rollout> = places.iter().map(|place| (place, Rollout::default())).collect();
        let mut targets: BTreeMap<&Place, &Plan> = places.iter().map(|place| (place, &plans[0])).collect();
        let mut now = 0;
        for (which_plan, which_place, is_good, pause) in events {
            now += pause;
            targets.insert(&places[which_place], &plans[which_plan]);
            let health = if is_good { Health::Good } else { Health::Bad("sick".into()) };
            let waiting = rollouts
                .iter()
                .map(|(place, rollout)| (*place, Waiting { rollout, target: targets[place], startable: is_good }))
                .collect();
            let region = turn::region(&waiting).map(str::to_owned);
            for (place, rollout) in &mut rollouts {
                let turn = region.as_deref() == Some(place.region.as_str());
                let target = targets[place];
                let after = step(rollout, target, &health, turn, PACE, at(now)).next;
                let new_canary = after.file.canary != rollout.file.canary;
                let before = if new_canary { 0 } else { rollout.file.percent };
                if after.file.percent > before && before > 0 || after.file.percent > 10 && before == 0 && new_canary && rollout.file.percent < 100 {
                    let since = rollout.canary_since.unwrap();
                    prop_assert!(at(now).duration_since(since).as_secs() >= SOAK, "{rollout:?} -> {after:?}");
                }
                for plan in [Some(&after.file.stable), after.file.canary.as_ref()].into_iter().flatten() {
                    for entry in &plan.upstreams {
                        let wanted = target.upstream(&entry.host);
                        prop_assert!(wanted.is_some(), "{} is not wanted", entry.host);
                        prop_assert!(entry.caches.iter().all(|cache| wanted.unwrap().caches.contains(cache)));
                    }
                }
                prop_assert_eq!(after.file != rollout.file, after.changed_at != rollout.changed_at);
                *rollout = after;
            }
            let busy: std::collections::BTreeSet<&str> = rollouts
                .iter()
                .filter(|(_, rollout)| rollout.file.percent > 0)
                .map(|(place, _)| place.region.as_str())
                .collect();
            prop_assert!(busy.len() <= 1, "{busy:?} at once");
        }
        // Left alone and in good health, everything arrives.
        for _ in 0..40 {
            now += 6 * SOAK;
            let waiting = rollouts
                .iter()
                .map(|(place, rollout)| (*place, Waiting { rollout, target: targets[place], startable: true }))
                .collect();
            let region = turn::region(&waiting).map(str::to_owned);
            for (place, rollout) in &mut rollouts {
                let turn = region.as_deref() == Some(place.region.as_str());
                *rollout = step(rollout, targets[place], &Health::Good, turn, PACE, at(now)).next;
            }
        }
        for (place, rollout) in &rollouts {
            prop_assert_eq!(&rollout.file, &PlanFile { stable: targets[place].clone(), canary: None, percent: 0 });
        }
    }
}
