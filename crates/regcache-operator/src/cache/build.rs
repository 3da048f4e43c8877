//! Phase 3: the children as they should be. Pure; a file for each kind.

mod config_map;
mod deployment;
mod meta;
mod service;
mod volume;

pub(super) use meta::{distinction, labels};

use std::marker::PhantomData;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service};

use super::engine;
use super::gather::Live;
use super::validate::Site;

/// Children as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared;
/// Children as the API server has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied;

/// The children of all sites; only applied ones tell anything about the state of the caches.
#[derive(Clone, Debug, PartialEq)]
pub struct Children<S> {
    /// One entry for each site.
    pub sites: Vec<SiteChildren>,
    state: PhantomData<S>,
}

/// The children of one site, all of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteChildren {
    /// Where nodes reach the cache.
    pub service: Service,
    /// The engine's configuration.
    pub config_map: ConfigMap,
    /// What is cached.
    pub volume: PersistentVolumeClaim,
    /// The cache.
    pub deployment: Deployment,
}

impl<S> Children<S> {
    /// Children in the state `S`.
    pub(super) fn new(sites: Vec<SiteChildren>) -> Self {
        Self {
            sites,
            state: PhantomData,
        }
    }
}

/// The children of `sites` in `namespace`; `live` has those that are there `now`.
pub fn build(
    sites: &[Site],
    live: &Live,
    namespace: &str,
    now: Timestamp,
) -> Result<Children<Prepared>, engine::Error> {
    let children = sites.iter().map(|site| {
        let config = engine::of(site.engine).config(site)?;
        Ok(SiteChildren {
            service: service::build(site, namespace),
            config_map: config_map::build(site, &config, live, namespace, now),
            volume: volume::build(site, namespace),
            deployment: deployment::build(site, &config, namespace),
        })
    });
    Ok(Children::new(children.collect::<Result<_, _>>()?))
}
