//! Server-side apply of one object, and its deletion: shared by both controllers.
//!
//! Even an apply that changes nothing is a request, an audit line and sometimes a new resourceVersion, so each object
//! is compared first. Two signs say that nothing is to be done, and both are needed:
//! * the live object carries the hash of what we applied last ([`APPLIED_HASH`]), and it is the hash of what we would
//!   apply now: this finds every change of ours, above all a field that we no longer set;
//! * all that we would apply is there with the same value ([`drift::contains`]): this finds what others changed.

pub mod drift;

use std::fmt::Debug;

use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Annotation: the hash of what was applied last.
pub const APPLIED_HASH: &str = "regcache.dev/applied-hash";

/// An object as the API server has it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied<K> {
    /// The live object.
    pub object: K,
    /// Whether a request was necessary.
    pub changed: bool,
}

/// Why an object could not be applied or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object cannot be written as JSON: a defect of this program.
    #[error("cannot serialize {kind} {name}")]
    Serialize {
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The API server refused or could not be asked.
    #[error("cannot {verb} {kind} {name}")]
    Api {
        /// `apply` or `delete`.
        verb: &'static str,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
}

impl crate::error::Classify for Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Serialize { .. } => regcache_api::conditions::reasons::INVALID_SPEC,
            Self::Api { source, .. } => source.reason(),
        }
    }

    fn class(&self) -> crate::error::Class {
        match self {
            Self::Serialize { .. } => crate::error::Class::Config,
            Self::Api { source, .. } => source.class(),
        }
    }
}

/// Applies `desired` as `manager`, which owns all of what it applies (force). `live` is what a list of this run showed;
/// nothing is requested when it is as desired already.
pub async fn apply<K>(api: &Api<K>, live: Option<&K>, desired: K, manager: &str) -> Result<Applied<K>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let desired = with_hash(desired)?;
    let name = desired.name_any();
    if let Some(live) = live
        && is_as_desired(live, &desired)?
    {
        return Ok(Applied {
            object: live.clone(),
            changed: false,
        });
    }
    let params = PatchParams::apply(manager).force();
    let object = api
        .patch(&name, &params, &Patch::Apply(&desired))
        .await
        .map_err(|source| failed("apply", &desired, source))?;
    tracing::info!(kind = %K::kind(&()), name, manager, created = live.is_none(), "applied");
    Ok(Applied { object, changed: true })
}

/// Deletes this very `object` (by uid) in the background; one that is gone or going already is fine.
pub async fn delete<K>(api: &Api<K>, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: object.uid(),
        resource_version: None,
    });
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => {
            tracing::info!(kind = %K::kind(&()), name = object.name_any(), "deleted");
            Ok(())
        }
        Err(error) if crate::error::is_not_found(&error) => Ok(()),
        Err(source) => Err(failed("delete", object, source)),
    }
}

/// True when applying `desired` (with its hash) would change nothing.
fn is_as_desired<K: Resource<DynamicType = ()> + Serialize>(live: &K, desired: &K) -> Result<bool, Error> {
    Ok(
        live.annotations().get(APPLIED_HASH) == desired.annotations().get(APPLIED_HASH)
            && drift::contains(&json(live)?, &json(desired)?),
    )
}

/// `object` with the hash of its content as an annotation.
fn with_hash<K: Resource<DynamicType = ()> + Serialize>(mut object: K) -> Result<K, Error> {
    let mut hash = hex::encode(Sha256::digest(json(&object)?.to_string()));
    hash.truncate(16);
    object.annotations_mut().insert(APPLIED_HASH.to_owned(), hash);
    Ok(object)
}

fn json<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Result<serde_json::Value, Error> {
    serde_json::to_value(object).map_err(|source| Error::Serialize {
        kind: K::kind(&()).into(),
        name: object.name_any(),
        source,
    })
}

fn failed<K: Resource<DynamicType = ()>>(verb: &'static str, object: &K, source: kube::Error) -> Error {
    Error::Api {
        verb,
        kind: K::kind(&()).into(),
        name: object.name_any(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    fn config_map(value: serde_json::Value) -> ConfigMap {
        serde_json::from_value(value).unwrap()
    }

    /// What the API server makes of an applied object: server-side fields are added.
    fn stored(desired: &ConfigMap) -> ConfigMap {
        let mut live = with_hash(desired.clone()).unwrap();
        live.metadata.uid = Some("u".into());
        live.metadata.resource_version = Some("7".into());
        live
    }

    #[test]
    fn what_was_applied_is_not_applied_again() {
        let desired = config_map(json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "v"}}));
        let live = stored(&desired);
        assert!(is_as_desired(&live, &with_hash(desired).unwrap()).unwrap());
    }

    #[test]
    fn a_field_that_we_no_longer_set_is_found() {
        let before = config_map(json!({"metadata": {"name": "a"}, "data": {"k": "v", "old": "v"}}));
        let after = config_map(json!({"metadata": {"name": "a"}, "data": {"k": "v"}}));
        assert!(!is_as_desired(&stored(&before), &with_hash(after).unwrap()).unwrap());
    }

    #[test]
    fn what_somebody_else_changed_is_found_and_what_they_added_is_left() {
        let desired = config_map(json!({"metadata": {"name": "a"}, "data": {"k": "v"}}));
        let hashed = with_hash(desired.clone()).unwrap();
        let mut changed = stored(&desired);
        changed.data = Some([("k".into(), "other".into())].into());
        assert!(!is_as_desired(&changed, &hashed).unwrap());
        let mut added = stored(&desired);
        added.metadata.labels = Some([("theirs".into(), "1".into())].into());
        assert!(is_as_desired(&added, &hashed).unwrap());
    }
}
