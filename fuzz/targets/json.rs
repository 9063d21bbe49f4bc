//! A body of `application/json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::event::Envelope;
use rollbook_fuzz::{authorized, post, through_a_record};
use serde_json::value::RawValue;

fuzz_target!(|body: &[u8]| {
    if let Ok(envelope) = Envelope::from_json(body) {
        serde_json::from_slice::<&RawValue>(body).expect("what has an envelope is JSON");
        through_a_record(&envelope);
    }
    post(&authorized("application/json"), body);
});
