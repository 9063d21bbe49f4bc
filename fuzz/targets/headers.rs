//! Headers, a line each, and after an empty line the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook_fuzz::{headers, post};

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = input.split_at(end);
    let pairs = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    });
    post(&headers(pairs), body.strip_prefix(b"\n\n").unwrap_or(body));
});
