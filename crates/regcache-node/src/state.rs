//! What the helper says of itself: written to the state directory, read by the exec probes and by people.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The state file's name.
const STATE: &str = "state.json";
/// The gateway's CA, for the liveness probe.
const CA: &str = "ca.pem";

/// Why the state could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory is not there or not writable.
    #[error("cannot write {}; the state directory must exist and be writable", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The helper has not come so far, or runs elsewhere.
    #[error("cannot read {}; has the helper started?", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Of another version.
    #[error("{} is not the state of this helper's version", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
}

/// The gateway as the helper knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "why")]
pub enum Gateway {
    /// Not yet bound.
    #[default]
    Starting,
    /// It answered a real request over loopback.
    Up,
    /// It cannot listen, or ended.
    Down(String),
}

/// What became of one upstream on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "why")]
pub enum Upstream {
    /// `hosts.toml` is there.
    Published,
    /// The plan says to write nothing.
    Observed,
    /// The plan names no cache for it here.
    NoCache,
    /// Somebody else's file decides; left alone.
    Skipped(String),
    /// This node's directory cannot be written.
    Unsupported(String),
    /// No cache of it has answered for a good while; published as soon as one does.
    Unanswered(String),
    /// Not yet: the reason may pass.
    Waiting(String),
}

impl Upstream {
    /// A constant name, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Published => "Published",
            Self::Observed => "Observed",
            Self::NoCache => "NoCache",
            Self::Skipped(_) => "Skipped",
            Self::Unsupported(_) => "Unsupported",
            Self::Unanswered(_) => "Unanswered",
            Self::Waiting(_) => "Waiting",
        }
    }

    /// Why, where the name does not say it all.
    pub fn reason(&self) -> &str {
        match self {
            Self::Published | Self::Observed | Self::NoCache => "",
            Self::Skipped(why) | Self::Unsupported(why) | Self::Unanswered(why) | Self::Waiting(why) => why,
        }
    }
}

/// Something on the node that keeps containerd from using the mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A constant name.
    pub id: String,
    /// One sentence, with the fix.
    pub message: String,
}

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The node's name.
    pub node: String,
    /// This run's mark in `hosts.toml`.
    pub instance: String,
    /// The gateway's port on loopback.
    pub port: u16,
    /// The gateway.
    pub gateway: Gateway,
    /// The hash of the plan in use.
    pub plan: Option<String>,
    /// Latched: once true, true until the process ends.
    pub ready: bool,
    /// Why not, while it is not.
    pub waiting_for: Vec<String>,
    /// Each upstream of the plan.
    pub upstreams: BTreeMap<String, Upstream>,
    /// What is wrong with the node's containerd config; empty: nothing.
    pub findings: Vec<Finding>,
}

/// The directory that the helper shares with its exec probes.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Must exist and be writable; lost with the pod.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Replaces the state as a whole.
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::other);
        let path = self.0.join(STATE);
        text.and_then(|text| replace(&path, &text))
            .map_err(|source| StateError::Write { path, source })
    }

    /// Replaces the CA.
    pub fn write_ca(&self, pem: &str) -> Result<(), StateError> {
        let path = self.0.join(CA);
        replace(&path, pem.as_bytes()).map_err(|source| StateError::Write { path, source })
    }

    /// What the helper wrote last.
    pub fn read(&self) -> Result<State, StateError> {
        let path = self.0.join(STATE);
        let text = fs::read(&path).map_err(|source| StateError::Read {
            path: path.clone(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| StateError::Parse { path, source })
    }

    /// The gateway's CA.
    pub fn read_ca(&self) -> Result<String, StateError> {
        let path = self.0.join(CA);
        fs::read_to_string(&path).map_err(|source| StateError::Read { path, source })
    }
}

/// By rename, so that a probe reads all of it or none.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = State {
            gateway: Gateway::Down("taken".into()),
            upstreams: BTreeMap::from([
                ("a".into(), Upstream::Published),
                ("b".into(), Upstream::Skipped("theirs".into())),
            ]),
            ..State::default()
        };
        let dir = StateDir::new(dir.path());
        dir.write(&state).unwrap();
        assert_eq!(dir.read().unwrap(), state);
    }

    #[test]
    fn errors_name_the_file() {
        let error = StateDir::new("/nowhere").read().unwrap_err().to_string();
        assert!(error.contains("/nowhere/state.json"), "{error}");
    }
}
