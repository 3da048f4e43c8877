//! A pull-through cache for container registries that fetches each blob once and gives its first bytes at once.
//!
//! The pipeline: `serve` (connections) -> `registry` (what is asked, and may it be had) -> `tags` (which digest a tag
//! is) -> `fill` (one fetch for everybody) -> `store` (what is kept), with `upstream` as where it all comes from.
//! `config` says what to do, `nodes` and `admin` what there is to know about it. No Kubernetes in here.

pub mod access;
pub mod admin;
pub mod cli;
pub mod complete;
pub mod config;
pub mod content;
pub mod fill;
pub mod flights;
pub mod manifests;
pub mod metrics;
pub mod names;
pub mod nodes;
pub mod registry;
pub mod run;
pub mod serve;
pub mod store;
pub mod tags;
pub mod upstream;
