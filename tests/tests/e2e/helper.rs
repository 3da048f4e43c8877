//! Helpers that are killed, frozen, updated, and nodes that lose power.

use std::time::Duration;

use anyhow::{Result, ensure};
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::{PodRequest, wait_for};
use rustix::process::Signal;

use crate::suite::{KIB, MIB, NODES, NODES_WITH_MIRROR, PATIENCE, Suite, meanwhile};

pub fn killed(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.healthy_seconds()?;
    for round in 1..=2 {
        suite.wait_helper(1, true)?;
        let image = suite.push(&[64 * KIB, 2 * MIB])?;
        suite.node(1).signal_container_processes(NODES, Signal::KILL)?;
        ensure!(
            suite.is_published(1, "images.test"),
            "a killed helper cannot have removed its file"
        );
        let seconds = suite.pull(1, &image.name)?;
        suite.check_delay(&format!("pull after kill {round}"), seconds, 1.0)?;
    }
    suite.wait_helper(1, true)?;
    Ok(())
}

pub fn frozen(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.healthy_seconds()?;
    suite.wait_helper(2, true)?;
    let image = suite.push(&[64 * KIB, 2 * MIB])?;
    suite.node(2).signal_container_processes(NODES, Signal::STOP)?;
    let seconds = suite.pull(2, &image.name)?;
    suite.check_delay("pull through a frozen helper", seconds, 12.0)?;
    // The kubelet has killed it, and the next one works.
    suite.wait_helper(2, true)?;
    suite.wait_published("images.test", &[2])
}

pub fn updated_under_steady_pulls(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    // Takes a moment: `--wait` of helm is for the operator, which then changes the helpers.
    suite.helm_upgrade_without_waiting("next")?;
    let mut turn = 0;
    let cluster = suite.cluster.work().to_owned();
    let rounds = {
        let suite = std::cell::RefCell::new(&mut *suite);
        meanwhile(
            Duration::from_secs(240),
            || {
                let node = NODES_WITH_MIRROR[turn % NODES_WITH_MIRROR.len()];
                turn += 1;
                let mut suite = suite.borrow_mut();
                let image = suite.push(&[64 * KIB, 1200 * KIB])?;
                suite.pull(node, &image.name).map(drop)
            },
            || suite.borrow().are_helpers_updated("next"),
        )?
    };
    ensure!(
        rounds > 2,
        "only {rounds} pulls during the update of {}",
        cluster.display()
    );
    suite.wait_published("images.test", &NODES_WITH_MIRROR)?;
    suite.installed()
}

pub fn power_cycle(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    let image = suite.push(&[64 * KIB, MIB])?;
    let node = suite.node(4);
    node.power_off()?;
    ensure!(
        suite.is_published(4, "images.test"),
        "the file should have survived the power cut"
    );
    let mut pod = PodRequest::new(&suite.fresh("pull"), "n4", &image.name);
    pod.timeout = PATIENCE;
    suite.cluster.start_pull(&pod)?;
    node.power_on()?;
    let result = suite.cluster.finish_pull(&pod)?;
    suite.cluster.kubectl(&["delete", "pod", &pod.name, "--wait=false"])?;
    ensure!(
        result.failed_attempts == 0,
        "the first pull after the power cut failed: {:?}",
        result.failures
    );
    suite.cluster.wait_nodes_ready()?;
    wait_for("n4 to pull through its helper again", PATIENCE, || {
        suite.wait_helper(4, true)?;
        Ok(if suite.is_published(4, "images.test") {
            Look::Done(())
        } else {
            Look::NotYet("no file".into())
        })
    })
}
