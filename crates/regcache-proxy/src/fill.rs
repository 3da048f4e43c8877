//! One fetch of each blob for everybody who asks for it.
//!
//! The pipeline: `fills` (who asks for what, and what is done about it) -> `one` (the fetch: rounds, resumes, digest)
//! -> `published` (how far it is) -> `reader` (one client's bytes, at its own pace). `bypass` is a client's own fetch,
//! for what the fill does not have; `resting` are the blobs that are answered "not now" at once. `keep` is what is
//! needed of a store, `origin` what is needed of an upstream.

mod fills;
mod keep;
mod limits;
mod metrics;
mod origin;

pub use fills::{Answer, Fills, How, NoBlob};
pub use keep::{Growing, Keep, NotKept, Stored};
pub use limits::FillLimits;
pub use metrics::FillMetrics;
pub use origin::Origin;
