//! API types, names and labels of regcache: what users write and what the parts agree on
