//! The nodes controller: all RegistryCaches and all nodes into one plan and one DaemonSet of helpers per place.
//!
//! A place is the nodes of one region and zone. Each run looks at everything: `gather` (client) -> `validate` (pure:
//! facts) -> `targets` (pure: what each plan should be in the end) -> `rollout` (pure: its next step there; `decide`
//! puts the places together) -> `build` (pure) -> `apply` (client). A run that finds all settled writes nothing.

pub mod apply;
pub mod build;
pub mod decide;
pub mod gather;
pub mod rollout;
mod run;
pub mod targets;
pub mod validate;
pub mod watches;

use std::sync::Arc;
use std::time::Duration;

use kube::Resource as _;
use kube::runtime::controller::Action;
use regcache_api::conditions::reasons;

pub use run::run;

use crate::context::Ctx;
use crate::error::{Class, Classify};
use crate::events::Note;
use decide::{Decision, decide};
use gather::{Inputs, Stores, gather};
use rollout::{Outcome, Pace};

/// The controller's name in metrics and logs.
const CONTROLLER: &str = "nodes";
/// The one thing that it reconciles.
const NAME: &str = "all";

/// A run failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not everything could be looked at: nothing was decided.
    #[error("cannot see the cluster")]
    Gather(#[source] gather::Error),
    /// Not everything could be written.
    #[error("cannot write plans and helpers")]
    Apply(#[source] apply::Error),
    /// It took too long.
    #[error("the API server did not answer in time")]
    TimedOut,
}

impl Classify for Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Gather(source) => source.reason(),
            Self::Apply(source) => source.reason(),
            Self::TimedOut => reasons::API_ERROR,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Gather(source) => source.class(),
            Self::Apply(source) => source.class(),
            Self::TimedOut => Class::Transient,
        }
    }
}

/// One run over everything.
pub async fn reconcile(ctx: Arc<Ctx>) -> Result<Action, Error> {
    let later = ctx
        .observe(CONTROLLER, NAME, || Error::TimedOut, Box::pin(once(&ctx, None)))
        .await?;
    Ok(later.map_or_else(Action::await_change, Action::requeue))
}

/// One run; the time is that until the next one, if nothing changes before.
async fn once(ctx: &Ctx, stores: Option<&Stores>) -> Result<Option<Duration>, Error> {
    let inputs = Box::pin(gather(ctx, stores)).await.map_err(Error::Gather)?;
    let facts = validate::validate(&inputs, &ctx.settings);
    let now = ctx.now();
    let pace = Pace {
        canary_percent: ctx.settings.canary_percent,
        soak: ctx.settings.soak,
    };
    let (decisions, rollout) = decide(&inputs.registry_caches, inputs.unreadable, &facts, pace, now);
    let written = apply::write(ctx, &inputs, &facts, &decisions, now)
        .await
        .map_err(Error::Apply)?;
    for (place, decision) in &decisions {
        if let Decision {
            outcome: Outcome::TakenBack(why),
            ..
        } = decision
        {
            tell(ctx, &inputs, &place.region, why).await;
        }
    }
    Ok(rollout.into_iter().chain(written).min())
}

/// A plan was taken back: everybody who has a part in it is told.
async fn tell(ctx: &Ctx, inputs: &Inputs, region: &str, why: &str) {
    let concerned = inputs.registry_caches.iter().filter(|one| {
        one.metadata.deletion_timestamp.is_none() && one.spec.regions.iter().any(|one| one.name == region)
    });
    for registry_cache in concerned {
        let note = Note {
            warning: true,
            reason: reasons::ROLLING_OUT,
            action: "RollOut",
            text: format!("the new plan of region {region} was taken back: {why}. It is tried again when that is well"),
        };
        ctx.events.publish(&registry_cache.object_ref(&()), note).await;
    }
}
