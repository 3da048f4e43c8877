//! Test bed, fake API server and shared fixtures of the end-to-end tests.

pub mod bed;
pub mod demo;
#[cfg(feature = "fake-api")]
pub mod fake_api;
pub mod faulty;
pub mod push;
