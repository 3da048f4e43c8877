//! Every CustomResourceDefinition as a YAML file.

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;

/// Why they could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CRD cannot be written as YAML: a defect of this program.
    #[error("cannot write a CustomResourceDefinition as YAML")]
    Yaml(#[source] serde_yaml::Error),
    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Every CRD with its file name.
pub fn all() -> Result<Vec<(String, String)>, Error> {
    let crds: [CustomResourceDefinition; 1] = [regcache_api::crd::registry_cache()];
    crds.iter()
        .map(|crd| Ok((format!("{}.yaml", crd.name_any()), to_yaml(crd)?)))
        .collect()
}

/// Writes a file for each CRD into `directory`.
pub fn write(directory: &Path) -> Result<(), Error> {
    for (name, text) in all()? {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, Error> {
    // Plain, the time in the status default is a text in YAML 1.2 and a time stamp in YAML 1.1: quotes leave no choice.
    let time = "1970-01-01T00:00:00Z";
    let yaml = serde_yaml::to_string(crd)
        .map_err(Error::Yaml)?
        .replace(&format!(": {time}"), &format!(": \"{time}\""));
    Ok(format!("# Generated: regcache-operator crds --write crds\n{yaml}"))
}
