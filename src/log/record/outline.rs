//! Whose a record is and which events it holds, without a word of what they say: for those who count from outside.

use super::{RecordView, event_field, record_field};
use crate::event::wire::Append;

/// A record with the same ids and nothing else. What cannot be read as a record becomes no bytes, which cannot be either.
pub(in crate::log) fn outline(bytes: &[u8]) -> Vec<u8> {
    let Ok(view) = RecordView::parse(bytes) else { return Vec::new() };
    let mut outline = Vec::new();
    outline.bytes_field(record_field::ORGANIZATION_ID, view.organization_id.0.as_bytes());
    outline.bytes_field(record_field::RECORD_ID, view.record_id.as_bytes());
    outline.bytes_field(record_field::REQUEST_ID, view.request_id.as_bytes());
    for event in view.events() {
        let Ok(event) = event else { return Vec::new() };
        let mut id = Vec::new();
        id.bytes_field(event_field::EVENT_ID, event.id.as_bytes());
        outline.bytes_field(record_field::EVENTS, &id);
    }
    outline
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event::{Event, UnixMillis};
    use crate::log::RecordBuilder;
    use crate::tenant::OrganizationId;

    #[test]
    fn an_outline_is_a_record_of_the_same_events_and_says_nothing_of_them() {
        let acme = OrganizationId(Uuid::from_u128(7));
        let mut records = RecordBuilder::new(acme, Uuid::from_u128(8), UnixMillis(1));
        let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];
        for id in ids {
            records.push(&Event { id, viewer_id: "a secret".into(), ..Event::empty() });
        }
        let sealed = records.finish().pop().expect("a record").bytes;
        let outline = outline(&sealed);
        let (view, whole) =
            (RecordView::parse(&outline).expect("a record"), RecordView::parse(&sealed).expect("one"));
        assert_eq!((view.organization_id, view.record_id), (acme, whole.record_id));
        let named: Vec<Uuid> = view.events().map(|event| event.expect("an event").id).collect();
        assert_eq!(named, ids);
        assert!(memchr::memmem::find(&sealed, b"a secret").is_some());
        assert!(memchr::memmem::find(&outline, b"a secret").is_none());
    }

    #[test]
    fn what_is_no_record_has_an_outline_that_is_none_either() {
        for bytes in [&b""[..], b"nonsense", &[0x0a, 0x10]] {
            assert!(RecordView::parse(&outline(bytes)).is_err());
        }
    }
}
