//! One client's answer: from the fill when it is there or will be soon, else by a fetch of the client's own.
//!
//! How few bytes upstream is asked for when clients send open-ended ranges at several offsets and hang up early, as
//! containerd does with `concurrent_layer_fetch_buffer`: a range waits for the fill when that is near, or when it will
//! be there within about a second at the rate it goes, for which a fill that has only just begun gets 0.3 s to show it.
//! Otherwise the range is fetched, at once when it is short. Of long ones only a few of one blob are fetched at the same
//! time, each in its turn at upstream; the others wait for a place or for the fill, whichever is first. An own fetch is
//! pulled only as fast as its client reads, and ends when the client does or when the fill has caught up with it.

use regcache_transfer::Span;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Answer, How, NoBlob, clip};
use super::bypass::{Begun, Client};
use super::one::One;
use super::published::{Reached, State, reached};
use super::reader::Reader;

/// From `one`, the fill of the blob.
pub(super) async fn from_fill(
    client: Client,
    one: &One,
    range: Option<Span>,
    how: How,
    deadline: Instant,
) -> Result<Answer, NoBlob> {
    if one.is_failing() {
        one.nudge.notify_one();
        return Err(NoBlob::Unavailable);
    }
    let mut state = one.follow();
    let span = range.unwrap_or_default();
    let found = timeout_at(deadline, find(&client, one, &mut state, span)).await;
    let Ok(found) = found else {
        // Nothing came for as long as a reader would have been kept waiting: the next one is not.
        if one.is_stuck(client.limits.gap) {
            client.rest();
        }
        return Err(NoBlob::Unavailable);
    };
    let answer = match found {
        Found::Own(begun) => from_own(client, Some(state), range, begun?)?,
        Found::Fill(Reached::Growing(total)) => {
            let (start, end) = clip(range, total)?;
            Answer {
                total,
                start,
                end,
                pieces: Reader::following(client, state, total, start, end).pieces(),
                how,
            }
        }
        Found::Fill(Reached::Whole(stored)) => Answer::stored(stored, range, how)?,
        Found::Fill(Reached::Adrift) => {
            drop(state);
            alone(client, range, deadline).await?
        }
        Found::Fill(Reached::No(why)) => return Err(why),
    };
    one.served();
    Ok(answer)
}

/// By a fetch for this client alone, with no fill to fall back on.
pub(super) async fn alone(client: Client, range: Option<Span>, deadline: Instant) -> Result<Answer, NoBlob> {
    let fetch = client.fetch(range.unwrap_or_default(), None, deadline);
    let begun = timeout_at(deadline, fetch).await.map_err(|_| NoBlob::Unavailable)??;
    from_own(client, None, range, begun)
}

fn from_own(
    client: Client,
    state: Option<watch::Receiver<State>>,
    range: Option<Span>,
    begun: Begun,
) -> Result<Answer, NoBlob> {
    let total = begun.total;
    let (start, end) = clip(range, total)?;
    if (start, end) != (begun.start, begun.end) {
        return Err(NoBlob::Unavailable);
    }
    Ok(Answer {
        total,
        start,
        end,
        pieces: Reader::alone(client, state, begun.own, (total, start, end)).pieces(),
        how: How::Bypass,
    })
}

enum Found {
    Fill(Reached),
    Own(Result<Begun, NoBlob>),
}

/// Whichever gives the first bytes of `span` soonest, without costing upstream much.
async fn find(client: &Client, one: &One, state: &mut watch::Receiver<State>, span: Span) -> Found {
    let limits = &client.limits;
    let start = span.start;
    let distance = state.borrow().distance(start);
    if distance <= limits.near {
        return Found::Fill(reached(state, start).await);
    }
    let short = span.end.is_some_and(|end| end.saturating_sub(start) <= limits.near);
    if !short {
        if let Ok(found) = timeout(limits.measure, reached(state, start)).await {
            return Found::Fill(found);
        }
        let expected = state.borrow().expected(start);
        if expected.is_some_and(|expected| expected <= limits.soon)
            && let Ok(found) = timeout(limits.soon * 2, reached(state, start)).await
        {
            return Found::Fill(found);
        }
    }
    let own = async {
        let place = if short {
            None
        } else {
            one.aside.clone().acquire_owned().await.ok()
        };
        client.fetch(span, place, Instant::now() + limits.start).await
    };
    tokio::select! {
        biased;
        found = reached(state, start) => Found::Fill(found),
        own = own => Found::Own(own),
    }
}
