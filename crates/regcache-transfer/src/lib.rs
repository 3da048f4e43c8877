//! One blob from several sources: the exact bytes, or a short end; never wrong bytes, never silence.
//!
//! No HTTP in here. A [`Source`] knows how to open one blob at an offset; [`fetch`] asks the sources in their order
//! and gives a [`Transfer`], whose [`Body`] goes on from another source when one stalls, breaks or ends short.
//!
//! The pipeline: `fetch` (which source begins, small blobs whole) -> `relay` (one source after another, limits)
//! -> `body` (hold-back, digest). `limits` and `outcome` are what the caller configures and hears.
//!
//! What is promised:
//! - A blob asked for whole, with a digest, is never completed with other bytes: up to [`Limits::verify_whole`] it is
//!   verified before anything is given out, of larger ones the last [`Limits::hold_back`] bytes are kept until the
//!   digest is right. A part of a blob cannot be verified; its reader does that.
//! - A reader that asks gets bytes, an end or an error within [`Limits::gap`]; the start takes at most
//!   [`Limits::start`]. A reader that does not ask costs its source nothing: a stall is waiting in vain, not idleness.
//! - Memory for each transfer: one chunk of the source, and [`Limits::verify_whole`] or [`Limits::hold_back`] bytes.

mod body;
mod digest;
mod fetch;
mod limits;
mod outcome;
mod relay;
mod source;

pub use body::{Body, ShortEnd};
pub use digest::{Digest, Hasher, UnknownDigest};
pub use fetch::{Ask, Failed, Transfer, fetch};
pub use limits::Limits;
pub use outcome::{Observer, Outcome, Reason, Report};
pub use source::{BodyError, OpenError, Opened, Source, Span};
