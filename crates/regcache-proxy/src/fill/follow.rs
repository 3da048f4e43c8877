//! The same blob of two upstreams at once: the store takes it from one, and the other's clients read along.

use std::sync::Arc;

use super::one::One;
use super::published::State;

/// How following another fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// All bytes are there, and right.
    Whole,
    /// It cannot go on, which says nothing about this one's upstream.
    Lost,
}

/// Tells the readers of `one` what `other` tells its own.
pub(super) async fn follow(one: &One, other: Arc<One>) -> Followed {
    let mut theirs = other.follow();
    loop {
        let state = theirs.borrow_and_update().clone();
        match state {
            State::Whole { .. } => {
                one.publish(state);
                return Followed::Whole;
            }
            State::Growing(_) | State::Asking => one.publish(state),
            State::Failing | State::Adrift(_) | State::Over(_) => return Followed::Lost,
        }
        if theirs.changed().await.is_err() {
            return Followed::Lost;
        }
    }
}
