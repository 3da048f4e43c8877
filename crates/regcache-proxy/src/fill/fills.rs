//! Who asks for what, and what is done about it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regcache_transfer::{Digest, Span};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Answer, How, NoBlob};
use super::bypass::Client;
use super::keep::Keep;
use super::limits::FillLimits;
use super::metrics::FillMetrics;
use super::one::One;
use super::origin::Origin;
use super::resting::{Key, Resting};
use super::{run, serve};
use crate::store::Store;

/// All fetches of blobs, one for each (upstream, digest).
pub struct Fills(Arc<Shared>);

/// What all fills share.
pub(super) struct Shared {
    pub(super) keep: Arc<dyn Keep>,
    pub(super) limits: FillLimits,
    pub(super) metrics: FillMetrics,
    /// Blobs that are answered "not now" at once.
    pub(super) resting: Arc<Resting>,
    /// Blobs that the store did not take.
    pub(super) unkept: Resting,
    fills: Mutex<HashMap<Key, Arc<One>>>,
    /// No fill begins any more, and those that nobody reads end.
    closing: CancellationToken,
    /// All fills end.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Fills {
    /// Fills `store`.
    pub fn new(store: Arc<Store>, limits: FillLimits, metrics: &FillMetrics) -> Arc<Self> {
        Self::keeping(Arc::new(store), limits, metrics)
    }

    pub(super) fn keeping(keep: Arc<dyn Keep>, limits: FillLimits, metrics: &FillMetrics) -> Arc<Self> {
        Arc::new(Self(Arc::new(Shared {
            keep,
            limits,
            metrics: metrics.clone(),
            resting: Arc::default(),
            unkept: Resting::default(),
            fills: Mutex::default(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })))
    }

    /// The blob or a part of it: from the store, from the one fetch for everybody, or by a fetch for this request.
    ///
    /// Done when the size is known and the first bytes are there, after [`FillLimits::start`] at the latest.
    pub async fn blob(&self, origin: Arc<dyn Origin>, digest: Digest, range: Option<Span>) -> Result<Answer, NoBlob> {
        let asked = Instant::now();
        let answer = self.answer(origin, digest, range, asked).await?;
        self.0.metrics.first_byte(answer.how, asked.elapsed());
        Ok(answer)
    }

    /// The size of a blob whose fetch is under way, once upstream has said it.
    pub fn size(&self, upstream: &str, digest: &Digest) -> Option<u64> {
        let key = Key {
            upstream: upstream.into(),
            digest: *digest,
        };
        self.0.flight(&key)?.total()
    }

    /// Begins no more fetches, lets those that somebody reads finish within `grace`, then stops them; what they have is
    /// kept for the next start. Done when all have ended.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.closing.cancel();
        self.0.tasks.close();
        if timeout(grace, self.0.tasks.wait()).await.is_err() {
            self.0.stop.cancel();
            self.0.tasks.wait().await;
        }
    }

    async fn answer(
        &self,
        origin: Arc<dyn Origin>,
        digest: Digest,
        range: Option<Span>,
        asked: Instant,
    ) -> Result<Answer, NoBlob> {
        let shared = &self.0;
        let client = Client {
            key: Key {
                upstream: origin.upstream().clone(),
                digest,
            },
            origin,
            limits: shared.limits,
            resting: shared.resting.clone(),
        };
        let flight = shared.flight(&client.key);
        let deadline = asked + shared.limits.start;
        if flight.is_none() {
            let stored = timeout_at(deadline, shared.keep.blob(&digest)).await;
            if let Some(stored) = stored.map_err(|_| NoBlob::Unavailable)? {
                return Answer::stored(stored, range, How::Hit);
            }
        }
        if shared.resting.contains(&client.key) {
            if let Some(one) = flight {
                one.nudge.notify_one();
            }
            return Err(NoBlob::Unavailable);
        }
        if flight.is_none() && shared.unkept.contains(&client.key) {
            return serve::alone(client, range, deadline).await;
        }
        let (one, how) = match flight {
            Some(one) => (one, How::Join),
            None => shared.begin(&client)?,
        };
        serve::from_fill(client, &one, range, how, deadline).await
    }
}

impl Shared {
    fn flight(&self, key: &Key) -> Option<Arc<One>> {
        self.fills().get(key).cloned()
    }

    /// A fetch of the same blob from another upstream, which the store takes.
    pub(super) fn elsewhere(&self, key: &Key) -> Option<Arc<One>> {
        let other = |one: &&Arc<One>| one.key.digest == key.digest && one.key.upstream != key.upstream && one.writes();
        self.fills().values().find(other).cloned()
    }

    /// Begins the fetch, unless somebody else has done so meanwhile.
    fn begin(self: &Arc<Self>, client: &Client) -> Result<(Arc<One>, How), NoBlob> {
        if self.closing.is_cancelled() {
            return Err(NoBlob::Unavailable);
        }
        let one = match self.fills().entry(client.key.clone()) {
            Entry::Occupied(there) => return Ok((there.get().clone(), How::Join)),
            Entry::Vacant(free) => free.insert(One::new(client.key.clone(), self.limits.aside)).clone(),
        };
        let (shared, flying, origin) = (self.clone(), one.clone(), client.origin.clone());
        self.tasks.spawn(async move {
            // Whatever happens to the fill: nobody else shall be sent to it after its end.
            let _listed = Listed {
                shared: &shared,
                key: &flying.key,
            };
            run::run(shared.clone(), flying.clone(), origin).await;
        });
        Ok((one, How::Miss))
    }

    /// Done when the fill of `one` is to end before it is finished.
    pub(super) async fn stopped(&self, one: &One) {
        let unread = async {
            self.closing.cancelled().await;
            one.deserted().await;
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = unread => {}
        }
    }

    fn fills(&self) -> MutexGuard<'_, HashMap<Key, Arc<One>>> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Listed<'a> {
    shared: &'a Shared,
    key: &'a Key,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.shared.fills().remove(self.key);
    }
}

impl fmt::Debug for Fills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fills")
            .field("in_flight", &self.0.fills().len())
            .finish()
    }
}
