//! Fair places among the parallel transfers of one upstream.

/// A place, free again when dropped.
#[derive(Debug, Default)]
#[must_use = "the place is free again as soon as this is dropped"]
pub struct Turn {}
