//! `Range`: what is accepted begins within the blob.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcache_proxy::registry::range::Range;

fuzz_target!(|input: (&str, u64)| {
    let (header, total) = input;
    if let Some(range) = Range::parse(header)
        && let Ok(span) = range.within(total)
    {
        assert!(span.start < total);
        assert!(span.end.is_none_or(|end| span.start < end));
    }
});
