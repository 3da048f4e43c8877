//! Regions roll out one after another, the places of a region together.

use std::collections::{BTreeMap, BTreeSet};

use regcache_mirror::plan::Plan;
use regcache_mirror::rank::Place;

use super::{Rollout, cut};

/// A place in the queue.
#[derive(Clone, Debug)]
pub struct Waiting<'a> {
    /// How far it is.
    pub rollout: &'a Rollout,
    /// Where it is going.
    pub target: &'a Plan,
    /// Whether its caches allow a start.
    pub startable: bool,
}

/// The region whose turn it is: the one in progress; else the one whose plan was taken back, which stops the rest;
/// else the first by name that has something to do and can begin.
pub fn region<'a>(places: &BTreeMap<&'a Place, Waiting<'_>>) -> Option<&'a str> {
    let first = |meant: &dyn Fn(&Waiting<'_>) -> bool| {
        let regions: BTreeSet<&'a str> = places
            .iter()
            .filter(|(_, place)| meant(place))
            .map(|(place, _)| place.region.as_str())
            .collect();
        regions.into_iter().next()
    };
    first(&|place| place.rollout.file.percent > 0)
        .or_else(|| first(&|place| place.rollout.failed_at.is_some() && has_work(place)))
        .or_else(|| first(&|place| place.startable && has_work(place)))
}

fn has_work(place: &Waiting<'_>) -> bool {
    let mut file = place.rollout.file.clone();
    cut::apply(&mut file, place.target);
    file.stable != *place.target
}
