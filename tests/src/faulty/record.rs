//! The list of requests, for the test that asks what happened.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::fault::Kind;

/// A request and how it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds since the program's start.
    pub at_ms: u64,
    /// `GET`.
    pub method: String,
    /// Without query.
    pub path: String,
    /// Without `?`.
    pub query: String,
    /// The Range header.
    pub range: Option<String>,
    /// The User-Agent header.
    pub agent: Option<String>,
    /// The status that was sent; none: no answer (yet).
    pub status: Option<u16>,
    /// Bytes of the body that were sent (so far).
    pub sent: u64,
    /// What was done to it.
    pub fault: Option<Kind>,
    /// Whether it is over.
    pub ended: bool,
}

/// All requests since the start, without readiness probes.
pub struct Records {
    started: Instant,
    list: Mutex<Vec<Record>>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            list: Mutex::default(),
        }
    }
}

impl Records {
    /// A copy of all.
    pub fn all(&self) -> Vec<Record> {
        self.list().clone()
    }

    /// Adds a request that begins; the number is for [`Records::update`].
    pub fn begin(&self, mut record: Record) -> usize {
        record.at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut list = self.list();
        list.push(record);
        list.len() - 1
    }

    /// Notes how it goes on.
    pub fn update(&self, number: usize, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.list().get_mut(number) {
            change(record);
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Record>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
