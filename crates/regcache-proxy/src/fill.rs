//! One fetch of each blob for everybody who asks for it.
//!
//! The pipeline: `fills` (is it stored, is it being fetched, may it be asked for) -> `serve` (one client's answer) ->
//! `reader` (its bytes at its own pace) or `bypass` (a fetch of its own, by a `lease` on a turn). Behind it, for each blob once: `run` (rounds
//! of asking upstream, `heard` judges them) -> `pump` -> `writing` (the file, its digest) -> `published` (how far it
//! is). `follow` is for a blob that two upstreams are asked for
//! at once. `resting` are the blobs that are answered "not now" at once, `keep` and `origin` what is needed of a store and
//! of an upstream.

mod answer;
mod bypass;
mod fills;
mod follow;
mod heard;
mod keep;
mod lease;
mod limits;
mod log;
mod metrics;
mod one;
mod origin;
mod published;
mod pump;
mod reader;
mod resting;
mod run;
mod serve;
mod verify;
mod writing;

pub use answer::{Answer, How, NoBlob};
pub use fills::Fills;
pub use limits::FillLimits;
pub use metrics::FillMetrics;
pub use origin::Origin;

#[cfg(test)]
mod tests;
