//! Which digest a tag is: from memory, from upstream, or from memory because upstream does not answer.

mod policy;

pub use policy::TagPolicy;
