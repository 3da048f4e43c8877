//! The exec probes: they ask the running helper's state, and print one line when the answer is no, since the output
//! of an exec probe is what `kubectl describe` shows.

use std::time::Duration;

use crate::loopback::{self, LoopbackError};
use crate::state::{Gateway, StateDir, StateError};

/// For the whole of a liveness request; kubelet gives the probe a second.
const LIVE_LIMIT: Duration = Duration::from_millis(900);

/// Why the helper is not ready or not alive.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Its state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// It has work to do before.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The gateway does not answer.
    #[error(transparent)]
    Loopback(#[from] LoopbackError),
}

/// Whether the helper has done its work once.
pub fn ready(dir: &StateDir) -> Result<(), ProbeError> {
    let state = dir.read()?;
    if state.ready {
        return Ok(());
    }
    Err(ProbeError::NotReady(state.waiting_for.join("; ")))
}

/// Whether the gateway answers a real request. While another process has its port there is nothing to ask, and a
/// restart would not help: then the helper counts as alive.
pub fn live(dir: &StateDir) -> Result<(), ProbeError> {
    let state = dir.read()?;
    match state.gateway {
        Gateway::Starting | Gateway::Down(_) => Ok(()),
        Gateway::Up => Ok(loopback::check(state.port, &dir.read_ca()?, LIVE_LIMIT)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn each_says_why_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::new(dir.path());
        assert!(ready(&dir).is_err());
        let waiting_for = vec![
            "no plan could be read yet".to_owned(),
            "a: not looked at yet".to_owned(),
        ];
        let mut state = State {
            waiting_for,
            ..State::default()
        };
        dir.write(&state).unwrap();
        let error = ready(&dir).unwrap_err().to_string();
        assert_eq!(error, "not ready: no plan could be read yet; a: not looked at yet");
        state.ready = true;
        dir.write(&state).unwrap();
        assert!(ready(&dir).is_ok());
    }

    #[test]
    fn a_gateway_without_a_port_is_no_reason_to_be_killed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = StateDir::new(dir.path());
        let gateway = Gateway::Down("taken".into());
        dir.write(&State {
            gateway,
            ..State::default()
        })
        .unwrap();
        assert!(live(&dir).is_ok());
    }
}
