//! One run for one RegistryCache: the phases in their order.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use regcache_api::RegistryCache;
use regcache_api::conditions::reasons;

use super::apply::Outcome;
use super::build::{Applied, Children};
use super::gather::{Inputs, gather};
use super::status::site::SiteView;
use super::status::{self, Finding, nodes, write};
use super::validate::{Validated, validate};
use super::{NAME, apply, build, engine, finalizer, gather as gathering, withdraw};
use crate::context::Ctx;
use crate::error::{Class, Classify};
use crate::{apply as shared, resolve};

/// After this time a settled object is looked at again: no watch is perfect.
const RESYNC: Duration = Duration::from_secs(600);
/// After this time a missing StorageClass is looked for again: they are not watched.
const CLASS_AGAIN: Duration = Duration::from_secs(60);
/// After this time it is looked whether deleted children are gone, should no watch tell.
const REMOVED: Duration = Duration::from_secs(5);

/// Which phase failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is none that this version can read.
    #[error("cannot read the RegistryCache: {0}")]
    Invalid(String),
    /// The run did not end in time.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// Looking around failed.
    #[error("cannot look around")]
    Gather(#[source] gathering::Error),
    /// The finalizer could not be set or removed.
    #[error("cannot change the finalizer")]
    Finalizer(#[source] kube::Error),
    /// A child could not be built.
    #[error("cannot build the caches")]
    Build(#[source] engine::Error),
    /// A child could not be applied.
    #[error("cannot apply the caches")]
    Apply(#[source] shared::Error),
    /// A child could not be removed.
    #[error("cannot remove a cache")]
    Remove(#[source] shared::Error),
    /// The status could not be read or written.
    #[error("cannot write the status")]
    Status(#[source] kube::Error),
}

impl Classify for Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Build(_) => reasons::INVALID_SPEC,
            Self::TimedOut => reasons::API_ERROR,
            Self::Gather(error) => error.reason(),
            Self::Finalizer(error) | Self::Status(error) => error.reason(),
            Self::Apply(error) | Self::Remove(error) => error.reason(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Invalid(_) | Self::Build(_) => Class::Config,
            Self::TimedOut => Class::Transient,
            Self::Gather(error) => error.class(),
            Self::Finalizer(error) | Self::Status(error) => error.class(),
            Self::Apply(error) | Self::Remove(error) => error.class(),
        }
    }
}

/// One run. A settled object costs lists and no write.
pub async fn reconcile(registry_cache: Arc<DeserializeGuard<RegistryCache>>, ctx: Arc<Ctx>) -> Result<Action, Error> {
    let name = registry_cache.name_any();
    let run = async {
        match &registry_cache.0 {
            _ if registry_cache.meta().deletion_timestamp.is_some() => delete(&registry_cache, &ctx).await,
            Ok(readable) => keep(readable, &ctx).await,
            Err(invalid) => refuse(invalid, &ctx).await,
        }
    };
    Box::pin(ctx.observe(NAME, &name, || Error::TimedOut, run)).await
}

/// The object is to be there.
async fn keep(registry_cache: &RegistryCache, ctx: &Ctx) -> Result<Action, Error> {
    let inputs = match Box::pin(gather(&registry_cache.name_any(), ctx)).await {
        Ok(inputs) => inputs,
        Err(error) => {
            let error = Error::Gather(error);
            // A missing permission is for people; anything else passes, and they would only see it flicker.
            if error.class() == Class::Denied {
                let (old, meta) = (registry_cache.status.clone(), &registry_cache.metadata);
                let finding = Finding::stalled(error.reason(), error.words());
                let new = status::broken(old.clone(), meta.generation, &finding, ctx.now());
                write::write(meta, old.as_ref(), &new, ctx)
                    .await
                    .map_err(Error::Status)?;
            }
            return Err(error);
        }
    };
    let validated = validate(registry_cache, &inputs, &ctx.settings);
    let (outcome, waiting) = if resolve::is_paused(registry_cache) {
        (None, withdraw::Waiting::default())
    } else {
        let outcome = make(registry_cache, &validated, &inputs, ctx).await?;
        // An empty list of nodes is a sign of trouble, not a reason to remove anything.
        let waiting = if inputs.nodes == 0 {
            Ok(withdraw::Waiting::default())
        } else {
            withdraw::remove(&inputs.children, &validated.wanted(), &inputs.rollout, ctx).await
        };
        (Some(outcome), waiting.map_err(Error::Remove)?)
    };
    tell(registry_cache, &validated, &inputs, outcome.as_ref(), ctx).await?;
    if let Some(error) = outcome.and_then(|outcome| outcome.failures.into_values().next()) {
        return Err(Error::Apply(error));
    }
    Ok(Action::requeue(next_look(&validated, &waiting, ctx.now())))
}

/// The finalizer before the first child, then the children.
async fn make(
    registry_cache: &RegistryCache,
    validated: &Validated,
    inputs: &Inputs,
    ctx: &Ctx,
) -> Result<Outcome, Error> {
    let children =
        build::build(&validated.sites, &inputs.children, &ctx.settings.namespace, ctx.now()).map_err(Error::Build)?;
    if !children.sites.is_empty() {
        finalizer::set(&registry_cache.metadata, ctx)
            .await
            .map_err(Error::Finalizer)?;
    }
    Ok(apply::run(children, &inputs.children, ctx).await)
}

/// Status of what was applied; of a paused object, of what is there.
async fn tell(
    registry_cache: &RegistryCache,
    validated: &Validated,
    inputs: &Inputs,
    outcome: Option<&Outcome>,
    ctx: &Ctx,
) -> Result<(), Error> {
    let views: Vec<SiteView<'_>> = validated
        .sites
        .iter()
        .map(|site| {
            let applied = outcome.and_then(|outcome| applied(&outcome.children, &site.name));
            let (live, name) = (&inputs.children, &site.name);
            SiteView {
                site,
                namespace: &ctx.settings.namespace,
                service: applied.map(|all| &all.service).or_else(|| live.services.get(name)),
                volume: applied.map(|all| &all.volume).or_else(|| live.volumes.get(name)),
                deployment: applied
                    .map(|all| &all.deployment)
                    .or_else(|| live.deployments.get(name)),
                pods: &live.pods,
                refused: outcome.and_then(|outcome| outcome.refused.get(name)),
                failure: outcome.and_then(|outcome| failure(outcome, name)),
            }
        })
        .collect();
    let nodes = nodes::view(
        registry_cache,
        validated,
        &inputs.rollout,
        &ctx.settings.nodes_namespace,
    );
    let new = status::compute(registry_cache, validated, &views, &nodes, ctx.now());
    write::write(&registry_cache.metadata, registry_cache.status.as_ref(), &new, ctx)
        .await
        .map_err(Error::Status)
}

fn applied<'a>(children: &'a Children<Applied>, name: &str) -> Option<&'a build::SiteChildren> {
    children
        .sites
        .iter()
        .find(|site| site.deployment.metadata.name.as_deref() == Some(name))
}

fn failure(outcome: &Outcome, name: &str) -> Option<Finding> {
    let error = outcome.failures.get(name)?;
    let message = format!("cache {name}: {}", error.words());
    Some(match error.class() {
        Class::Denied | Class::Config => Finding::stalled(error.reason(), message),
        Class::Conflict | Class::Transient => Finding::progress(error.reason(), message),
    })
}

fn next_look(validated: &Validated, waiting: &withdraw::Waiting, now: Timestamp) -> Duration {
    let classes = validated
        .problems
        .iter()
        .any(|problem| problem.reason == reasons::STORAGE_CLASS_NOT_FOUND);
    let settled = if classes { CLASS_AGAIN } else { RESYNC };
    waiting.until.map_or(settled, |until| settled.min(time_to(until, now)))
}

/// At least a second: a clock that lags behind must not make a busy loop.
fn time_to(until: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    left.max(Duration::from_secs(1))
}

/// The object is being deleted: nodes let go first, then the caches go, then the finalizer. Needs nothing of the spec.
async fn delete(registry_cache: &DeserializeGuard<RegistryCache>, ctx: &Ctx) -> Result<Action, Error> {
    let meta = registry_cache.meta();
    if !finalizer::is_set(meta) {
        return Ok(Action::await_change());
    }
    let inputs = Box::pin(gather(&registry_cache.name_any(), ctx))
        .await
        .map_err(Error::Gather)?;
    let waiting = withdraw::remove(&inputs.children, &[].into(), &inputs.rollout, ctx)
        .await
        .map_err(Error::Remove)?;
    let Some(message) = &waiting.message else {
        // Only a list that shows no child any more is believed, not the answers to the deletions: what is left behind
        // now is left for ever.
        if !inputs.children.sites().is_empty() {
            return Ok(Action::requeue(REMOVED));
        }
        finalizer::remove(meta, ctx).await.map_err(Error::Finalizer)?;
        return Ok(Action::await_change());
    };
    if let Ok(readable) = &registry_cache.0 {
        let new = status::withdrawing(readable, message, ctx.now());
        write::write(meta, readable.status.as_ref(), &new, ctx)
            .await
            .map_err(Error::Status)?;
    }
    Ok(Action::requeue(
        waiting
            .until
            .map_or(RESYNC, |until| RESYNC.min(time_to(until, ctx.now()))),
    ))
}

/// The object cannot be read: what runs goes on running, and the status says why.
async fn refuse(invalid: &InvalidObject, ctx: &Ctx) -> Result<Action, Error> {
    let meta = &invalid.metadata;
    let error = Error::Invalid(invalid.error.clone());
    let name = meta.name.clone().unwrap_or_default();
    let old = write::stored(&name, ctx).await.map_err(Error::Status)?;
    let message = format!("{error}; was it written for another version of regcache?");
    let finding = Finding::stalled(error.reason(), message);
    let new = status::broken(old.clone(), meta.generation, &finding, ctx.now());
    write::write(meta, old.as_ref(), &new, ctx)
        .await
        .map_err(Error::Status)?;
    Err(error)
}
