//! The faulty registry in a cluster: its faults as a test sets them, and its requests.
//!
//! Its image is made by [`super::images::faulty_archive`].

use anyhow::{Context, Result, bail};

use super::Cluster;
use crate::faulty::fault::Fault;
use crate::faulty::record::Record;

impl Cluster {
    /// Sets the faults of the faulty registry at a pod's address, in place of those before; none: it is honest again.
    pub fn set_faults(&self, pod_ip: &str, faults: &[Fault]) -> Result<()> {
        let body = serde_json::to_string(faults)?;
        let response = self.http("POST", &format!("http://{pod_ip}:5001/fault"), &body)?;
        if response.status != 200 {
            bail!("the faulty registry refuses {body}: {}", response.text());
        }
        Ok(())
    }

    /// The requests that the faulty registry at a pod's address got since its start.
    pub fn faulty_requests(&self, pod_ip: &str) -> Result<Vec<Record>> {
        let text = self.http_get(&format!("http://{pod_ip}:5001/requests"))?;
        serde_json::from_str(&text).context("requests of the faulty registry")
    }
}
