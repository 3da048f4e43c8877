//! Phase 6: writes what was decided.
//!
//! A place's plan comes before its DaemonSet: a helper must find one. The other way round at the end: the plan is
//! emptied, then the helpers go (they withdraw on SIGTERM), and the plan goes when they have.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::Api;
use regcache_mirror::rank::Place;

use super::build::daemon_set::build_daemon_set;
use super::build::plan::build_plan;
use super::build::{self};
use super::decide::{Decision, Fate};
use super::gather::Inputs;
use super::validate::{Facts, PLACE};
use crate::apply::{self, apply, delete};
use crate::context::{Ctx, NODES_MANAGER};
use crate::error::{Class, Classify};

/// Something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan cannot be written as JSON: a defect of this program.
    #[error("cannot write the plan of {place}")]
    Plan {
        /// The name of the place.
        place: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The API server refused or could not be asked.
    #[error("cannot set up the nodes of {place}")]
    Write {
        /// The name of the place.
        place: String,
        /// Why.
        #[source]
        source: apply::Error,
    },
}

impl Classify for Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Plan { .. } => regcache_api::conditions::reasons::INVALID_SPEC,
            Self::Write { source, .. } => source.reason(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Plan { .. } => Class::Config,
            Self::Write { source, .. } => source.class(),
        }
    }
}

/// Writes all places; one that fails does not keep the others from what protects their pulls. The time is that until
/// the next look.
pub async fn write(
    ctx: &Ctx,
    inputs: &Inputs,
    facts: &Facts,
    decisions: &BTreeMap<Place, Decision>,
    now: Timestamp,
) -> Result<Option<Duration>, Error> {
    let writer = Writer {
        ctx,
        inputs,
        plans: Api::namespaced(ctx.client.clone(), &ctx.settings.nodes_namespace),
        daemon_sets: Api::namespaced(ctx.client.clone(), &ctx.settings.nodes_namespace),
    };
    let (mut first_error, mut look_again) = (None, None);
    for (place, decision) in decisions {
        let written = match decision.daemon_set {
            Fate::Applied => writer.set_up(place, decision).await.map(|()| None),
            Fate::Left => writer.protect(place, decision).await.map(|()| None),
            Fate::Removed => writer.take_down(place, decision, facts, now).await,
        };
        match written {
            Ok(later) => look_again = look_again.into_iter().chain(later).min(),
            Err(error) => {
                tracing::debug!(
                    place = build::name(place),
                    error = &error as &dyn std::error::Error,
                    "left for later"
                );
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(look_again), Err)
}

struct Writer<'a> {
    ctx: &'a Ctx,
    inputs: &'a Inputs,
    plans: Api<ConfigMap>,
    daemon_sets: Api<DaemonSet>,
}

impl Writer<'_> {
    async fn set_up(&self, place: &Place, decision: &Decision) -> Result<(), Error> {
        self.protect(place, decision).await?;
        let live = self.daemon_set(place);
        let desired = build_daemon_set(place, &self.ctx.settings);
        let applied = apply(&self.daemon_sets, live, desired, NODES_MANAGER).await;
        applied.map(|_| ()).map_err(|source| failed(place, source))
    }

    async fn protect(&self, place: &Place, decision: &Decision) -> Result<(), Error> {
        let desired = build_plan(place, &decision.rollout, &self.ctx.settings).map_err(|source| Error::Plan {
            place: build::name(place),
            source,
        })?;
        let applied = apply(&self.plans, self.plan(place), desired, NODES_MANAGER).await;
        let changed = applied.map_err(|source| failed(place, source))?.changed;
        if changed {
            let Decision {
                rollout,
                daemon_set: _,
                outcome,
            } = decision;
            let Place { region, zone } = place;
            tracing::info!(region, zone, percent = rollout.file.percent, ?outcome, "plan written");
        }
        Ok(())
    }

    async fn take_down(
        &self,
        place: &Place,
        decision: &Decision,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Option<Duration>, Error> {
        let plan = self.plan(place);
        if plan.is_some() {
            self.protect(place, decision).await?;
        }
        let daemon_set = self.daemon_set(place);
        if let Some(daemon_set) = daemon_set {
            delete(&self.daemon_sets, daemon_set)
                .await
                .map_err(|source| failed(place, source))?;
        }
        let Some(plan) = plan else { return Ok(None) };
        let name = build::name(place);
        let helpers = self
            .inputs
            .pods
            .iter()
            .any(|pod| pod.labels().get(PLACE) == Some(&name));
        let since = facts.rollouts.get(place).and_then(|before| before.changed_at);
        let passed = since
            .and_then(|since| Duration::try_from(now.duration_since(since)).ok())
            .unwrap_or_default();
        let left = self.ctx.settings.withdraw_grace.saturating_sub(passed);
        let emptied = facts
            .rollouts
            .get(place)
            .is_some_and(|before| before.file == decision.rollout.file);
        if daemon_set.is_some() || !emptied || helpers && !left.is_zero() {
            return Ok(Some(left.max(Duration::from_secs(1))));
        }
        delete(&self.plans, plan)
            .await
            .map_err(|source| failed(place, source))?;
        Ok(None)
    }

    fn plan(&self, place: &Place) -> Option<&ConfigMap> {
        let name = build::name(place);
        self.inputs.plans.iter().find(|plan| plan.name_any() == name)
    }

    fn daemon_set(&self, place: &Place) -> Option<&DaemonSet> {
        let name = build::name(place);
        self.inputs.daemon_sets.iter().find(|set| set.name_any() == name)
    }
}

fn failed(place: &Place, source: apply::Error) -> Error {
    Error::Write {
        place: build::name(place),
        source,
    }
}
