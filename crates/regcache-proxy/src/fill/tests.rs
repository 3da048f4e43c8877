//! Fills over scripted sources and a scripted store, in virtual time.

mod bench;
mod faults;
mod property;
mod ranges;
mod script;
mod sharing;
mod shelf;
mod stored;
mod unkept;
