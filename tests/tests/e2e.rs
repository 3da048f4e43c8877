//! Pulls by real kubelets on a real cluster, with regcache installed by its chart.
//!
//! One cluster for all, one test after another; each test makes the state that it needs (see `suite`), so that any of
//! them runs alone: `cargo test --test e2e -- NAME`. What happened is read from the caches' metrics, the registries'
//! logs and kubelet's events, never from the helper's word.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that looks where nothing is fails, as it should"
)]

#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/faulty_caches.rs"]
mod faulty_caches;
#[path = "e2e/files.rs"]
mod files;
#[path = "e2e/gateway_port.rs"]
mod gateway_port;
#[path = "e2e/helper.rs"]
mod helper;
#[path = "e2e/life.rs"]
mod life;
#[path = "e2e/outages.rs"]
mod outages;
#[path = "e2e/pulls.rs"]
mod pulls;
#[path = "e2e/suite.rs"]
mod suite;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};
use regcache_tests::bed::{interrupt, shell};
use suite::Suite;

type Test = fn(&mut Suite) -> anyhow::Result<()>;

/// In the order in which they run: what changes the whole installation comes last.
const TESTS: &[(&str, Test)] = &[
    (
        "nearest_cache_is_used_in_each_region",
        pulls::nearest_cache_is_used_in_each_region,
    ),
    (
        "second_node_of_a_region_costs_upstream_no_blob",
        pulls::second_node_of_a_region_costs_upstream_no_blob,
    ),
    (
        "two_registrycaches_share_one_helper_per_node",
        pulls::two_registrycaches_share_one_helper_per_node,
    ),
    (
        "engine_changes_under_pulls_and_both_serve",
        pulls::engine_changes_under_pulls,
    ),
    ("status_reads_well_and_settles", life::status_reads_well_and_settles),
    (
        "bad_objects_are_refused_with_the_fix",
        bad_input::bad_objects_are_refused_with_the_fix,
    ),
    ("bad_spec_harms_nothing_else", bad_input::bad_spec_harms_nothing_else),
    (
        "upstream_of_another_registrycache_is_refused",
        bad_input::upstream_of_another_registrycache_is_refused,
    ),
    (
        "node_without_config_path_is_named",
        bad_input::node_without_config_path_is_named,
    ),
    ("silent_cache_delays_the_first_pull_only", faulty_caches::silent),
    (
        "bodies_that_never_come_do_not_wedge_the_node",
        faulty_caches::headers_then_no_body,
    ),
    ("half_a_layer_then_stall_completes", faulty_caches::half_then_stall),
    ("half_a_layer_then_reset_completes", faulty_caches::half_then_reset),
    (
        "wrong_bytes_in_small_layers_go_unnoticed",
        faulty_caches::wrong_bytes_small,
    ),
    (
        "wrong_bytes_in_a_large_layer_cost_one_retry",
        faulty_caches::wrong_bytes_large,
    ),
    (
        "cache_killed_in_a_large_layer_completes",
        outages::cache_killed_in_a_large_layer,
    ),
    ("all_caches_gone_pulls_go_upstream", outages::all_caches_gone),
    ("operator_down_changes_nothing_for_pulls", outages::operator_down),
    (
        "outage_during_a_plan_change_restarts_no_helper",
        outages::outage_during_a_plan_change,
    ),
    ("helper_killed_costs_under_a_second", helper::killed),
    ("helper_frozen_costs_under_twelve_seconds", helper::frozen),
    ("helper_update_fails_no_pull", helper::updated_under_steady_pulls),
    ("node_power_cycle_pulls_before_the_helper_is_back", helper::power_cycle),
    (
        "taken_port_publishes_nothing_and_impostor_is_not_believed",
        gateway_port::taken_by_an_impostor,
    ),
    (
        "foreign_files_survive_install_update_and_uninstall",
        files::foreign_files_survive,
    ),
    ("kill_switch_lets_nodes_go_at_once", life::kill_switch),
    (
        "observe_and_disabled_write_nothing",
        life::observe_and_disabled_write_nothing,
    ),
    (
        "deleted_registrycache_leaves_nodes_clean_then_caches_go",
        life::deleted_registrycache,
    ),
    (
        "helm_uninstall_with_registrycaches_leaves_nodes_clean",
        life::helm_uninstall,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share a cluster.
    arguments.test_threads = Some(1);
    let root = shell::is_root();
    let suite: Arc<Mutex<Option<Suite>>> = Arc::default();
    let trials = TESTS.iter().map(|(name, test)| {
        let suite = Arc::clone(&suite);
        Trial::test(*name, move || run(&suite, name, *test)).with_ignored_flag(!root)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Some(suite) = suite.lock().ok().and_then(|mut suite| suite.take()) {
        suite.end(conclusion.has_failed());
    }
    conclusion.exit_code()
}

fn run(suite: &Mutex<Option<Suite>>, name: &str, test: Test) -> Result<(), Failed> {
    let mut guard = suite.lock().map_err(|_| "an earlier test panicked")?;
    let started = std::time::Instant::now();
    let result = (|| {
        interrupt::check()?;
        if guard.is_none() {
            *guard = Some(Suite::start()?);
        }
        let Some(suite) = guard.as_mut() else {
            anyhow::bail!("no cluster")
        };
        test(suite).inspect_err(|_| suite.keep_evidence(name))
    })();
    eprintln!("    {name}: {:.0} s", started.elapsed().as_secs_f64());
    result.map_err(|error| format!("{error:#}").into())
}
