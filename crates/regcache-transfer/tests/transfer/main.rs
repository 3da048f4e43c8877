//! Transfers over scripted sources, in virtual time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests count as tests"
)]

mod cases;
mod property;
mod script;
