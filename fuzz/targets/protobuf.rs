//! A body of `application/x-protobuf`, and a record of the log that is not one of ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::event::Envelope;
use rollbook::log::record::RecordView;
use rollbook_fuzz::{authorized, post, through_a_record};

fuzz_target!(|body: &[u8]| {
    if let Ok(envelope) = Envelope::from_protobuf(body) {
        through_a_record(&envelope);
    }
    post(&authorized("application/x-protobuf"), body);
    if let Ok(record) = RecordView::parse(body) {
        record.events().for_each(drop);
    }
});
