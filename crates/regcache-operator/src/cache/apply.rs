//! Phase 4: the children made real. One site that fails does not stop the others.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt as _};

use super::build::{Applied, Children, Prepared, SiteChildren};
use super::gather::Live;
use crate::apply::{self, apply};
use crate::context::{CACHE_MANAGER, Ctx};
use crate::error::{self, Classify as _};

/// What became of the children.
#[derive(Debug)]
pub struct Outcome {
    /// The sites whose children are all there.
    pub children: Children<Applied>,
    /// By site: why the API server refused to change its volume. The cache goes on with the volume as it is.
    pub refused: BTreeMap<String, String>,
    /// By site: why its children could not be applied.
    pub failures: BTreeMap<String, apply::Error>,
}

/// Applies all children, comparing with `live` first.
pub async fn run(children: Children<Prepared>, live: &Live, ctx: &Ctx) -> Outcome {
    let mut outcome = Outcome {
        children: Children::new(Vec::new()),
        refused: BTreeMap::new(),
        failures: BTreeMap::new(),
    };
    for prepared in children.sites {
        let name = prepared.deployment.name_any();
        match Box::pin(site(&name, prepared, live, ctx, &mut outcome.refused)).await {
            Ok(applied) => outcome.children.sites.push(applied),
            Err(error) => {
                tracing::warn!(site = name, reason = error.reason(), "{}", error.words());
                outcome.failures.insert(name, error);
            }
        }
    }
    outcome
}

/// Service first: its address is the one thing that takes time to spread. The Deployment last, when all that its pods
/// mount is there.
async fn site(
    name: &str,
    prepared: SiteChildren,
    live: &Live,
    ctx: &Ctx,
    refused: &mut BTreeMap<String, String>,
) -> Result<SiteChildren, apply::Error> {
    // Without `..`: a new child that nobody applies does not compile.
    let SiteChildren {
        service,
        config_map,
        volume,
        deployment,
    } = prepared;
    let namespace = &ctx.settings.namespace;
    let services = Api::namespaced(ctx.client.clone(), namespace);
    let service = apply(&services, live.services.get(name), service, CACHE_MANAGER).await?;
    let config_maps = Api::namespaced(ctx.client.clone(), namespace);
    let config_map = apply(&config_maps, live.config_maps.get(name), config_map, CACHE_MANAGER).await?;
    let volumes = Api::namespaced(ctx.client.clone(), namespace);
    let volume = match (
        apply(&volumes, live.volumes.get(name), volume, CACHE_MANAGER).await,
        live.volumes.get(name),
    ) {
        (Ok(applied), _) => applied.object,
        (Err(error), Some(volume)) if is_refusal(&error) => {
            refused.insert(name.to_owned(), refusal(volume, &error, &ctx.settings.namespace));
            volume.clone()
        }
        (Err(error), _) => return Err(error),
    };
    let deployments = Api::namespaced(ctx.client.clone(), namespace);
    let deployment = apply(&deployments, live.deployments.get(name), deployment, CACHE_MANAGER).await?;
    Ok(SiteChildren {
        service: service.object,
        config_map: config_map.object,
        volume,
        deployment: deployment.object,
    })
}

/// True when the API server understood a change of a volume and will not have it: a shrink, another class, or a class
/// that cannot expand (which it calls forbidden).
fn is_refusal(error: &apply::Error) -> bool {
    let apply::Error::Api { source, .. } = error else {
        return false;
    };
    error::status(source).is_some_and(|status| matches!(status.code, 422 | 403))
        && !error::is_missing_permission(source)
}

/// The API server's words and the way out.
fn refusal(volume: &PersistentVolumeClaim, error: &apply::Error, namespace: &str) -> String {
    let name = volume.name_any();
    let words = match error {
        apply::Error::Api { source, .. } => match error::status(source) {
            Some(status) => status.message.clone(),
            None => source.words(),
        },
        apply::Error::Serialize { .. } => error.words(),
    };
    // What the server prints of the whole claim helps nobody.
    let words = words.lines().next().unwrap_or_default().trim_end();
    format!(
        "the volume of cache {name} cannot be changed: {words}; set spec.cache.storage back, or give up what is cached: \
         kubectl -n {namespace} delete pvc/{name} deploy/{name}"
    )
}
