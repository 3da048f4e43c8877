//! Request paths: what is accepted names a repository without anything that could climb.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcache_proxy::registry::ask::Ask;

fuzz_target!(|input: (&str, &str)| {
    let (path, query) = input;
    if let Ok(Ask::Content(content)) = Ask::parse(path, query, |host| host == "up.test") {
        assert!(path.starts_with("/v2/"));
        assert!(!content.repository.as_str().contains(".."));
    }
});
