//! The configuration file: any text is a configuration or an error with words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcache_proxy::config::parse;

fuzz_target!(|text: &str| {
    if let Err(error) = parse(text) {
        assert!(!error.to_string().is_empty());
    }
});
