//! Test bed, fake API server and shared fixtures of the end-to-end tests.
