//! The registry with a real store, real fills and a real client, against a small registry on loopback.

mod access;
mod asks;
mod blobs;
mod lists;
mod rig;
mod tags;
mod upstream;
