//! A packed body: the first byte says how, the others are what came over the wire.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook_fuzz::{MAX_UNPACKED_BYTES, unpack};

fuzz_target!(|input: &[u8]| {
    let Some((first, wire)) = input.split_first() else { return };
    let encoding = ["gzip", "zstd", "br"][usize::from(first % 3)];
    if let Some(unpacked) = unpack(encoding, wire) {
        assert!(unpacked.len() <= MAX_UNPACKED_BYTES);
    }
});
