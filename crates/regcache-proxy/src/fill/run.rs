//! A fill: rounds of asking upstream until all bytes are there and right, or there is nothing to be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regcache_transfer::{Ask, Span, fetch};
use tokio::time::{Instant, sleep};

use super::answer::NoBlob;
use super::fills::Shared;
use super::follow::{Followed, follow};
use super::heard::{Heard, Verdict};
use super::log::{self, Line, Outcome};
use super::one::One;
use super::origin::Origin;
use super::published::{Adrift, State};
use super::pump::pump;
use super::writing::Writing;
use crate::store::{Blob, NotStored};

/// The shortest time between two rounds, however often a blob is asked for.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);

/// The waits for a digest that somebody else is at. All of them together are well below a client's patience.
const BUSY: [Duration; 5] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

/// What one round came to.
enum Round {
    /// All bytes are there.
    Full,
    /// The store does not take them.
    NotKept,
    /// The store takes them from another upstream's fill.
    Elsewhere(Arc<One>),
    /// The program is ending.
    Stopped,
    /// Not all of them came.
    Short(Verdict),
}

/// What is counted of one fill.
#[derive(Default)]
struct Tally {
    bytes: AtomicU64,
    resumes: AtomicU64,
}

/// Fetches the blob, tells its readers, and ends when there is nothing left to do.
pub(super) async fn run(shared: Arc<Shared>, one: Arc<One>, origin: Arc<dyn Origin>) {
    let begun = Instant::now();
    let tally = Tally::default();
    let in_flight = shared.metrics.in_flight(&one.key.upstream);
    let mut fill = Fill {
        shared: &shared,
        one: &one,
        origin: &*origin,
        tally: &tally,
        writing: None,
        generation: 0,
    };
    let outcome = fill.work().await.unwrap_or(Outcome::Stopped);
    drop(fill);
    shared.conclude(&one, outcome);
    drop(in_flight);
    let line = Line {
        outcome,
        bytes: tally.bytes.load(Ordering::Relaxed),
        took: begun.elapsed(),
        clients: one.clients(),
        resumes: tally.resumes.load(Ordering::Relaxed),
    };
    shared.metrics.ended(&one.key.upstream, outcome);
    log::ended(&one.key, &line);
}

struct Fill<'a> {
    shared: &'a Shared,
    one: &'a One,
    origin: &'a dyn Origin,
    tally: &'a Tally,
    writing: Option<Writing>,
    generation: u32,
}

impl Fill<'_> {
    /// `None`: the program is ending. Only waiting is given up for that, and never what the store is doing.
    async fn work(&mut self) -> Option<Outcome> {
        if let Some(stored) = self.shared.keep.blob(&self.one.key.digest).await {
            let generation = self.generation;
            self.one.publish(State::Whole { generation, stored });
            return Some(Outcome::Found);
        }
        self.take_up().await;
        let limits = &self.shared.limits;
        let mut backoff = limits.backoff;
        let mut moved = Instant::now();
        loop {
            let queued = Instant::now();
            let turn = self.shared.unless_stopped(self.one, self.origin.turn()).await?;
            // Waiting for a turn is not upstream's silence.
            moved += queued.elapsed();
            let before = self.tally.bytes.load(Ordering::Relaxed);
            let round = self.round().await;
            drop(turn);
            match round {
                Round::Full => match self.finish().await {
                    Some(outcome) => return Some(outcome),
                    None => continue,
                },
                Round::NotKept => return Some(self.let_go()),
                Round::Elsewhere(other) => {
                    let total = self.one.total().or(other.total()).unwrap_or_default();
                    if self.shared.unless_stopped(self.one, follow(self.one, other)).await? == Followed::Whole {
                        return Some(Outcome::Found);
                    }
                    self.adrift(total);
                    return Some(Outcome::NotStored);
                }
                Round::Short(Verdict::Final(outcome)) => {
                    if let (Outcome::WrongSize, Some(writing)) = (outcome, self.writing.take()) {
                        writing.growing.discard().await;
                    }
                    return Some(outcome);
                }
                Round::Stopped => return None,
                Round::Short(Verdict::TryAgain) => {}
            }
            if self.tally.bytes.load(Ordering::Relaxed) > before {
                moved = Instant::now();
                backoff = limits.backoff;
            }
            if moved.elapsed() >= limits.patience {
                return Some(Outcome::GaveUp);
            }
            if self.one.is_asking() {
                self.one.publish(State::Failing);
            }
            self.shared
                .unless_stopped(self.one, back_off(self.one, backoff))
                .await?;
            backoff = (backoff * 2).min(limits.backoff_max);
            self.resumed(1);
        }
    }

    /// Asks all sources once, from where the file stands.
    async fn round(&mut self) -> Round {
        let limits = &self.shared.limits;
        loop {
            if self.writing.as_ref().is_some_and(Writing::is_full) {
                return Round::Full;
            }
            let at = self.writing.as_ref().map_or(0, Writing::at);
            let heard = Arc::new(Heard::new(self.one.key.clone()));
            let ask = Ask {
                span: Span { start: at, end: None },
                digest: None,
            };
            let sources = self.origin.sources(&self.one.key.digest);
            let transfer = fetch(sources, ask, limits.fill(), heard.clone());
            let Some(transfer) = self.shared.unless_stopped(self.one, transfer).await else {
                return Round::Stopped;
            };
            let Ok(mut transfer) = transfer else {
                let round = heard.round();
                self.resumed(round.left.saturating_sub(1));
                let verdict = round.verdict();
                if verdict == Verdict::Final(Outcome::WrongSize) && self.put_back().await {
                    continue;
                }
                return Round::Short(verdict);
            };
            let mut writing = match self.writing.take() {
                Some(writing) if writing.total == transfer.total => writing,
                Some(writing) => {
                    self.writing = Some(writing);
                    if self.put_back().await {
                        continue;
                    }
                    return Round::Short(Verdict::Final(Outcome::WrongSize));
                }
                None => {
                    let writing = match self.begin(transfer.total).await {
                        Ok(writing) => writing,
                        Err(round) => return round,
                    };
                    if writing.found > 0 {
                        self.writing = Some(writing);
                        // From where an earlier fill stood, not from the beginning.
                        continue;
                    }
                    writing
                }
            };
            let stopped = self.shared.stopped(self.one);
            let pumped = pump(&mut transfer.body, &mut writing, limits, stopped, |writing, bytes| {
                self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.shared.metrics.received(&self.one.key.upstream, bytes);
                let growth = writing.growth();
                self.one.modify(|state| *state = State::Growing(growth));
            })
            .await;
            let full = writing.is_full();
            self.writing = Some(writing);
            let round = heard.round();
            return match pumped {
                Err(error) => {
                    self.not_kept(error);
                    Round::NotKept
                }
                Ok(()) if full => {
                    self.resumed(round.left);
                    Round::Full
                }
                Ok(()) => {
                    self.resumed(round.left.saturating_sub(1));
                    Round::Short(round.verdict())
                }
            };
        }
    }

    /// Takes up what an earlier fill left before upstream is asked, so that it is asked for the rest only. Nobody is told
    /// of it before upstream has said that it goes on from there.
    async fn take_up(&mut self) {
        let digest = self.one.key.digest;
        let Some(total) = self.shared.keep.left(&digest) else {
            return;
        };
        if let Ok(growing) = self.shared.keep.begin(&digest, total).await {
            let writing = Writing::new(growing, (total, self.generation), digest, &self.shared.limits);
            if writing.found > 0 {
                self.one.set_writes();
                self.writing = Some(writing);
            }
        }
    }

    /// Forgets what an earlier fill left when nobody has been told of it: it was to become another size than upstream
    /// says now. `false`: there is nothing such.
    async fn put_back(&mut self) -> bool {
        if self.one.total().is_some() {
            return false;
        }
        let Some(writing) = self.writing.take() else {
            return false;
        };
        writing.growing.discard().await;
        true
    }

    /// The size is known: makes a place for the bytes, and tells the readers what an earlier fill left.
    async fn begin(&mut self, total: u64) -> Result<Writing, Round> {
        let digest = self.one.key.digest;
        let mut begun = self.shared.keep.begin(&digest, total).await;
        // An old file of this digest is just being removed, or a manifest written: a moment is better than an upstream
        // that is asked by each client.
        for pause in BUSY {
            if !matches!(begun, Err(NotStored::Busy)) || self.shared.elsewhere(&self.one.key).is_some() {
                break;
            }
            sleep(pause).await;
            begun = self.shared.keep.begin(&digest, total).await;
        }
        match begun {
            Ok(growing) => {
                let mut writing = Writing::new(growing, (total, self.generation), digest, &self.shared.limits);
                let growth = writing.growth();
                self.one.publish(State::Growing(growth));
                self.one.set_writes();
                Ok(writing)
            }
            Err(error) => {
                if let (NotStored::Busy, Some(other)) = (error, self.shared.elsewhere(&self.one.key)) {
                    return Err(Round::Elsewhere(other));
                }
                self.not_kept(error);
                self.adrift(total);
                Err(Round::NotKept)
            }
        }
    }

    fn adrift(&self, total: u64) {
        self.one.publish(State::Adrift(Adrift {
            generation: self.generation,
            total,
            file: None,
            len: 0,
            hasher: Some(Arc::new(self.one.key.digest.hasher())),
        }));
    }

    fn not_kept(&self, error: NotStored) {
        let (upstream, digest) = (&*self.one.key.upstream, &self.one.key.digest);
        tracing::warn!(upstream, %digest, %error, "streaming through without storing");
    }

    /// The store takes no more: leaves the readers what there is.
    fn let_go(&mut self) -> Outcome {
        if let Some(writing) = self.writing.take() {
            self.one.publish(State::Adrift(writing.adrift()));
        }
        Outcome::NotStored
    }

    /// All bytes are there. `None`: they were wrong, and it begins anew.
    async fn finish(&mut self) -> Option<Outcome> {
        let writing = self.writing.take()?;
        if writing.is_right() {
            let stored = Blob {
                size: writing.total,
                file: writing.file(),
            };
            // Before they are made permanent, which takes its time: nobody waits for that.
            let generation = self.generation;
            self.one.publish(State::Whole { generation, stored });
            return Some(match writing.growing.commit().await {
                Ok(_) => Outcome::Stored,
                Err(error) => {
                    self.not_kept(error);
                    Outcome::Unkept
                }
            });
        }
        if writing.found == 0 || self.generation > 0 {
            writing.growing.discard().await;
            return Some(Outcome::WrongDigest);
        }
        // What an earlier fill left may be to blame, and upstream deserves another chance, once. Readers that were given
        // bytes of it end here, before anybody else is given any.
        self.generation += 1;
        self.one.publish(State::Asking);
        writing.growing.discard().await;
        self.resumed(1);
        None
    }

    fn resumed(&self, times: u64) {
        self.tally.resumes.fetch_add(times, Ordering::Relaxed);
        self.shared.metrics.resumed(&self.one.key.upstream, times);
    }
}

/// Waits for the next round. Whoever asks for a blob that cannot be had shortens it, to a second at least.
async fn back_off(one: &One, backoff: Duration) {
    let asked = async {
        sleep(SHORTEST_BACKOFF).await;
        one.nudge.notified().await;
    };
    tokio::select! {
        () = sleep(backoff) => {}
        () = asked => {}
    }
}

impl Shared {
    async fn unless_stopped<T>(&self, one: &One, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopped(one) => None,
            done = wait => Some(done),
        }
    }

    /// Leaves behind what a fill's outcome means for those who still wait and those who come later.
    fn conclude(&self, one: &One, outcome: Outcome) {
        let why = match outcome {
            // They have been told all there is.
            Outcome::Stored | Outcome::Found | Outcome::Unkept => return self.resting.end(&one.key),
            Outcome::NotStored => return self.unkept.begin(&one.key, self.limits.unkept),
            Outcome::NotFound => NoBlob::NotFound,
            Outcome::Stopped => NoBlob::Unavailable,
            Outcome::Refused | Outcome::WrongDigest | Outcome::WrongSize | Outcome::GaveUp => {
                self.resting.begin(&one.key, self.limits.rest);
                NoBlob::Unavailable
            }
        };
        one.publish(State::Over(why));
    }
}
