//! `WWW-Authenticate`: any text gives a bounded number of challenges.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcache_proxy::upstream::auth::challenge::parse;

fuzz_target!(|header: &str| {
    let challenges = parse(header);
    assert!(challenges.len() <= header.len() + 1);
    for challenge in challenges {
        assert!(!challenge.scheme.is_empty());
        assert!(challenge.parameters.iter().all(|(name, _)| !name.is_empty()));
    }
});
