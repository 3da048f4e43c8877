//! Repository, tag and reference names: what is accepted is spelt as it came and holds nothing that could climb a path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcache_proxy::names::{Reference, Repository};

fuzz_target!(|text: &str| {
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.as_str(), text);
        assert!(!text.contains("..") && !text.starts_with('/') && !text.contains('%') && text.len() <= 255);
    }
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string(), text);
        assert!(!text.contains('/') && !text.starts_with('.'));
    }
});
