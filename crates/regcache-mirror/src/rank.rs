//! Orders the caches for one place: which of them its helpers may use, nearest first.

use std::collections::BTreeSet;

use crate::plan::CacheRef;

/// Where nodes stand: they share a plan when both are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The nodes' region label.
    pub region: String,
    /// The nodes' zone label; empty when they carry none.
    pub zone: String,
}

/// The caches that nodes of `place` use for one upstream, in the order in which they are tried.
///
/// Those of the place's own region, by name, each name once: the answer depends on the set of caches alone, not on
/// the order in which they come, so that a plan does not change when nothing has changed. Another region's cache is
/// never in it: far away is not "near", and the way to it may cost money.
#[must_use]
pub fn rank<'a>(place: &Place, caches: impl IntoIterator<Item = &'a CacheRef>) -> Vec<CacheRef> {
    let mut own: Vec<&CacheRef> = caches
        .into_iter()
        .filter(|cache| !place.region.is_empty() && cache.region == place.region)
        .collect();
    // The address breaks ties, so that of two caches of one name always the same one stays.
    own.sort_by(|a, b| (&a.name, &a.url).cmp(&(&b.name, &b.url)));
    let mut seen = BTreeSet::new();
    own.retain(|cache| seen.insert(cache.name.clone()));
    own.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(name: &str, region: &str) -> CacheRef {
        CacheRef {
            name: name.into(),
            url: format!("http://{name}:5000"),
            region: region.into(),
            ns: false,
            probe: false,
        }
    }

    fn place(region: &str) -> Place {
        Place {
            region: region.into(),
            zone: "z".into(),
        }
    }

    #[test]
    fn only_the_own_region_counts() {
        let all = [cache("a", "r1"), cache("b", "r2"), cache("c", "r1")];
        assert_eq!(rank(&place("r1"), &all), [cache("a", "r1"), cache("c", "r1")]);
        assert_eq!(rank(&place("r3"), &all), []);
    }

    #[test]
    fn nodes_without_a_region_use_no_cache() {
        assert_eq!(rank(&place(""), &[cache("a", "")]), []);
    }

    #[test]
    fn order_of_the_input_does_not_matter_and_names_come_once() {
        let forward = [cache("a", "r"), cache("b", "r"), cache("a", "r")];
        let mut backward = forward.clone();
        backward.reverse();
        assert_eq!(rank(&place("r"), &forward), rank(&place("r"), &backward));
        assert_eq!(rank(&place("r"), &forward).len(), 2);
    }
}
