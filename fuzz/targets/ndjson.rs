//! A body of `application/x-ndjson`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook_fuzz::{authorized, post};

fuzz_target!(|body: &[u8]| {
    post(&authorized("application/x-ndjson"), body);
});
