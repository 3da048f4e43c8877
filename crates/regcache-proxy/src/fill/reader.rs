//! One client's bytes, at its own pace: from the growing file, or by a fetch of its own.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use regcache_transfer::Hasher;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::bypass::{Client, Own};
use super::published::State;
use crate::content::{Piece, Pieces, ShortEnd};

/// Reads `at..end` of a blob of `total` bytes.
pub(super) struct Reader {
    client: Client,
    /// The fill of the blob; none when it is not being filled.
    state: Option<watch::Receiver<State>>,
    /// What is read instead of the file.
    own: Option<Own>,
    total: u64,
    at: u64,
    end: u64,
    /// Whether the blob was promised whole, so that its digest has to be right.
    whole: bool,
    /// Which try of the fill the bytes given so far came from.
    generation: Option<u32>,
    /// Time waited, and bytes come, since it last counted as moving.
    waited: Duration,
    moved: u64,
    ended: bool,
}

/// What a state of the fill means for one reader.
enum Step {
    Give { file: Arc<File>, to: u64, generation: u32 },
    Wait,
    Alone(Option<Arc<Hasher>>),
    End,
}

impl Reader {
    /// From a fill.
    pub(super) fn following(client: Client, state: watch::Receiver<State>, total: u64, at: u64, end: u64) -> Self {
        Self {
            client,
            state: Some(state),
            own: None,
            total,
            at,
            end,
            whole: at == 0 && end == total,
            generation: None,
            waited: Duration::ZERO,
            moved: 0,
            ended: false,
        }
    }

    /// By `own`; from the fill as soon as that has caught up.
    pub(super) fn alone(
        client: Client,
        state: Option<watch::Receiver<State>>,
        own: Own,
        (total, at, end): (u64, u64, u64),
    ) -> Self {
        Self {
            client,
            state,
            own: Some(own),
            total,
            at,
            end,
            whole: at == 0 && end == total,
            generation: None,
            waited: Duration::ZERO,
            moved: 0,
            ended: false,
        }
    }

    pub(super) fn pieces(self) -> Pieces {
        stream::unfold(self, |mut reader| async move {
            if reader.ended || reader.at >= reader.end {
                return None;
            }
            let piece = reader.in_time().await;
            match &piece {
                Ok(piece) => reader.at += piece.len(),
                Err(ShortEnd) => reader.end(),
            }
            Some((piece, reader))
        })
        .boxed()
    }

    /// Lets go of everything: whoever has heard of the end may keep the stream.
    fn end(&mut self) {
        self.ended = true;
        self.own = None;
        self.state = None;
    }

    /// The next bytes, within the time that a client may wait. Bytes that trickle are as good as none.
    async fn in_time(&mut self) -> Result<Piece, ShortEnd> {
        let begun = Instant::now();
        let patience = self.client.limits.gap.saturating_sub(self.waited);
        let deadline = begun + patience;
        let Ok(piece) = timeout_at(deadline, self.next(deadline)).await else {
            // A fill that moves and is not here yet says nothing about the blob.
            return Err(if self.is_ahead() {
                ShortEnd
            } else {
                self.client.end_short()
            });
        };
        let piece = piece?;
        let waited = begun.elapsed();
        self.moved += piece.len();
        // Later than the limit and yet here: it was the client who was away in between.
        if self.moved >= self.client.limits.progress || waited > patience {
            self.waited = Duration::ZERO;
            self.moved = 0;
        } else {
            self.waited += waited;
        }
        Ok(piece)
    }

    async fn next(&mut self, deadline: Instant) -> Result<Piece, ShortEnd> {
        loop {
            match self.step() {
                Step::Give { file, to, generation } => {
                    // Not needed any more: the fill has overtaken it.
                    self.own = None;
                    self.generation = Some(generation);
                    return Ok(Piece::File {
                        file,
                        offset: self.at,
                        len: to - self.at,
                    });
                }
                Step::Wait => self.wait().await?,
                Step::Alone(hasher) => {
                    // The store takes no more: on from here without it.
                    self.state = None;
                    let part = (self.at, self.end, self.total);
                    let own = self.client.go_on(part, hasher, deadline).await;
                    self.own = Some(own.map_err(|_| self.client.end_short())?);
                }
                Step::End if self.own.is_none() => return Err(ShortEnd),
                Step::End => {}
            }
            let Some(own) = &mut self.own else { continue };
            match own.next().await {
                Ok(chunk) => return Ok(Piece::Bytes(chunk)),
                // What the fill brings is as good for a part, and whether it does has nothing to do with this.
                Err(ShortEnd) if !self.whole && self.state.is_some() => self.own = None,
                Err(ShortEnd) => return Err(self.client.end_short()),
            }
        }
    }

    /// Whether the fill moves, and has not come so far yet.
    fn is_ahead(&self) -> bool {
        let stall = self.client.limits.stall;
        let behind = |state: &State| {
            matches!(state, State::Growing(growth)
                if growth.published < self.at && growth.moved.elapsed() < stall)
        };
        self.state.as_ref().is_some_and(|state| behind(&state.borrow()))
    }

    fn step(&mut self) -> Step {
        let fits =
            |generation: u32, total| total == self.total && self.generation.is_none_or(|given| given == generation);
        let Some(state) = &mut self.state else {
            return Step::End;
        };
        let state = state.borrow_and_update();
        // A whole blob that is fetched alone is checked there, by all of its bytes.
        if self.own.is_some() && self.whole {
            return Step::End;
        }
        match &*state {
            State::Growing(growth) if fits(growth.generation, growth.total) => {
                if growth.published > self.at {
                    Step::Give {
                        file: growth.file.clone(),
                        to: growth.published.min(self.end),
                        generation: growth.generation,
                    }
                } else if self.own.is_some() {
                    Step::End
                } else {
                    Step::Wait
                }
            }
            State::Whole { generation, stored } if fits(*generation, stored.size) => Step::Give {
                file: stored.file.clone(),
                to: self.end,
                generation: *generation,
            },
            _ if self.own.is_some() => Step::End,
            // After a file with wrong bytes: who was given none of them can begin with the next one.
            State::Asking if self.generation.is_none() => Step::Wait,
            State::Adrift(adrift) if fits(adrift.generation, adrift.total) => match &adrift.file {
                Some(file) if adrift.len > self.at => Step::Give {
                    file: file.clone(),
                    to: adrift.len.min(self.end),
                    generation: adrift.generation,
                },
                _ if !self.whole => Step::Alone(None),
                _ if adrift.len == self.at && adrift.hasher.is_some() => Step::Alone(adrift.hasher.clone()),
                _ => Step::End,
            },
            _ => Step::End,
        }
    }

    /// Waits for the fill to move.
    async fn wait(&mut self) -> Result<(), ShortEnd> {
        let Some(state) = &mut self.state else {
            return Err(ShortEnd);
        };
        let moved = |state: &State| match state {
            State::Growing(growth) => {
                growth.published > self.at || self.generation.is_some_and(|given| given != growth.generation)
            }
            State::Asking => self.generation.is_some(),
            _ => true,
        };
        state.wait_for(moved).await.map(|_| ()).map_err(|_| ShortEnd)
    }
}
