//! One call for all who ask the same at the same time, and a short memory of how it ended.
//!
//! A call runs on its own: whoever began it may leave, and those who join have what it brings.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Calls under way and calls that ended a moment ago, by what they ask.
pub struct Flights<K, V> {
    state: Mutex<State<K, V>>,
    /// For how long an outcome is given to those who come later; `None`: they ask anew.
    remember: fn(&V) -> Option<Duration>,
    /// How many there may be, under way and remembered together.
    most: usize,
}

struct State<K, V> {
    calls: HashMap<K, Call<V>>,
    next: u64,
}

struct Call<V> {
    id: u64,
    started: Instant,
    outcome: watch::Receiver<Option<V>>,
    /// Set when it has ended.
    until: Option<Instant>,
}

impl<V> Call<V> {
    fn of_use(&self, now: Instant, patience: Duration) -> bool {
        match self.until {
            Some(until) => now < until,
            None => now.duration_since(self.started) < patience,
        }
    }
}

/// One call, as one of those who wait for it sees it.
pub struct Flight<V> {
    started: Instant,
    outcome: watch::Receiver<Option<V>>,
    /// Whose call it is, so that exactly one of them counts it.
    pub part: Part,
}

/// What one who waits has to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Began it.
    Began,
    /// Came while it was under way.
    Joined,
    /// Came when it was over.
    Late,
}

impl<K, V> Flights<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `most` at once; `remember` says for how long an outcome is good for those who come after its end.
    pub fn new(most: usize, remember: fn(&V) -> Option<Duration>) -> Arc<Self> {
        let (calls, next) = (HashMap::new(), 0);
        Arc::new(Self {
            state: Mutex::new(State { calls, next }),
            remember,
            most,
        })
    }

    /// Joins the call for `key`, or begins it. One that is older than `patience` is not joined: another takes its place
    /// for those who come from now on, and it goes on for those who have joined it. `None`: too many are under way.
    pub fn join<F>(self: &Arc<Self>, key: &K, patience: Duration, begin: impl FnOnce() -> F) -> Option<Flight<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(call) = state.calls.get(key)
            && call.of_use(now, patience)
        {
            return Some(Flight {
                started: call.started,
                outcome: call.outcome.clone(),
                part: if call.until.is_some() { Part::Late } else { Part::Joined },
            });
        }
        self.begin(&mut state, key, now, begin())
    }

    fn begin<F>(self: &Arc<Self>, state: &mut State<K, V>, key: &K, now: Instant, call: F) -> Option<Flight<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        if state.calls.len() >= self.most {
            state.calls.retain(|_, call| call.until.is_none_or(|until| now < until));
        }
        if state.calls.len() >= self.most {
            // What is remembered can be asked again, what is under way cannot be taken back.
            state.calls.retain(|_, call| call.until.is_none());
        }
        if state.calls.len() >= self.most {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let (tell, outcome) = watch::channel(None);
        let entry = Call {
            id,
            started: now,
            outcome: outcome.clone(),
            until: None,
        };
        state.calls.insert(key.clone(), entry);
        let end = End {
            flights: self.clone(),
            key: key.clone(),
            id,
            remember: None,
        };
        tokio::spawn(async move {
            let mut end = end;
            let value = call.await;
            end.remember = (end.flights.remember)(&value);
            // Told before the call is forgotten: whoever joins in between has it at once.
            tell.send_replace(Some(value));
            drop(end);
        });
        Some(Flight {
            started: now,
            outcome,
            part: Part::Began,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> Flight<V> {
    /// What came of it; `None` when it takes longer than `within`, counted from its own beginning.
    pub async fn outcome(mut self, within: Duration) -> Option<V> {
        let ended = timeout_at(self.started + within, self.outcome.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }
}

/// Takes the call out of the list however it ends, a panic included.
struct End<K: Hash + Eq, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
    id: u64,
    remember: Option<Duration>,
}

impl<K: Hash + Eq, V> Drop for End<K, V> {
    fn drop(&mut self) {
        let mut state = self.flights.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A later call may have taken the place.
        let Some(call) = state.calls.get_mut(&self.key).filter(|call| call.id == self.id) else {
            return;
        };
        match self.remember {
            Some(time) => call.until = Some(Instant::now() + time),
            None => drop(state.calls.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    type Numbers = Arc<Flights<&'static str, usize>>;

    /// Remembers even numbers for a second.
    fn flights(most: usize) -> Numbers {
        Flights::new(most, |value| (value % 2 == 0).then_some(SECOND))
    }

    async fn ask(flights: &Numbers, value: usize) -> Option<usize> {
        flights
            .join(&"key", SECOND, || async move { value })?
            .outcome(SECOND)
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_at_the_same_time_share_one_call() {
        let (flights, calls) = (flights(9), Arc::new(AtomicUsize::new(0)));
        let one = |_| {
            let (flights, calls) = (flights.clone(), calls.clone());
            async move {
                let call = || async move {
                    tokio::time::sleep(SECOND / 2).await;
                    calls.fetch_add(1, Ordering::Relaxed) + 1
                };
                flights.join(&"key", SECOND, call).unwrap().outcome(SECOND).await
            }
        };
        let answers = futures::future::join_all((0..50).map(one)).await;
        assert_eq!(answers, [Some(1); 50]);
        assert_eq!(ask(&flights, 3).await, Some(3), "an odd number is not remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_is_remembered_for_its_time() {
        let flights = flights(9);
        assert_eq!(ask(&flights, 2).await, Some(2));
        assert_eq!(ask(&flights, 4).await, Some(2));
        assert_eq!(flights.join(&"key", SECOND, pending).unwrap().part, Part::Late);
        advance(SECOND).await;
        assert_eq!(ask(&flights, 4).await, Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_counted_from_the_beginning_of_the_call() {
        let flights = flights(9);
        let slow = flights.join(&"key", SECOND, pending).unwrap();
        advance(SECOND / 2).await;
        let late = flights.join(&"key", SECOND, pending).unwrap();
        assert_eq!((slow.part, late.part), (Part::Began, Part::Joined));
        let before = Instant::now();
        assert_eq!(late.outcome(SECOND).await, None);
        assert_eq!(Instant::now() - before, SECOND / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_goes_on_when_nobody_waits() {
        let flights = flights(9);
        let (tell, told) = tokio::sync::oneshot::channel();
        drop(flights.join(&"key", SECOND, || async move {
            tokio::time::sleep(SECOND).await;
            let _ = tell.send(());
            1
        }));
        told.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn another_call_takes_the_place_of_one_that_hangs() {
        let flights = flights(9);
        let hanging = flights.join(&"key", SECOND, pending).unwrap();
        advance(SECOND).await;
        let fresh = flights.join(&"key", SECOND, || async { 2 }).unwrap();
        assert_eq!(fresh.outcome(SECOND).await, Some(2));
        assert_eq!(ask(&flights, 4).await, Some(2), "those who come later have its outcome");
        assert_eq!(hanging.outcome(SECOND).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panics_is_no_trap() {
        let flights = flights(9);
        let broken = flights
            .join(&"key", SECOND, || async { panic!("for the test") })
            .unwrap();
        assert_eq!(broken.outcome(SECOND).await, None);
        assert_eq!(ask(&flights, 3).await, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_too_many() {
        let flights = flights(2);
        assert_eq!(ask(&flights, 2).await, Some(2));
        let one = flights.join(&"one", SECOND, pending).unwrap();
        let two = flights.join(&"two", SECOND, pending);
        assert!(two.is_some(), "what is remembered makes room");
        assert!(flights.join(&"three", SECOND, pending).is_none());
        assert!(flights.join(&"one", SECOND, pending).is_some());
        drop(one);
    }
}
